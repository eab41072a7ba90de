package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/urfave/cli/v2"
)

// untargetedFor is how long a run without a target lasts unless --duration
// says otherwise.
const untargetedFor = 15 * time.Minute

func injectCommand(e *env) *cli.Command {
	cmd := &cli.Command{
		Name:            "inject",
		Usage:           "strike connections with a fault until Ctrl-C or --duration",
		UsageText:       "faultctl inject FAULT [fault flags] [target flags] [run flags]",
		HideHelpCommand: true,
		Flags:           commonFlags(),
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				_, err := spec{name: c.Args().First()}.model()
				return err
			}
			if !c.IsSet("fault") {
				return usageError("inject needs a FAULT, such as: faultctl inject idle-expire --after 300s --to :5432; faultctl faults lists them")
			}
			return inject(e, c, nil)
		},
	}
	for _, kind := range faults.Catalog {
		cmd.Subcommands = append(cmd.Subcommands, &cli.Command{
			Name:            kind.Name,
			Usage:           kind.Cause,
			UsageText:       kind.Example,
			HideHelpCommand: true,
			Flags:           append(knobFlags(kind), commonFlags()...),
			OnUsageError:    onUsageError,
			Action: func(c *cli.Context) error {
				if c.Args().Present() {
					return usageError("%q is too much: one FAULT comes first, further ones go into --fault SPEC", c.Args().First())
				}
				s := spec{name: kind.Name}
				for _, k := range faults.Knobs(kind.New()) {
					if c.IsSet(k.Name) {
						s.knobs = append(s.knobs, [2]string{k.Name, fmt.Sprint(c.Value(k.Name))})
					}
				}
				return inject(e, c, &s)
			},
		})
	}
	return cmd
}

func commonFlags() []cli.Flag {
	fs := append(targetFlags(), runFlags()...)
	for _, f := range fs {
		withEnv(f)
	}
	return fs
}

func runFlags() []cli.Flag {
	const category = "RUN"
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "fault", Category: category, Usage: "one more fault for the same connections, as `SPEC`: idle-expire:after=300s; repeatable"},
		&cli.StringFlag{Name: "duration", Category: category, Usage: "end after `D`, such as 60s; 0 means no end"},
		&cli.StringFlag{Name: "start-after", Category: category, Usage: "begin after `D`"},
		&cli.Uint64Flag{Name: "seed", Category: category, Usage: "make the same choices as the run that printed `N`"},
		&cli.BoolFlag{Name: "dry-run", Category: category, Usage: "show the rules and the connections they would strike now, and do nothing"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Category: category, Value: "text", Usage: "text, or json: one event a line"},
		&cli.BoolFlag{Name: "expect-fired", Category: category, Usage: "exit with 4 if the fault never fired"},
		&cli.BoolFlag{Name: "allow-idle", Category: category, Usage: "exit with 0 even if the fault never fired"},
		&cli.StringFlag{Name: "log-level", Category: category, Value: "warn", Usage: "debug, info, warn or error, on stderr"},
	}
}

// knobFlags makes a flag of each knob of a fault.
func knobFlags(kind faults.Kind) []cli.Flag {
	var fs []cli.Flag
	for _, k := range faults.Knobs(kind.New()) {
		usage := k.Help
		if k.OneOf != nil {
			usage += " (" + strings.Trim(strings.Join(k.OneOf, ", "), ", ") + ")"
		}
		if k.Type == "bool" {
			fs = append(fs, &cli.BoolFlag{Name: k.Name, Category: "FAULT", Usage: usage})
		} else {
			fs = append(fs, &cli.StringFlag{Name: k.Name, Category: "FAULT", Usage: usage, DefaultText: k.Default})
		}
	}
	for _, f := range fs {
		withEnv(f)
	}
	return fs
}

// withEnv lets FAULTCTL_<FLAG> set the flag.
func withEnv(f cli.Flag) {
	name := []string{"FAULTCTL_" + strings.ToUpper(strings.ReplaceAll(f.Names()[0], "-", "_"))}
	switch f := f.(type) {
	case *cli.StringFlag:
		f.EnvVars = name
	case *cli.StringSliceFlag:
		f.EnvVars = name
		f.KeepSpace = true
	case *cli.BoolFlag:
		f.EnvVars = name
	case *cli.IntFlag:
		f.EnvVars = name
	case *cli.Uint64Flag:
		f.EnvVars = name
	}
}

// plan is an inject command, understood.
type plan struct {
	specs      []spec
	models     []injector.NamedModel
	cfg        injector.Config
	named      bool // a target was given
	duration   time.Duration
	startAfter time.Duration
	json       bool
	expect     bool
	dryRun     bool
	repeat     string // the command line that repeats the run
}

func inject(e *env, c *cli.Context, first *spec) error {
	p, err := newPlan(e, c, first)
	if err != nil {
		return err
	}
	if ns := p.cfg.NetNS; ns != nil {
		defer ns.Close()
	}
	s, err := e.start(p.cfg)
	if err != nil {
		return err
	}
	if p.dryRun {
		return dryRun(e, p, s)
	}
	return p.run(e)
}

