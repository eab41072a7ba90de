// Package clue has the words in which a fault says what a capture of it shows.
// Each fault of the catalogue predicts: what must be there, what cannot be there,
// and what makes it more likely. Package explain/wire looks for the clues in the
// segments of a connection; package explain compares the two.
//
// A clue speaks of two ends: the victim, which suffers, and the author, which
// seems to do it. The author of a reset is the end in whose name the RST was
// sent, whoever sent it. The author of a silence is the end that does not answer.
package clue

import (
	"math/bits"
	"strings"
)

// Clue is one thing that a capture shows of a connection, or does not show.
type Clue uint8

// How far the connection had come.
const (
	Connecting Clue = iota // the author had not answered the SYN
	Handshake              // the SYN was answered, and nothing after it was acknowledged
	Open                   // the connection was in use

	// What happened.

	Reset        // a RST that the victim's TCP accepts
	Silence      // the victim sends the same again and again, and nothing answers
	Unreachable  // an ICMP error about the victim's segments
	WindowShut   // the author's receive window is zero and stays so
	Unanswered   // the author acknowledges the victim's data, and sends nothing
	HalfClosed   // the author closed; the victim keeps its side open, with keepalive probes
	Recovered    // it was over later, and the connection went on
	Unacceptable // a segment whose numbers no TCP accepts; the connection goes on

	// The shape of the RST: RFC 9293 section 3.5.2, and what Linux makes of it.

	ActiveRST  // RST and ACK, from a socket that aborts: tcp_send_active_reset
	AnswerRST  // RST alone, with the acknowledgment number of what it answers: tcp_v4_send_reset
	RefusalRST // RST and ACK with sequence number 0, in answer to a SYN

	// What the RST answers.

	ToSYN      // a SYN
	ToSYNACK   // a SYN-ACK
	ToACK      // the ACK that ends the handshake
	ToData     // payload
	ToProbe    // a keepalive probe
	ToFIN      // a FIN
	Unprovoked // nothing that the victim sent

	// What went before.

	AuthorFIN     // the author had sent a FIN
	VictimFIN     // the victim had sent a FIN
	Idle          // neither sent anything for a second or more
	FINAfterIdle  // the author's FIN ended a silence of a second or more
	AwaitsAnswer  // the victim had sent last: it awaits an answer
	ProbesIgnored // the author's keepalive probes were not answered
	SYNACKAgain   // the author sent its SYN-ACK again although the victim had acknowledged it
	LargeOnly     // what is lost is larger than anything that ever arrived
	OldTimestamp  // the SYN's timestamp is older than an earlier one from the same address

	// Who sent it.

	DeviceTTL  // the TTL differs from that of the author's other packets
	HostTTL    // the TTL is that of the author's other packets
	TooSoon    // it came sooner than the author could have answered
	OthersLive // at the same time other connections to the same address were answered

	// What the kernel of the author's host says of a RST that a socket sends (enum
	// sk_rst_reason, told since Linux 6.10).

	KernelUnread  // TCP_ABORT_ON_CLOSE: data was unread at the close
	KernelAborted // TCP_STATE: it was aborted otherwise, by SO_LINGER 0 or by somebody who destroyed it (tcp_disconnect, tcp_abort)

	Count // the number of clues; not a clue
)

var texts = [Count]string{
	"the SYN was not answered before",
	"the handshake was not complete",
	"the connection was open",
	"a RST that its receiver accepts",
	"segments that were sent again and again without an answer",
	"an ICMP error",
	"a receive window of zero that does not open",
	"data that was acknowledged and not answered",
	"a connection that one end closed and the other keeps open",
	"it went on later",
	"a segment with numbers that no TCP accepts",
	"the RST has the shape of a socket that aborts (RST and ACK)",
	"the RST has the shape of a host's answer to a segment of no connection it knows (RST alone)",
	"the RST has the shape of a refusal (RST and ACK, sequence number 0)",
	"it answers the SYN",
	"it answers the SYN-ACK",
	"it answers the last ACK of the handshake",
	"it answers data",
	"it answers a keepalive probe",
	"it answers a FIN",
	"it answers nothing that its receiver sent",
	"a FIN from the same end before",
	"a FIN from the other end before",
	"silence for a second or more before",
	"the FIN ended a silence of a second or more",
	"an answer was outstanding",
	"keepalive probes without an answer before",
	"the SYN-ACK was sent again although it had been acknowledged",
	"only segments larger than all that arrived were lost",
	"the SYN's timestamp is older than an earlier one from the same address",
	"its TTL differs from that of the other packets of that host",
	"its TTL is that of the other packets of that host",
	"it came sooner than that host could have answered",
	"other connections to that address were answered at the time",
	"that host's kernel says that data was unread at the close",
	"that host's kernel says that the socket was aborted otherwise than by a close with unread data",
}

// String says what was seen if the clue is there.
func (c Clue) String() string {
	if c >= Count {
		return "unknown"
	}
	return texts[c]
}

// Set is a set of clues. The zero Set is empty.
type Set uint64

// Of returns the set of these clues.
func Of(cs ...Clue) Set {
	var s Set
	for _, c := range cs {
		s |= 1 << c
	}
	return s
}

// Has reports whether the clue is in the set.
func (s Set) Has(c Clue) bool { return s&(1<<c) != 0 }

// Clues lists the set, in the order of the constants.
func (s Set) Clues() []Clue {
	var cs []Clue
	for c := range Count {
		if s.Has(c) {
			cs = append(cs, c)
		}
	}
	return cs
}

// Len is how many clues it has.
func (s Set) Len() int { return bits.OnesCount64(uint64(s)) }

func (s Set) String() string {
	var b strings.Builder
	for i, c := range s.Clues() {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(c.String())
	}
	return b.String()
}

// Prediction is what a capture shows of one way in which a fault happens.
type Prediction struct {
	Must   Set // each of these is there
	OneOf  Set // at least one of these is there; empty: no such condition
	Cannot Set // none of these is there

	// Likely makes it more likely if it is there, and less likely if it is known
	// not to be there.
	Likely Set

	// Rare says that it needs a coincidence: if another prediction fits as well, that
	// one is taken.
	Rare bool

	// Weak says that something ordinary shows the same, such as a service that is
	// merely slow: the name is then never given as more than a possibility.
	Weak bool

	// Repeat has the knobs with which inject brings the same about, as in a SPEC.
	// {idle} stands for the silence that was measured, {above} for the size of the
	// largest packet that arrived.
	Repeat string

	// Settles says what would tell it from the others that look the same.
	Settles string
}

// Says is the prediction in words: what is there, what is not, what makes it
// likelier, and what settles a doubt.
func (p Prediction) Says() string {
	var b strings.Builder
	b.WriteString("There is: " + p.Must.String())
	if p.OneOf != 0 {
		b.WriteString("; and one of these: " + p.OneOf.String())
	}
	b.WriteString(".")
	if p.Cannot != 0 {
		b.WriteString(" There is not: " + p.Cannot.String() + ".")
	}
	if p.Likely != 0 {
		b.WriteString(" Likelier with: " + p.Likely.String() + ".")
	}
	return b.String() + " A doubt is settled by: " + p.Settles + "."
}
