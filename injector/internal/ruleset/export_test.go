package ruleset

// Words returns each statement of a rule in nft syntax.
func Words(s Statements) []string {
	words := make([]string, len(s))
	for i := range s {
		words[i] = s[i].nft()
	}
	return words
}

const AllSignals = allSignals
