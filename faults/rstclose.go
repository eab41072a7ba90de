package faults

import "github.com/faultctl/faultctl/faults/clue"

var rstCloseKind = Kind{
	Name: "rst-close", Group: "reset",
	Cause:   "A proxy closes with a RST instead of a FIN to save packets and to avoid TIME_WAIT, as HAProxy does towards servers.",
	Symptom: "No data is lost, but where the end of the stream was expected recv fails with ECONNRESET.",
	Remedy:  "Decide by its length whether a message is complete; treat ECONNRESET on an idle pooled connection as a close.",
	Example: "faultctl inject rst-close --side server --to :8080",
	Verify:  []Verify{{Moment: "It happens when the server closes a connection; with side=client, when the client does."}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Open, clue.Reset, clue.ActiveRST),
		Cannot:  clue.Of(clue.ProbesIgnored, clue.AuthorFIN, clue.AwaitsAnswer, clue.KernelUnread),
		Settles: "explain live at that host: its kernel says whether data was unread (tcp:tcp_send_reset has TCP_STATE if not), and which process closed",
	}},
	New: func() Model { return new(RSTClose) },
}

// RSTClose is the fault rst-close: a proxy such as HAProxy closes with a RST
// instead of a FIN, to avoid TIME_WAIT. No data is lost.
type RSTClose struct {
	Side Side `knob:"side" default:"server" help:"which end closes"`
	RTT  RTT  `knob:"rtt" help:"how long an answer takes; auto: as long as the handshake did"`
}

// Validate implements Model.
func (m *RSTClose) Validate() error { return judge(m) }

// Diverts implements Model.
func (m *RSTClose) Diverts() Diversion {
	return Diversion{SYN: true, SYNACK: true, FIN: true, Whole: true}
}

// Start implements Model.
func (m *RSTClose) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault {
		return &abortiveClose{side: m.Side, rtt: m.RTT, note: "closed with a RST instead of a FIN"}
	})
}
