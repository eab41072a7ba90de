package evidence

import (
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/injector"
)

// Of a run so much is kept for its report: of events the first ones, of packets
// those around each thing that a fault did.
const (
	keptEvents     = 2000
	keptPackets    = 1500
	keptOfFlow     = 60  // packets of one connection
	keptAround     = 6   // untouched packets before and after one that was touched
	watchedForKept = 512 // connections whose packets are kept
)

// A Record is what was taken down of a run, for its report. A nil Record has
// taken down nothing.
type Record struct {
	mu      sync.Mutex
	start   time.Time
	events  []report.Event
	cut     int
	now     func() injector.Snapshot // the run's counters; nil before it starts
	words   injector.Describer
	packets []report.Packet
	near    map[injector.Flow]*nearby
}

// nearby is what is known of a connection's packets around what a fault did.
type nearby struct {
	before []report.Packet // untouched ones, not kept yet
	after  int             // so many more untouched ones are kept
	kept   int
}

// Take takes down an event.
func (r *Record) Take(at time.Time, ev event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := report.Event{At: at}
	switch ev := ev.(type) {
	case event.Ready: // it is about no connection
		e.Kind = "ready"
		if r.start.IsZero() { // pulses begin again, and so does a run in a container
			r.start = at
		}
	case event.Flow:
		e.Kind, e.Client, e.Server = "flow", ev.Flow.Client, ev.Flow.Server
	case event.Fired:
		e.Kind, e.Client, e.Server = "fired", ev.Flow.Client, ev.Flow.Server
		e.Fault, e.Action, e.To, e.Reason = ev.Fault, ev.Action, ev.To, ev.Reason
	case event.Outcome:
		e.Kind, e.Client, e.Server = "outcome", ev.Flow.Client, ev.Flow.Server
		e.Fault, e.Reason = ev.Fault, ev.Text()
	default:
		return
	}
	if len(r.events) == keptEvents {
		r.cut++
		return
	}
	r.events = append(r.events, e)
}

// packet has the form of injector.Config.OnPacket.
func (r *Record) packet(p injector.Packet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.near[p.Flow]
	if n == nil {
		if len(r.near) == watchedForKept {
			return
		}
		if r.near == nil {
			r.near = map[injector.Flow]*nearby{}
		}
		n = &nearby{}
		r.near[p.Flow] = n
	}
	if n.kept >= keptOfFlow || len(r.packets) >= keptPackets {
		return
	}
	line := report.Packet{
		At: p.Time, Client: p.Flow.Client, Server: p.Flow.Server, From: "client",
		Text: r.words.Describe(&p), Comment: p.Comment(), Fate: p.Fate.String(),
	}
	if p.FromServer {
		line.From = "server"
	}
	switch {
	case p.Fate != injector.Passed:
		n.kept += len(n.before) + 1
		r.packets = append(append(r.packets, n.before...), line)
		n.before, n.after = n.before[:0], keptAround
	case n.after > 0:
		n.after--
		n.kept++
		r.packets = append(r.packets, line)
	default:
		if len(n.before) == keptAround {
			n.before = append(n.before[:0], n.before[1:]...)
		}
		n.before = append(n.before, line)
	}
}

// watch says where the counters of the run are.
func (r *Record) watch(now func() injector.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = now
}

// Fill adds to a case what was taken down.
func (r *Record) Fill(c *report.Case) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var stats injector.Snapshot
	if r.now != nil {
		stats = r.now()
	}
	c.Events, c.EventsCut, c.Packets = append(c.Events, r.events...), r.cut, r.packets
	if c.Start.IsZero() {
		c.Start = r.start
	}
	c.Faults = append(c.Faults, FaultStats(stats)...)
}

// FaultStats are counters as a report has them.
func FaultStats(s injector.Snapshot) (all []report.FaultStats) {
	for _, rule := range s.Rules {
		for _, f := range rule.Faults {
			all = append(all, report.FaultStats{
				Fault: f.Name, Flows: rule.Flows, Chosen: rule.Chosen, Fired: f.Fired, Acted: f.Acted,
				Diverted: f.Diverted, Dropped: f.Dropped, Forged: f.Forged,
				Struck: f.Settled.Struck, Unsent: f.Settled.Unsent, Unaccepted: f.Settled.Unaccepted, Unfelt: f.Settled.Unfelt, Felt: f.Settled.Felt,
				Unknown: f.Settled.Unknown, ClosedBefore: f.Settled.ClosedBefore, AnswersLost: f.Settled.AnswersLost, SentAgain: f.Settled.SentAgain,
			})
		}
	}
	return all
}
