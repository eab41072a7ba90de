package cli

import (
	"sync"
	"time"

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

// record takes down what happens in a run, for its report, and tells it on.
// A nil record has taken down nothing.
type record struct {
	teller

	mu      sync.Mutex
	start   time.Time
	took    time.Duration
	events  []report.Event
	cut     int
	stats   injector.Snapshot
	run     session // while it goes on; nil before, and after
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

func (r *record) event(ev injector.Event) {
	r.take(ev)
	r.teller.event(ev)
}

func (r *record) take(ev injector.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := report.Event{At: ev.Time, Client: ev.Flow.Client, Server: ev.Flow.Server, Fault: ev.Fault}
	switch ev.Kind {
	case injector.Ready: // of no connection
		e = report.Event{At: ev.Time, Kind: "ready"}
		if r.start.IsZero() { // pulses begin again, and so does a run in a container
			r.start = ev.Time
		}
	case injector.Chosen:
		e.Kind = "flow"
	case injector.Fired:
		e.Kind, e.Action, e.To, e.Reason = "fired", ev.Action.String(), ev.To.String(), ev.Reason
	}
	if len(r.events) == keptEvents {
		r.cut++
		return
	}
	r.events = append(r.events, e)
}

// packet has the form of injector.Config.OnPacket.
func (r *record) packet(p injector.Packet) {
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

func (r *record) ended(s injector.Snapshot, took time.Duration) {
	r.mu.Lock()
	r.stats, r.took, r.run = s, took, nil
	r.mu.Unlock()
	r.teller.ended(s, took)
}

// watch says which run it is that is taken down.
func (r *record) watch(run session) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run = run
}

// fill adds to a case what was taken down.
func (r *record) fill(c *report.Case) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.run != nil {
		r.stats = r.run.Stats()
	}
	c.Events, c.EventsCut, c.Packets = append(c.Events, r.events...), r.cut, r.packets
	if c.Start.IsZero() {
		c.Start = r.start
	}
	if c.Took == 0 {
		c.Took = r.took
	}
	c.Faults = append(c.Faults, faultStats(r.stats)...)
}

// faultStats are counters as a report has them.
func faultStats(s injector.Snapshot) (all []report.FaultStats) {
	for _, rule := range s.Rules {
		for _, f := range rule.Faults {
			all = append(all, report.FaultStats{
				Fault: f.Name, Flows: rule.Flows, Chosen: rule.Chosen, Fired: f.Fired, Acted: f.Acted,
				Diverted: f.Diverted, Dropped: f.Dropped, Forged: f.Forged,
			})
		}
	}
	return all
}
