package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/experiment/scenario"
	"github.com/faultctl/faultctl/faults"
	"github.com/urfave/cli/v2"
)

// asInject reads the faults and the target of an entry of a scenario as inject
// reads them from its command line, so that both mean the same, and hands them
// to do. The environment's flags do not count: a file says all there is.
func asInject(ctx context.Context, f *scenario.Fault, more []string, do func(c *cli.Context, first string) error) error {
	first, args, err := spelled(f)
	if err != nil {
		return err
	}
	kind, err := faults.Find(first)
	if err != nil {
		return usageError("%w", err)
	}
	flags := append(knobFlags(kind), append(targetFlags(), runFlags()...)...)
	for _, fl := range flags {
		switch fl := fl.(type) {
		case *cli.StringFlag:
			fl.EnvVars = nil
		case *cli.StringSliceFlag:
			fl.EnvVars = nil
		case *cli.BoolFlag:
			fl.EnvVars = nil
		}
	}
	app := &cli.App{
		Name: "inject", Writer: io.Discard, ErrWriter: io.Discard, HideHelp: true, HideVersion: true,
		DisableSliceFlagSeparator: true, ExitErrHandler: func(*cli.Context, error) {}, OnUsageError: onUsageError,
		Flags:  flags,
		Action: func(c *cli.Context) error { return do(c, first) },
	}
	return app.RunContext(ctx, append(append([]string{"inject"}, args...), more...))
}

// spelled writes an entry as arguments of inject. first is the fault whose
// settings are flags.
func spelled(f *scenario.Fault) (first string, args []string, err error) {
	all := []spec{{Name: f.Fault.Name, Knobs: f.Fault.Knobs}}
	if f.Fault.Text != "" {
		if all, err = faults.ParseSpecs(f.Fault.Text); err != nil {
			return "", nil, usageError("%w", err)
		}
	}
	args = all[0].Flags()
	for _, s := range all[1:] {
		args = append(args, "--fault", s.String())
	}
	return all[0].Name, append(args, f.Target.Arguments()...), nil
}

// somewhere stands for the addresses of a name that nobody is asked about.
var somewhere = netip.MustParseAddr("192.0.2.1")

// checkFault checks an entry of a scenario without asking anybody: names are
// not looked up, namespaces and containers not searched.
func (h *host) checkFault(ctx context.Context, s *scenario.Scenario, i int) *scenario.Problem {
	dry := *h
	dry.lookup = func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{somewhere}, nil }
	err := asInject(ctx, &s.Faults[i], nil, func(c *cli.Context, first string) error {
		if _, _, err := chosenFaults(c, first); err != nil {
			return err
		}
		_, err := dry.target(c)
		return err
	})
	if err == nil {
		return nil
	}
	p := located(s, i, err)
	return &p
}

// located finds the place in the file that an error about a flag is about.
func located(s *scenario.Scenario, i int, err error) scenario.Problem {
	f, at, message := &s.Faults[i], strconv.Itoa(i), err.Error()
	path := []string{"faults", at, "fault"}
	if word, rest, ok := flagOf(message); ok && f.Target[word] != nil {
		path, message = []string{"faults", at, "target", word}, rest
	} else if setting := (*faults.SettingError)(nil); errors.As(err, &setting) {
		message = setting.Error()
		if setting.Fault == f.Fault.Name && f.Fault.Text == "" {
			path, message = append(path, f.Fault.Name, setting.Knob), setting.Err.Error()
		}
	}
	p := s.Problem(path, "%s", message)
	var e *exitError
	if errors.As(err, &e) {
		p.Advice = e.advice
	}
	return p
}

// flagOf cuts the flag off a message that begins with one.
func flagOf(message string) (word, rest string, ok bool) {
	after, ok := strings.CutPrefix(message, "--")
	if !ok {
		return "", "", false
	}
	end := strings.IndexAny(after, " :")
	if end < 0 {
		return "", "", false
	}
	return after[:end], strings.TrimSpace(strings.TrimPrefix(after[end:], ":")), true
}

// scenarioPlans makes a plan of each entry, and touches nothing but the
// namespaces, which it opens. closePlans gives them back.
func (h *host) scenarioPlans(c *cli.Context, s *scenario.Scenario, seed uint64) (plans []*plan, err error) {
	defer func() {
		if err != nil {
			closePlans(plans)
		}
	}()
	more := []string{"--seed", strconv.FormatUint(seed, 10)}
	for _, name := range []string{"output", "log-level"} {
		if v := c.String(name); v != "" {
			more = append(more, "--"+name, v)
		}
	}
	for i := range s.Faults {
		err := asInject(c.Context, &s.Faults[i], more, func(c *cli.Context, first string) error {
			p, err := h.plan(c, first)
			if err == nil {
				plans = append(plans, p)
			}
			return err
		})
		if err != nil {
			return plans, inFile(s, i, err)
		}
	}
	return plans, nil
}

func closePlans(plans []*plan) {
	for _, p := range plans {
		if p.cfg.NetNS != nil {
			p.cfg.NetNS.Close()
		}
	}
}

// inFile says where in the file an error comes from, and keeps its exit code.
func inFile(s *scenario.Scenario, i int, err error) error {
	p := located(s, i, err)
	return &exitError{code: exitCode(err), err: fmt.Errorf("%s", p), advice: advice(err)}
}
