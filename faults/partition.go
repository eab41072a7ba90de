package faults

import (
	"time"

	"github.com/faultctl/faultctl/faults/clue"
)

var partitionKind = Kind{
	Name: "partition", Group: "link",
	Cause:   "The network is split in two, or one direction of a link is dead.",
	Symptom: "Writes succeed until the send buffer is full, reads hang, ETIMEDOUT comes after a quarter of an hour. connect hangs.",
	Remedy:  "Set a deadline on every call, send heartbeats, set TCP_USER_TIMEOUT; fail over by quorum, not because one node is silent.",
	Example: "faultctl inject partition --dir server --to :2379",
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Silence),
		Cannot:  clue.Of(clue.Unreachable, clue.Recovered, clue.OthersLive, clue.LargeOnly),
		Settles: "a capture at the other end: whether the segments arrive there",
	}},
	New: func() Model { return new(Partition) },
}

// Partition is the fault partition: nothing arrives, in one direction or in
// both.
type Partition struct {
	Dir Side          `knob:"dir" help:"whose segments are lost: the client's, the server's, or both"`
	At  Trigger       `knob:"at" default:"now" help:"when it begins on each connection"`
	For time.Duration `knob:"for" help:"how long it lasts on each connection; 0: until the end"`
}

// Validate implements Model.
func (m *Partition) Validate() error { return judge(m) }

// Diverts implements Model.
func (m *Partition) Diverts() Diversion { return completed(m).At.diverts() }

// Start implements Model.
func (m *Partition) Start() Instance {
	m = completed(m)
	return PerFlow(func() Fault { return &partition{m: m} })
}

type partition struct {
	m       *Partition
	trigger trigger
	since   time.Duration
	cut     bool
}

// onPath implements pathFault.
func (*partition) onPath() {}

func (p *partition) OnSegment(ev *Event, out *Effects) Verdict {
	if !p.cut && p.trigger.onSegment(&p.m.At, ev, out) {
		p.begin(ev, out)
	}
	if !p.cut {
		return Pass
	}
	if p.m.For > 0 && ev.At-p.since >= p.m.For {
		out.Release()
		return Pass
	}
	if !p.m.Dir.Includes(ev.Dir.From()) {
		return Pass
	}
	out.Note(Dropped, ev.Dir.To(), "partitioned")
	return Drop
}

// Adjust implements Adjuster.
func (p *partition) Adjust(fresh Fault) { p.m = fresh.(*partition).m }

// OnWake implements Waker: the connection has reached its age.
func (p *partition) OnWake(ev *Event, out *Effects) {
	if p.trigger.onWake(&p.m.At) {
		p.begin(ev, out)
	}
}

func (p *partition) begin(ev *Event, out *Effects) {
	p.cut, p.since = true, ev.At
	out.Capture()
}
