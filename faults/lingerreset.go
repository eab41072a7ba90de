package faults

import "github.com/faultctl/faultctl/faults/clue"

var lingerResetKind = Kind{
	Name: "linger-reset", Group: "reset",
	Cause:   "A close with SO_LINGER on and a linger time of zero: a RST is sent in place of the FIN, and unsent data is discarded.",
	Symptom: "Data that has arrived can be read, then recv fails with ECONNRESET (Java: Connection reset); a writer gets ECONNRESET, then EPIPE.",
	Remedy:  "Do not set SO_LINGER to zero while the peer still needs data; as the peer, decide by its length whether an answer is complete, never by the end of the stream.",
	Example: "faultctl inject linger-reset --discard 1k --to :8080",
	Verify:  []Verify{{Moment: "It happens when the server closes a connection; with side=client, when the client does."}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Open, clue.Reset, clue.ActiveRST),
		Cannot:  clue.Of(clue.ProbesIgnored, clue.KernelUnread),
		Settles: "explain live at that host: its kernel says whether data was unread (tcp:tcp_send_reset has TCP_STATE if not), and which process closed",
	}},
	New: func() Model { return new(LingerReset) },
}

// LingerReset is the fault linger-reset: a close with SO_LINGER on and a time
// of zero sends a RST in place of a FIN, and unsent data is lost
// (tcp_disconnect, tcp_send_active_reset).
type LingerReset struct {
	Side    Side  `knob:"side" default:"server" help:"which end closes"`
	Discard Bytes `knob:"discard" help:"how many bytes before the close never arrive, at most the last segment; the end of each message is then delayed by a retransmission"`
	RTT     RTT   `knob:"rtt" help:"how long an answer takes; auto: as long as the handshake did"`
}

// Validate implements Model.
func (m *LingerReset) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	if m.Discard > 1<<20 {
		return wrong(m, "discard", "more than a megabyte is never unsent")
	}
	return nil
}

// Diverts implements Model.
func (m *LingerReset) Diverts() Diversion {
	// The SYN-ACK for the round trip time; whole, because a FIN may carry data.
	return Diversion{SYN: true, SYNACK: true, FIN: true, All: m.Discard > 0, Whole: true}
}

// Start implements Model.
func (m *LingerReset) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault {
		return &abortiveClose{side: m.Side, discard: int(m.Discard), rtt: m.RTT, note: "closed with SO_LINGER 0"}
	})
}
