package injector

import (
	"net/netip"
	"os"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/injector/internal/sign"
)

// Sign returns how packets that faultctl sends in the network namespace, nil being the
// caller's own, can be told from others, by rules of the host's for instance: the bits
// of their priority (SO_PRIORITY) under the mask have that value. It differs between
// namespaces, and changes when the machine boots.
func Sign(ns *os.File) (value, mask uint32, err error) {
	tag, err := sign.TagOf(ns)
	if err != nil {
		return 0, 0, err
	}
	return tag.Of(0), sign.Mask, nil
}

// place is where a run is among those in its namespace, and what tells it apart.
type place struct {
	table string   // the name of its table
	tag   sign.Tag // of what runs send in the namespace
	level int      // its place among them, 0 to nfqueue.Last-nfqueue.First
	queue uint16   // the number of its first queue
	gso   uint16   // that of the first for what local senders send as they made it, or 0 if there is none

	nat   [2]bool      // by ruleset.Family: destinations are translated there
	local []netip.Addr // the host's own addresses, if any are
}

// levelOf is the level of a run whose queue has that number, which it is the only one
// to have in its namespace. It reports false if the number says nothing.
func levelOf(queue uint16) (level int, ok bool) {
	return int(queue) - nfqueue.First, queue >= nfqueue.First && queue <= nfqueue.Last
}

// diversion is what the faults of one rule want together.
func diversion(fs []NamedModel) faults.Diversion { return faults.Together(modelsOf(fs)...) }

// judgedDiversion is what is handed over besides in a run that a command is judged by.
var judgedDiversion = faults.Diversion{SYN: true, All: true, Whole: true, NoCapture: true, Super: true}

// diversion is what is handed over for the faults of one rule.
func (c *Config) diversion(fs []NamedModel) faults.Diversion {
	d := diversion(fs)
	if c.Judge {
		d = d.Union(judgedDiversion)
	}
	return d
}

// compile makes the kernel's rules. states are what rules want by now; nil: what c says.
func (c *Config) compile(at *place, states []*ruleState) *ruleset.Ruleset {
	in := ruleset.Input{
		Table: at.table, Tag: at.tag, Level: at.level,
		Priority: ruleset.Priority + 2*at.level, // still above NAT's; each run has one in front of its own
		NAT:      at.nat, Local: at.local,
		Protect: c.Protect, Queue: at.queue, GSOQueue: at.gso, Queues: c.queues(),
	}
	for i := range c.Rules {
		r := ruleset.Rule{Match: c.Rules[i].Match, Diverts: c.diversion(c.Rules[i].Faults)}
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
		d := c.diversion(c.Rules[i].Faults)
		how.Whole = how.Whole || d.Whole
		how.GSO = how.GSO && d.Super
		how.SeparateGSO = how.SeparateGSO || d.Holds
	}
	how.SeparateGSO = how.SeparateGSO && how.Whole && !how.GSO
	return how
}
