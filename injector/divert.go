package injector

import (
	"net/netip"
	"os"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/injector/internal/sign"
)

// Sign returns how to recognize packets that faultctl sends in the network namespace
// (nil means the caller's own), in rules of the host for example: the bits of their
// priority (SO_PRIORITY) under the mask have that value. The value differs between
// namespaces, and changes at each boot.
func Sign(ns *os.File) (value, mask uint32, err error) {
	tag, err := sign.TagOf(ns)
	if err != nil {
		return 0, 0, err
	}
	return tag.Of(0), sign.Mask, nil
}

// place is where a run stands among those in its namespace.
type place struct {
	table string   // the name of its table
	tag   sign.Tag // of everything that runs send in the namespace
	level int      // its place among them, 0 to nfqueue.Last-nfqueue.First
	queue uint16   // the number of its first queue
	gso   uint16   // number of the first queue for GSO packets of local senders; 0 if there is none

	nat   [2]bool      // by ruleset.Family: destinations are translated there
	local []netip.Addr // the addresses of the host, if it translates destinations
}

// levelOf returns the level of the run that owns the queue with that number. It reports
// false if the number is not one that stands for a level.
func levelOf(queue uint16) (level int, ok bool) {
	return int(queue) - nfqueue.First, queue >= nfqueue.First && queue <= nfqueue.Last
}

// diversion returns what the faults of one rule need together.
func diversion(fs []NamedModel) faults.Diversion { return faults.Together(modelsOf(fs)...) }

// judgedDiversion is what is handed over in addition if a command is judged.
var judgedDiversion = faults.Diversion{SYN: true, All: true, Whole: true, NoCapture: true, Super: true}

// diversion returns what is handed over for the faults of one rule.
func (c *Config) diversion(fs []NamedModel) faults.Diversion {
	d := diversion(fs)
	if c.Judge {
		d = d.Union(judgedDiversion)
	}
	return d
}

// compile makes the rules for the kernel. states are the current targets and settings
// of the rules; nil means those of c.
func (c *Config) compile(at *place, states []*ruleState) *ruleset.Ruleset {
	in := ruleset.Input{
		Table: at.table, Tag: at.tag, Level: at.level,
		Priority: ruleset.Priority + 2*at.level, // still in front of NAT; each run has another one in front of its own
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

// copies returns how packets must be handed over for the faults of all rules, which
// share a queue. OnPacket gets whole packets, unless headers are enough.
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
