package experiment

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
)

// Seen is which connections a command opened while it was left alone.
type Seen struct {
	Matched uint64   // connections of the plan's target
	Others  []string // services of the others, address and port, each once, in the order in which they were opened
	All     bool     // nothing can have been missed

	Held        place.Holding // who else had connections of the target, if the command had none
	Unconnected uint64        // connections of the command that were never established

	NAT []injector.Translation // where NAT led the connections of the target, if none was seen and conntrack knows
}

// NamesEnds reports whether the target names the ends of its connections, so that
// a command may have none of them.
func (p *Plan) NamesEnds() bool {
	m := p.matcher()
	return len(m.To) > 0 || len(m.From) > 0 || len(m.Except) > len(p.spared)
}

// RunSeen is RunAlone, and says which connections the command opened: the fault
// observe watches how they begin and end, and changes nothing. Where nothing can
// be watched the command runs all the same.
func (p *Plan) RunSeen(ctx context.Context, st place.Stage) (end place.JobEnd, seen Seen, err error) {
	var mu sync.Mutex // guards seen and began
	began := false
	wanted := p.matcher()
	w, err := p.watcher()
	if err != nil {
		return end, seen, err
	}
	w.Observe(Observer{Event: func(_ time.Time, e event.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch e := e.(type) {
		case event.Command:
			began = true
		case event.Flow:
			client, _ := netip.ParseAddrPort(e.Flow.Client)
			server, _ := netip.ParseAddrPort(e.Flow.Server)
			switch {
			case wanted.Matches(client, server):
				seen.Matched++
			case !slices.Contains(seen.Others, e.Flow.Server):
				seen.Others = append(seen.Others, e.Flow.Server)
			}
		}
	}})
	end, result, err := w.RunCommand(ctx, st)
	mu.Lock()
	defer mu.Unlock()
	if err != nil && !began {
		end, err = p.RunAlone(ctx, st)
		return end, Seen{}, err
	}
	s := &result.Stats
	seen.All = began && s.Lost == 0 && s.Overruns == 0 && s.Shed == 0 && s.OwnerFull == 0 && Chosen(*s) == s.Rules[0].Flows
	if began && len(s.Rules) > 0 && len(s.Rules[0].Faults) > 0 {
		seen.Unconnected = s.Rules[0].Faults[0].Settled.Unconnected
	}
	if seen.Matched == 0 && len(wanted.To) > 0 {
		seen.Held, _ = p.others()
		seen.NAT, _ = p.sys.Translations(p.cfg.NetNS, wanted)
	}
	return end, seen, err
}

// watcher is a plan that watches every connection of the command.
func (p *Plan) watcher() (*Plan, error) {
	spec := faults.Spec{Name: "observe"}
	model, err := spec.Model()
	if err != nil {
		return nil, err
	}
	w := *p
	w.Spec = p.Spec.Clone()
	w.Spec.Faults, w.Spec.StartAfter, w.Spec.Duration = []faults.Spec{spec}, 0, nil
	w.Spec.Target.To, w.Spec.Target.From = nil, nil
	w.observers, w.names, w.moved = nil, nil, new(atomic.Pointer[target.Matcher])
	match := p.matcher()
	match.To, match.From, match.Except = nil, nil, p.spared
	w.cfg.Rules = []injector.Rule{{Match: match, Faults: []injector.NamedModel{{Name: spec.Name, Model: model}}}}
	return &w, nil
}

// Unreached says that a command that failed may have looked for a service that it cannot
// reach from where it runs. It is empty if it may not.
func (p *Plan) Unreached(s Seen) string {
	if s.Unconnected == 0 && (s.Matched > 0 || !s.All) {
		return ""
	}
	return p.outOfReach()
}

// WhyNone says that a command opened none of the plan's connections, and which it
// did open.
func (p *Plan) WhyNone(s Seen) string {
	const most = 5
	var ends []string
	for _, t := range p.Spec.Target.To {
		if rest, except := strings.CutPrefix(t, "!"); except {
			ends = append(ends, "except to "+rest)
		} else {
			ends = append(ends, "to "+t)
		}
	}
	for _, f := range p.Spec.Target.From {
		ends = append(ends, "from "+f)
	}
	if len(s.Others) == 0 {
		return "The command opened no TCP connection." + startedElsewhere(p.Spec.Command) + p.outOfReach() +
			" A Unix socket, the default of psql and mysql, is none: give the client a host, such as -h 127.0.0.1." + p.aboutOthers(s.Held)
	}
	others := s.Others
	if len(others) > most {
		others = append(slices.Clone(others[:most]), fmt.Sprintf("%d more", len(others)-most))
	}
	text := "The command opened connections to " + strings.Join(others, ", ") + "; none " + strings.Join(ends, ", ") + "."
	if len(s.NAT) > 0 {
		text += " Of the target's " + aboutNAT(s.NAT)
	}
	return text + p.aboutOthers(s.Held)
}
