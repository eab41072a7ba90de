package outcome

import (
	"time"

	"github.com/faultctl/faultctl/faults/features"
)

// Tally sums up the outcomes of the connections of one fault.
type Tally struct {
	Struck     uint64 // connections that were there when the fault acted on them
	Unsent     uint64 // of those, what was done to them did not leave this host
	Unaccepted uint64 // it left, and the TCP that it was meant for took no notice
	Unfelt     uint64 // it was accepted, and the application had nothing at stake
	Felt       uint64 // it was sent, accepted and felt
	Unknown    uint64 // a step is not known

	ClosedBefore uint64 // connections that were closed when the fault acted: not struck

	AnswersLost uint64 // requests that reached the service whole, and whose answer was lost
	SentAgain   uint64 // of those, requests whose bytes came again

	Unconnected uint64 // connections that were never established, and not because of the fault; known where a command is judged
	Encrypted   uint64 // connections that it did not strike, and whose client sent TLS records

	// Furthest is the outcome of the connection that got furthest.
	Furthest Outcome

	// Prevented says what kept chosen connections from meeting the fault's moment,
	// if none met it: that of the connection with the longest silence.
	Prevented Prevention
}

// Prevention is what the ends did that kept a fault's moment from coming.
type Prevention struct {
	How     features.Prevention // the zero value: nothing did
	Silence time.Duration       // the longest silence of the connection
	Needed  time.Duration       // that the fault waits for
}

// Longer returns the one of the longer silence: p, if q says nothing.
func (p Prevention) Longer(q Prevention) Prevention {
	if q.How != features.NotPrevented && (p.How == features.NotPrevented || q.Silence > p.Silence) {
		return q
	}
	return p
}

// Add adds the outcome of one connection.
func (t *Tally) Add(o Outcome) {
	t.Furthest = Further(t.Furthest, o)
	if !o.Struck {
		t.ClosedBefore++
		return
	}
	t.Struck++
	switch {
	case o.Sent.Answer == No:
		t.Unsent++
	case o.Accepted.Answer == No:
		t.Unaccepted++
	case o.Felt.Answer == No:
		t.Unfelt++
	case o.Known():
		t.Felt++
	default:
		t.Unknown++
	}
}

// Plus is the sum of two tallies of the same fault.
func (t Tally) Plus(o Tally) Tally {
	return Tally{
		Struck: t.Struck + o.Struck, Unsent: t.Unsent + o.Unsent, Unaccepted: t.Unaccepted + o.Unaccepted,
		Unfelt: t.Unfelt + o.Unfelt, Felt: t.Felt + o.Felt, Unknown: t.Unknown + o.Unknown,
		Unconnected: t.Unconnected + o.Unconnected, Encrypted: t.Encrypted + o.Encrypted,
		ClosedBefore: t.ClosedBefore + o.ClosedBefore, AnswersLost: t.AnswersLost + o.AnswersLost, SentAgain: t.SentAgain + o.SentAgain,
		Furthest: Further(t.Furthest, o.Furthest), Prevented: t.Prevented.Longer(o.Prevented),
	}
}
