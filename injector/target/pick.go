package target

import "time"

// Pick chooses among the connections that match, by their ordinal within the
// rule. The choice is sticky and depends on the seed and the ordinal, not on
// timing. The zero value picks every connection.
//
// A connection of a local program over the one address family, and one over the
// other that follows within 400 ms to the same port, are one try (Happy Eyeballs, RFC
// 8305): they share an ordinal and so are both chosen or both left alone, unless Max
// allows only one of them.
type Pick struct {
	Share Share // of the connections, chosen at random; the zero Share means all

	Skip  uint64 // the first Skip connections are left alone
	First uint64 // only the First connections after those are eligible; 0 means all
	Every uint64 // of those, every Every-th is chosen; 0 means each one
	Max   uint64 // stop choosing after Max chosen connections; 0 means no end

	// Only chooses the connections with these ordinals and overrides the fields
	// above. Nil means that the fields above decide.
	Only *Ordinals

	// NewOnly excludes connections that were open before the run.
	NewOnly bool
}

// Share is a share of the connections. The zero value means all of them;
// ShareOf(0) means none.
type Share struct {
	given bool
	of    float64
	again time.Duration
}

// ShareEvery returns the share p, from 0 to 1, of which the lots are drawn again each
// time that much has passed: a connection that was not chosen may be chosen then. One
// that was chosen stays so.
func ShareEvery(p float64, d time.Duration) Share { return Share{given: true, of: p, again: d} }

// Again returns how often the lots are drawn, 0 if only once.
func (s Share) Again() time.Duration { return s.again }

// ShareOf returns the share p, from 0 (none) to 1 (all).
func ShareOf(p float64) Share { return Share{given: true, of: p} }

// Chance returns the share as a number, 1 if none is given.
func (s Share) Chance() float64 {
	if !s.given {
		return 1
	}
	return s.of
}

// Valid reports whether the share lies within 0 to 1.
func (s Share) Valid() bool { return s.Chance() >= 0 && s.Chance() <= 1 }

// Chooses reports whether p excludes any connection by its ordinal. NewOnly
// alone does not count.
func (p Pick) Chooses() bool {
	p.NewOnly = false
	return p != Pick{}
}

// Equal reports whether two shares are the same.
func (s Share) Equal(o Share) bool { return s == o }
