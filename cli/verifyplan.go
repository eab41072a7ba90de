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

// defaultPlan is every reset cause, with timers that a test has the time for.
var defaultPlan = []string{
	"reset:at=request",
	"syn-drop:attempts=1",
	"idle-expire:after=1s",
	"half-open:peer=rebooted",
	"closed-socket",
	"linger-reset",
	"unread-close",
	"rst-close",
	"accept-overflow:room-after=1s",
	"refuse",
	"unreachable",
	"connect-stall:for=1s",
	"paws-reject:regress=900ms",
	"keepalive-drop",
	"bad-seq",
	"stall:for=1s",
}

// verifyEvery is which connections a fault strikes unless a flag says: every
// second one, so that a client which tries again finds a healthy one.
const verifyEvery = 2

// moments say, of faults that wait for something which few tests do, how to
// make a test do it.
var moments = map[string]string{
	"idle-expire":    "Have the command leave a connection idle for longer than that between two requests, or take a shorter time (--faults idle-expire:after=200ms).",
	"keepalive-drop": "Have the command leave a connection with TCP keepalive idle for longer than the keepalive interval.",
	"linger-reset":   "It comes when the server closes a connection; side=client takes the client's close instead.",
	"rst-close":      "It comes when the server closes a connection; side=client takes the client's close instead.",
}

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
		for _, text := range defaultPlan {
			specs, err := faults.ParseSpecs(text)
			if err != nil {
				return nil, err
			}
			lines = append(lines, planLine{"default plan", specs})
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

// newTrial makes the faults of a line. A bare name stands for the default
// plan's SPEC of that fault.
func newTrial(l planLine) (trial, error) {
	t := trial{}
	var names []string
	var models []faults.Model
	for _, s := range l.specs {
		if len(s.Knobs) == 0 {
			s = plannedSpec(s)
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

func plannedSpec(s spec) spec {
	for _, text := range defaultPlan {
		if planned, err := faults.ParseSpecs(text); err == nil && planned[0].Name == s.Name {
			return planned[0]
		}
	}
	return s
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
