package scenario

import (
	"slices"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/document"
)

// Scenario is a parsed file with every default filled in.
type Scenario struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Seed        *uint64  `json:"seed"` // nil: a random one
	Duration    Duration `json:"duration"`
	Deadline    Duration `json:"deadline"`
	Faults      []Entry  `json:"faults"`
	Probes      []Probe  `json:"probes"`
	Abort       []Abort  `json:"abort"`

	doc *document.Document // nil: it was not read from a file
}

// Entry is one entry of faults: a Spec and its times.
type Entry struct {
	Name     string          `json:"name"`
	Spec     experiment.Spec `json:"-"`     // its faults, and its target with that of the scenario
	Start    Duration        `json:"start"` // from the beginning of the timeline
	Duration Duration        `json:"duration"`
	Pulse    *Pulse          `json:"pulse"`     // nil: it is active all the time
	Ramp     *Ramp           `json:"ramp"`      // nil: the share is the target's
	MustFire Count           `json:"must-fire"` // on how many connections each of its faults must act

}

// Pulse says how long a fault is on and off in turn.
type Pulse struct {
	On  Duration `json:"on"`
	Off Duration `json:"off"`
}

// Ramp is a share of the connections that changes.
type Ramp struct {
	From  Percent  `json:"from"`
	To    Percent  `json:"to"`
	Over  Duration `json:"over"`
	Steps int      `json:"steps"`
}

// Probe checks whether the service works. One of HTTP, TCP and Command is
// set.
type Probe struct {
	Name      string    `json:"name"`
	HTTP      *HTTP     `json:"http"`
	TCP       *TCP      `json:"tcp"`
	Command   Command   `json:"command"`
	When      []Phase   `json:"when"`
	Interval  Duration  `json:"interval"`
	Timeout   Duration  `json:"timeout"`
	Tolerance Tolerance `json:"tolerance"`
	Recovery  *Duration `json:"recovery"` // never nil
}

// Phase is a part of a run.
type Phase string

// The phases, in their order.
const (
	Before Phase = "before"
	During Phase = "during"
	After  Phase = "after"
)

// In reports whether the probe runs in a phase.
func (p *Probe) In(ph Phase) bool { return slices.Contains(p.When, ph) }

// HTTP is a request.
type HTTP struct {
	URL       string            `json:"url"`
	Method    string            `json:"method"`
	Headers   map[string]scalar `json:"headers"`
	Body      string            `json:"body"`
	Status    Status            `json:"status"`
	Contains  string            `json:"contains"`
	Insecure  bool              `json:"insecure"`
	Keepalive bool              `json:"keepalive"`
}

// TCP is a connection.
type TCP struct {
	Address string `json:"address"`
	Send    string `json:"send"`
	Expect  string `json:"expect"`
}

// Abort is a condition that ends the scenario at once.
type Abort struct {
	Probe      string   `json:"probe"`
	Failures   int      `json:"failures"`    // in a row; 0: not by their number
	FailingFor Duration `json:"failing-for"` // 0: not by time
}

// RunsCommands reports whether a probe runs a command.
func (s *Scenario) RunsCommands() bool {
	return slices.ContainsFunc(s.Probes, func(p Probe) bool { return p.HTTP == nil && p.TCP == nil })
}
