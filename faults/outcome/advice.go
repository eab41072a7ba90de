package outcome

// advice says what to do next about what Table says, by verdict, in one
// sentence. A verdict that asks for nothing has none.
var advice = [numVerdicts]string{
	Unknown:      "Run it where the struck end is local (run or verify on that host, as root), so that the kernel can be asked.",
	NeverFired:   "Have the command meet the fault's moment (faultctl faults NAME says which one that is), or allow it with --may-idle NAME.",
	Unaccepted:   "Run it with the firewall, NAT or TCP option out of the way, or strike at a host behind it.",
	Unfelt:       "Choose a moment at which the application waits for something, such as --at request, or have the test use its connections longer.",
	Failed:       "Repeat the case alone, and do what its remedy says.",
	Inconclusive: "Give faultctl more of a processor, or have less judged: a narrower --to or --from, or less traffic meanwhile. Then repeat the run.",

	TimedOut: "Give the application a timeout of its own for whatever waits here, or the command a longer one with --timeout.",
}

// adviceUnsent is for what did not leave this host.
const adviceUnsent = "Let it out: a rule of this host's firewall for the forged segments (nft list ruleset shows them), a route, or an address."

// adviceAnswer is for what came so soon after an answer that more of it may have
// been under way.
const adviceAnswer = "TCP does not show where an answer ends: choose a moment before it, such as --at request, have the command use the connection again, or allow it with --may-idle NAME."

// Advice says in one sentence what to do next about the verdict on a case. NAME
// in it stands for the fault's name. Empty: nothing.
func Advice(c Case) string {
	v := Judge(c)
	if v == Unaccepted && c.Outcome.Sent.Answer == No {
		return adviceUnsent
	}
	if v == Unknown && c.Outcome.Felt.Evidence == AnswerMayGoOn {
		return adviceAnswer
	}
	return advice[v]
}
