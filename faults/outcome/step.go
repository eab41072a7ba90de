package outcome

import "time"

// Answer is yes, no or not known, which is the zero value.
type Answer uint8

// The answers.
const (
	NotKnown Answer = iota
	Yes
	No
)

func (a Answer) String() string { return [...]string{"not known", "yes", "no"}[min(a, No)] }

// Evidence is why a step has its answer. The text of each is constant.
type Evidence uint8

// What can be evidence. Those from FromSocket to ToldByCall come from outside, by
// [Tracker.Kernel]; the others follow from the segments.
const (
	None Evidence = iota

	// Sent.
	ByVerdict  // the verdict on the segment is the whole of it: a drop, a delay
	RawSent    // the raw socket took it without an error
	SendFailed // the raw socket refused it: a firewall on the way out, no route, no address
	NotWatched // it went on in a verdict's place, and nobody counts what leaves the host behind it
	ByEffect   // it was accepted, so it was sent

	// Accepted.
	Acknowledged   // the end acknowledged it
	Nobody         // the end answers that it has no such connection
	Silence        // the end is silent where its TCP would have sent again
	WentOn         // the end goes on as if nothing had come
	Challenged     // the end answered with a challenge ACK (RFC 5961)
	Aborted        // the end sent a RST of its own from a socket that was alive
	SilentAnyway   // the end is silent, and had nothing to send
	UnderWay       // the end was heard so soon that it may have sent that before
	NotYet         // too soon to tell
	NeverReachedIt // nothing was sent

	// Felt.
	Connecting      // connect() had not returned
	AwaitedAnswer   // a request was sent and its answer had not come
	OwedAnswer      // the server had a request to answer
	SentStruck      // the struck segment carries what the application sent
	Sending         // what it had sent was not acknowledged
	SentAfter       // it sent payload after the strike
	NothingAtStake  // nothing was outstanding, and nothing was sent after
	ClosedItself    // it had closed its side
	MayBeHalfClosed // it had closed its side while an answer was outstanding: gave up, or waits for it
	AnswerMayGoOn   // the answer may not have been over
	MayBeGreeted    // neither end had sent anything, and the server may have to speak first
	HistoryUnseen   // what was outstanding passed unseen
	DataAffected    // payload was lost, delayed or changed
	GaveUp          // its TCP gave up after probes or retransmissions
	NotAccepted     // the end did not accept it

	// Nothing was struck.
	ClosedBefore // the connection was closed before the strike
	NotStruck

	// From outside.
	LeftHost      // a rule behind all others counted it
	Eaten         // no rule behind all others ever saw it: a firewall has dropped it
	SocketGone    // the kernel has no socket for the connection any more, and had one
	SocketAlive   // the kernel's socket is in the state that it had before
	NoSocket      // the kernel had no socket for the connection before the strike
	ReceivedReset // tracepoint tcp:tcp_receive_reset
	Orphaned      // the socket belonged to no process any more at the strike
	Owned         // the socket belonged to a process at the strike: a FIN of it was a half-close
	ToldByCall    // a call of the application returned the error
	numEvidence
)

var evidenceText = [numEvidence]string{
	None:            "",
	ByVerdict:       "the verdict on the segment is all of it",
	RawSent:         "it was sent without an error",
	SendFailed:      "this host refused to send it",
	NotWatched:      "nothing counts what leaves behind other rules",
	ByEffect:        "its receiver acted on it",
	Acknowledged:    "it was acknowledged",
	Nobody:          "the end answers that it has no such connection",
	Silence:         "the end is silent where it would have sent again",
	WentOn:          "the end went on as if nothing had come",
	Challenged:      "the end answered with a challenge ACK",
	Aborted:         "the end aborted by itself",
	SilentAnyway:    "the end is silent, but had nothing to send",
	UnderWay:        "what the end sent later may have been under way before",
	NotYet:          "too soon to tell",
	NeverReachedIt:  "it was not sent",
	Connecting:      "connect() had not returned",
	AwaitedAnswer:   "an answer was outstanding",
	OwedAnswer:      "a request was being answered",
	SentStruck:      "the application sent the struck segment",
	Sending:         "sent data were not acknowledged",
	SentAfter:       "the application sent more afterwards",
	NothingAtStake:  "nothing was outstanding, and nothing was sent afterwards",
	ClosedItself:    "the application had closed",
	MayBeHalfClosed: "the application had closed its side with an answer outstanding",
	AnswerMayGoOn:   "the answer may not have been over",
	MayBeGreeted:    "the connection was new, and the server may have to speak first",
	HistoryUnseen:   "what was outstanding was not seen",
	DataAffected:    "data were affected",
	GaveUp:          "its TCP gave up",
	NotAccepted:     "the end did not accept it",
	ClosedBefore:    "the connection was closed before",
	NotStruck:       "nothing was done to it",
	LeftHost:        "it was counted behind all other rules",
	Eaten:           "a rule of this host dropped it on its way",
	SocketGone:      "the kernel's socket is gone",
	SocketAlive:     "the kernel's socket lives on",
	NoSocket:        "the kernel had no socket for it before",
	ReceivedReset:   "the kernel's socket received the RST",
	Orphaned:        "no process had the socket any more",
	Owned:           "a process had the socket",
	ToldByCall:      "a call of the application returned the error",
}

func (e Evidence) String() string { return evidenceText[min(e, numEvidence-1)] }

// Step is one of the three, with its evidence and its time.
type Step struct {
	At       time.Duration // when the evidence was seen; zero if there is none
	Answer   Answer
	Evidence Evidence
}

// Outcome is what became of the strikes on one connection. The zero Outcome is
// that of a connection which was not struck.
type Outcome struct {
	// Struck says that something was done to a connection that was there. If
	// not, Why is NotStruck or ClosedBefore.
	Struck bool
	Why    Evidence

	Sent, Accepted, Felt Step

	// AnswerLost says that the last request reached the service whole and its
	// answer did not reach the client: sent again it is carried out twice.
	AnswerLost bool
}
