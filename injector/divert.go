package injector

import (
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

// OwnSign is the priority (SO_PRIORITY) of every packet that faultctl sends: forged,
// duplicated or re-injected. Rules of the host's may tell them by it.
const OwnSign = ruleset.OwnSign

// diversion is what the faults of one rule want together.
func diversion(fs []NamedModel) faults.Diversion { return faults.Together(modelsOf(fs)...) }

// compile makes the kernel's rules. table is the name of their table, queue the number
// of the first queue, and gso that of the first for what local senders send as they
// made it, or 0 if there is none. states are what rules want by now; nil: what c says.
func (c *Config) compile(table string, queue, gso uint16, states []*ruleState) *ruleset.Ruleset {
	in := ruleset.Input{Table: table, Priority: ruleset.Priority, Protect: c.Protect, Queue: queue, GSOQueue: gso, Queues: c.queues()}
	if queue >= nfqueue.First && queue <= nfqueue.Last { // instances have a chain priority each, still above NAT's
		in.Priority += int(queue - nfqueue.First)
	}
	for i := range c.Rules {
		r := ruleset.Rule{Match: c.Rules[i].Match, Diverts: diversion(c.Rules[i].Faults)}
		if states != nil {
			r.Diverts = states[i].settings.Load().diverts
		}
		in.Rules = append(in.Rules, r)
	}
	return ruleset.Compile(&in)
}

// copies is how packets must be handed over for the faults of all rules: their
// queue is one. Who asked to see packets sees them whole, unless headers will do.
func (c *Config) copies() nfqueue.Copying {
	how := nfqueue.Copying{GSO: true, Whole: c.OnPacket != nil && !c.HeadersOnly}
	for i := range c.Rules {
		d := diversion(c.Rules[i].Faults)
		how.Whole = how.Whole || d.Whole
		how.GSO = how.GSO && d.Super
		how.SeparateGSO = how.SeparateGSO || d.Holds
	}
	how.SeparateGSO = how.SeparateGSO && how.Whole && !how.GSO
	return how
}
