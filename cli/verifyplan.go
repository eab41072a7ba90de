package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/urfave/cli/v2"
)

// verifyEvery is which connections a fault strikes unless a flag says: every
// second one, so that a client which tries again finds a healthy one.
const verifyEvery = 2

// trial is one case of a plan: faults that strike together.
type trial struct {
	name   string // unique in the plan
	specs  []spec
	models []injector.NamedModel
}

// trials reads the plan of verify: --plan, --faults, or the default.
func (h *host) trials(c *cli.Context) ([]trial, error) {
	var lines []planLine
	switch list := c.StringSlice("faults"); {
	case c.IsSet("plan") && c.IsSet("faults"):
		return nil, usageError("verify: --plan and --faults both name the faults: give one")
	case c.IsSet("plan"):
		var err error
		if lines, err = h.readPlan(c.String("plan")); err != nil {
			return nil, err
		}
	case c.IsSet("faults"):
		for _, text := range list {
			specs, err := faults.ParseSpecs(text)
			if err != nil {
				return nil, usageError("--faults %s: %w", text, err).hint(specAdvice(err))
			}
			for _, s := range specs {
				lines = append(lines, planLine{"--faults", []spec{s}})
			}
		}
	default:
		for _, k := range faults.Catalog {
			if k.Group == "reset" {
				lines = append(lines, planLine{"default plan", []spec{k.VerifySpec()}})
			}
		}
	}
	var ts []trial
	for _, l := range lines {
		t, err := newTrial(l)
		if err != nil {
			return nil, err
		}
		for n := 2; slices.ContainsFunc(ts, func(other trial) bool { return other.name == t.name }); n++ {
			t.name = fmt.Sprintf("%s (%d)", strings.SplitN(t.name, " (", 2)[0], n)
		}
		ts = append(ts, t)
	}
	return ts, nil
}

// showPlan prints what would be tried: a case a line, or an event.
func (h *host) showPlan(s *survey) {
	for _, t := range s.trials {
		if !s.base.json {
			fmt.Fprintln(h.stdout, t.name)
			continue
		}
		names := make([]string, len(t.specs))
		for i, spec := range t.specs {
			names[i] = spec.String()
		}
		(&jsonTeller{w: h.stdout, host: h}).line(struct {
			head
			Case   string   `json:"case"`
			Faults []string `json:"faults"`
		}{h.head("dry-run"), t.name, names})
	}
}

// planLine is a line of a plan, read.
type planLine struct {
	where string
	specs []spec
}

// newTrial makes the faults of a line. A bare name stands for the fault as
// the catalogue has it for verify.
func newTrial(l planLine) (trial, error) {
	t := trial{}
	var names []string
	var models []faults.Model
	for _, s := range l.specs {
		if kind, err := faults.Find(s.Name); err == nil && len(s.Knobs) == 0 {
			s = kind.VerifySpec()
		}
		m, err := model(s)
		if err != nil {
			return t, usageError("%s: %w", l.where, err).hint("faultctl faults " + s.Name + " explains every setting.")
		}
		t.specs, t.models = append(t.specs, s), append(t.models, m)
		names, models = append(names, s.String()), append(models, m.Model)
	}
	if err := faults.Contradiction(names, models); err != nil {
		return t, usageError("%s: these faults contradict each other: %w", l.where, err)
	}
	t.name = strings.Join(names, ",")
	return t, nil
}

// readPlan reads a plan from a file, or from standard input if that is -.
func (h *host) readPlan(path string) ([]planLine, error) {
	var r io.Reader = h.childIn
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, usageError("--plan %s: %w", path, aboutFile(err))
		}
		defer f.Close()
		r = f
	}
	var lines []planLine
	in := bufio.NewScanner(r)
	for n := 1; in.Scan(); n++ {
		text, _, _ := strings.Cut(in.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		where := fmt.Sprintf("--plan %s: line %d", path, n)
		specs, err := faults.ParseSpecs(text)
		if err != nil {
			return nil, usageError("%s: %w", where, err).
				hint("Each line is a SPEC, such as idle-expire:after=300s; SPECs on one line, with commas between, strike together; # begins a comment.")
		}
		lines = append(lines, planLine{where, specs})
	}
	if err := in.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, usageError("--plan %s: a line is longer than 64 KiB: that is no plan", path)
	} else if err != nil {
		return nil, usageError("--plan %s: %w", path, aboutFile(err))
	}
	if len(lines) == 0 {
		return nil, usageError("--plan %s: there is no fault in it", path)
	}
	return lines, nil
}
