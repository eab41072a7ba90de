package scenario

import (
	"fmt"
	"slices"
	"strings"
)

// Scenario is a file, understood: every default is filled in.
type Scenario struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Seed        *uint64  `json:"seed"` // nil: to be drawn
	Duration    Duration `json:"duration"`
	Deadline    Duration `json:"deadline"`
	Target      Target   `json:"target"`
	Faults      []Fault  `json:"faults"`
	Probes      []Probe  `json:"probes"`
	Abort       []Abort  `json:"abort"`

	doc *document
}

// Fault is one entry of faults.
type Fault struct {
	Name     string   `json:"name"`
	Fault    Spec     `json:"fault"`
	Target   Target   `json:"target"` // that of the scenario included
	Start    Duration `json:"start"`
	Duration Duration `json:"duration"`
	Pulse    *Pulse   `json:"pulse"`
	Ramp     *Ramp    `json:"ramp"`
	MustFire Count    `json:"must-fire"`
}

// Spec is a fault with its settings: a SPEC as it was written, which may name
// several, or else a name and its settings in the catalogue's order.
type Spec struct {
	Text  string
	Name  string
	Knobs [][2]string
}

// String writes the faults as a SPEC.
func (s Spec) String() string {
	if s.Text != "" {
		return s.Text
	}
	parts := make([]string, len(s.Knobs))
	for i, k := range s.Knobs {
		parts[i] = k[0] + "=" + k[1]
	}
	if len(parts) == 0 {
		return s.Name
	}
	return s.Name + ":" + strings.Join(parts, ",")
}

// Target holds the words of a target with their values as people type them.
type Target map[string]Words

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

// Probe says whether the service holds. One of HTTP, TCP and Command is set.
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

// In reports whether the probe is asked in a phase.
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

// Abort ends everything at once.
type Abort struct {
	Probe      string   `json:"probe"`
	Failures   int      `json:"failures"`    // in a row; 0: not by their number
	FailingFor Duration `json:"failing-for"` // 0: not by time
}

// Arguments writes the target as flags.
func (t Target) Arguments() []string {
	var words, args []string
	for w := range t {
		words = append(words, w)
	}
	slices.Sort(words)
	for _, w := range words {
		for _, v := range t[w] {
			args = append(args, fmt.Sprintf("--%s=%s", w, v))
		}
	}
	return args
}