func newPlan(e *env, c *cli.Context, first *spec) (*plan, error) {
	p := &plan{json: c.String("output") == "json", expect: c.Bool("expect-fired") && !c.Bool("allow-idle"), dryRun: c.Bool("dry-run")}
	if o := c.String("output"); o != "text" && o != "json" {
		return nil, usageError("--output %s: it is text or json", o)
	}
	if err := p.faults(c, first); err != nil {
		return nil, err
	}
	var rule injector.Rule
	var err error
	if rule.Match, rule.Pick, p.named, err = target(c); err != nil {
		return nil, err
	}
	rule.Faults = p.models
	if p.duration, err = duration(c, "duration"); err != nil {
		return nil, err
	}
	if p.startAfter, err = duration(c, "start-after"); err != nil {
		return nil, err
	}
	if !p.named && !c.IsSet("duration") {
		p.duration = untargetedFor
	}
	seed := rand.Uint64() >> 1
	if c.IsSet("seed") {
		seed = c.Uint64("seed")
	}
	level := slog.LevelWarn
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return nil, usageError("--log-level %s: it is debug, info, warn or error", c.String("log-level"))
	}
	p.cfg = injector.Config{
		Rules: []injector.Rule{rule}, Seed: seed,
		Logger: slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: level})),
	}
	p.repeat = p.commandLine(c)
	if !p.named && e.getenv("FAULTCTL_REQUIRE_TARGET") == "1" {
		return nil, &exitError{exitRefused, errors.New("refused: no target, and FAULTCTL_REQUIRE_TARGET=1 asks for one: add --to, such as --to :5432")}
	}
	if err := p.protect(e, c); err != nil {
		return nil, err
	}
	p.cfg.NetNS, err = namespace(c)
	return p, err
}

// faults reads the fault of the command and those of --fault.
func (p *plan) faults(c *cli.Context, first *spec) error {
	if first != nil {
		p.specs = append(p.specs, *first)
	}
	// The flag splits at commas, as a SPEC does: a piece without a name of its
	// own belongs to the SPEC before it.
	for _, text := range joinSpecs(c.StringSlice("fault")) {
		s, err := parseSpec(text)
		if err != nil {
			return err
		}
		p.specs = append(p.specs, s)
	}
	var names []string
	var models []faults.Model
	for _, s := range p.specs {
		m, err := s.model()
		if err != nil {
			return err
		}
		p.models = append(p.models, m)
		names, models = append(names, m.Name), append(models, m.Model)
	}
	if err := faults.Contradiction(names, models); err != nil {
		return usageError("these faults contradict each other: %w", err)
	}
	return nil
}

// joinSpecs puts SPECs together again that were split at their commas: a piece
// name=value belongs to the SPEC before it.
func joinSpecs(pieces []string) []string {
	var specs []string
	for _, p := range pieces {
		name, _, isKnob := strings.Cut(p, "=")
		if isKnob && !strings.Contains(name, ":") && len(specs) > 0 {
			last := &specs[len(specs)-1]
			sep := ","
			if !strings.Contains(*last, ":") {
				sep = ":"
			}
			*last += sep + p
			continue
		}
		specs = append(specs, p)
	}
	return specs
}

func duration(c *cli.Context, name string) (time.Duration, error) {
	text := c.String(name)
	if text == "" {
		return 0, nil
	}
	d, err := faults.ParseDuration(text)
	if err != nil {
		return 0, usageError("--%s %w", name, err)
	}
	return d, nil
}

// commandLine is one line that repeats the run.
func (p *plan) commandLine(c *cli.Context) string {
	words := []string{"faultctl", "inject"}
	for i, s := range p.specs {
		if i > 0 {
			words = append(words, "--fault")
		}
		words = append(words, s.String())
	}
	for _, name := range []string{"to", "from"} {
		for _, v := range c.StringSlice(name) {
			words = append(words, "--"+name, quote(v))
		}
	}
	for _, name := range []string{"netns", "pid", "percent", "every", "first", "skip", "max-connections", "new-only", "duration", "start-after"} {
		if !c.IsSet(name) {
			continue
		}
		if v := fmt.Sprint(c.Value(name)); v == "true" {
			words = append(words, "--"+name)
		} else {
			words = append(words, "--"+name, quote(v))
		}
	}
	return strings.Join(append(words, "--seed", fmt.Sprint(p.cfg.Seed)), " ")
}

// quote makes a word safe to paste into a shell.
func quote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:/,-_=%@+") == "" && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// run carries the plan out.
func (p *plan) run(e *env) error {
	ctx, cancel := context.WithCancelCause(e.ctx)
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		cancel(stopBy((<-signals).(syscall.Signal)))
		<-signals // a second one ends without waiting: the kernel cleans up
		os.Exit(130)
	}()

	out := newOutput(e, p)
	out.started()
	if p.startAfter > 0 {
		select {
		case <-time.After(p.startAfter):
		case <-ctx.Done():
			return stopCode(ctx)
		}
	}
	if p.duration > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, p.duration)
		defer stop()
	}
	cfg := p.cfg
	cfg.OnEvent = out.event
	s, err := e.start(cfg)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := s.Run(ctx); err != nil {
		out.failed(codeOf(err), err)
		return err
	}
	stats := s.Stats()
	out.ended(stats, time.Since(begin))
	if err := stopCode(ctx); err != nil {
		return err
	}
	if p.expect && fired(stats) == 0 {
		return quietExit(exitNotFired)
	}
	return nil
}

// stopBy is the signal that ended a run.
type stopBy syscall.Signal

func (s stopBy) Error() string { return syscall.Signal(s).String() }

// stopCode is 130 or 143 if a signal ended the run.
func stopCode(ctx context.Context) error {
	var s stopBy
	if errors.As(context.Cause(ctx), &s) {
		return quietExit(128 + int(s))
	}
	return nil
}

func fired(s injector.Snapshot) (n uint64) {
	for _, r := range s.Rules {
		for _, f := range r.Faults {
			n += f.Fired
		}
	}
	return n
}
