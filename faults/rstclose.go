package faults

var rstCloseKind = Kind{
	Name: "rst-close", Group: "reset",
	Cause:   "A proxy closes with a RST instead of a FIN to save packets and be rid of TIME_WAIT, as HAProxy does towards servers.",
	Symptom: "Nothing is lost, but where the end of the stream was expected recv fails with ECONNRESET.",
	Remedy:  "Take a message as whole by its length; treat ECONNRESET on an idle pooled connection as a close.",
	Example: "faultctl inject rst-close --side server --to :8080",
	Verify:  Verify{Moment: "It comes when the server closes a connection; side=client takes the client's close instead."},
	New:     func() Model { return new(RSTClose) },
}

// RSTClose is the fault rst-close: a proxy such as HAProxy closes with a RST
// instead of a FIN, to be rid of TIME_WAIT. Nothing is lost by it.
type RSTClose struct {
	Side Side `knob:"side" default:"server" help:"who closes so"`
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
