package experiment

import (
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/experiment/place"
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
