package experiment

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/internal/redact"
)

// unrepeated are the words that a line which repeats a run leaves out, because
// output files are not part of the run.
var unrepeated = map[string]bool{"pcap": true, "report": true, "metrics": true, "seed": true}

// CommandLine is one line that repeats the run: faultctl inject, or faultctl run
// if the plan has a command.
func (s *Spec) CommandLine() string {
	verb := "inject"
	if len(s.Command) > 0 {
		verb = "run"
	}
	line := []string{"faultctl", verb}
	for i, f := range s.Faults {
		if i > 0 {
			line = append(line, "--fault", place.Quote(f.String()))
			continue
		}
		line = append(line, f.Name)
		for _, k := range f.Knobs {
			switch k[1] {
			case "true":
				line = append(line, "--"+k[0])
			case "false":
				line = append(line, "--"+k[0]+"=false")
			default:
				line = append(line, "--"+k[0], place.Quote(k[1]))
			}
		}
	}
	return strings.Join(append(line, s.flags()...), " ")
}

// Redacted leaves secrets out of a command line, and of what the command prints. It
// is nil, and leaves out nothing, if secrets are to be shown.
func (p *Plan) Redacted() *redact.Filter {
	if p.sys.ShowSecrets {
		return nil
	}
	return redact.For(p.Spec.Command, os.Environ())
}

// ShownCommand is the command of the plan as events, reports and texts have it.
func (p *Plan) ShownCommand() []string { return p.Redacted().Command(p.Spec.Command) }

// shown is the Spec as events, reports and texts have it.
func (p *Plan) shown() *Spec {
	s := p.Spec.Clone()
	s.Command = p.ShownCommand()
	return &s
}

// Data is the Spec of the plan as events have it.
func (p *Plan) Data() json.RawMessage { return p.shown().Data() }

// CommandLine is one line that repeats the run, if nothing had to be left out of it.
func (p *Plan) CommandLine() string { return p.shown().CommandLine() }

// flags are the words of the Spec as flags, without its faults. The seed is
// the last flag, and the command follows.
func (s *Spec) flags() (line []string) {
	for _, w := range Words {
		if unrepeated[w.Name] {
			continue
		}
		values := w.get(s)
		for _, v := range values {
			line = append(line, "--"+w.Name)
			if w.Kind != Switch {
				line = append(line, place.Quote(v))
			}
		}
	}
	if s.Seed != nil {
		line = append(line, "--seed", strconv.FormatUint(*s.Seed, 10))
	}
	if len(s.Command) > 0 {
		line = append(line, "--")
		for _, w := range s.Command {
			line = append(line, place.Quote(w))
		}
	}
	return line
}
