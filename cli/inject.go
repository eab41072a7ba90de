package cli

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/urfave/cli/v2"
)

// untargetedFor is how long a run without a target lasts unless --duration
// says otherwise.
const untargetedFor = 15 * time.Minute

// mostQueues is what injector.Config takes.
const mostQueues = 16

// injectCommand is faultctl inject FAULT [flags].
func (h *host) injectCommand() *cli.Command {
	return underFault(&cli.Command{
		Name:      "inject",
		Usage:     "strike connections with a fault, until Ctrl-C or --duration",
		ArgsUsage: "FAULT [flags]",
		Description: "faultctl inject idle-expire --after 300s --to :5432\n" +
			"faultctl inject reset --percent 10 --to 10.0.0.5:8080 --duration 60s\n" +
			"faultctl inject syn-drop:attempts=1 --fault idle-expire:after=5s --to :6379 -o json",
	}, "faultctl inject idle-expire --after 300s --to :5432",
		func() []cli.Flag { return append(targetFlags(), runFlags()...) },
		func(example string) string { return example }, h.inject)
}

// underFault completes a command that takes a FAULT: it has one for each fault of
// the catalogue below it, with the fault's knobs as flags. example is a command
// line, shown says how it does what the catalogue's example of a fault does,
// flags makes those of the command, and do carries it out: first is the FAULT
// whose knobs are flags of c, empty if --fault alone names any.
func underFault(cmd *cli.Command, example string, flags func() []cli.Flag, shown func(string) string, do func(c *cli.Context, first string) error) *cli.Command {
	cmd.Flags = flags()
	cmd.Action = func(c *cli.Context) error {
		if len(c.StringSlice("fault")) == 0 {
			return usageError("%s: which FAULT? For example: %s", cmd.Name, example).
				hint("There are " + strings.Join(faults.Names(), ", ") + "; faultctl faults says what they do.")
		}
		return do(c, "")
	}
	for _, kind := range faults.Catalog {
		cmd.Subcommands = append(cmd.Subcommands, &cli.Command{
			Name: kind.Name, Usage: kind.Cause, ArgsUsage: strings.TrimPrefix(cmd.ArgsUsage, "FAULT "),
			Description: shown(kind.Example),
			Flags:       append(knobFlags(kind), flags()...),
			Action:      func(c *cli.Context) error { return do(c, kind.Name) },
		})
	}
	return cmd
}

// plan is an inject command, understood.
type plan struct {
	specs      []spec // as typed
	target     *aim
	cfg        injector.Config
	netns      string // name of the namespace; "" is the caller's own
	container  string // the container whose namespace that is, as given; or ""
	duration   time.Duration
	durationIs bool // given, not the default of a run without a target
	startAfter time.Duration
	lookEvery  time.Duration // how often host names are looked up anew; 0: never
	json       bool
	expect     bool      // a fault that never fires is an error
	repeat     string    // one command line that repeats the run
	mayIdle    bool      // it was said that a fault need not fire
	evidence   *evidence // what it leaves; nil leaves nothing

	name    string   // of the case of a verify; empty for an inject or run
	verb    string   // inject, run or verify
	command []string // what run and verify start in a cage; nil: nothing
	extra   []string // flags of the line that repeats it that nobody typed
	note    string   // what a person must know about where that is

	isolated bool // that is a network namespace of the command's own

	nat []injector.Translation // afterwards: where NAT led the connections that it was after
}

// inject runs faults in the foreground. first is the FAULT whose settings are
// flags of c; there may be none.
func (h *host) inject(c *cli.Context, first string) (err error) {
	if err := noArguments(c); err != nil {
		return err
	}
	p, err := h.plan(c, first)
	if err != nil {
		return err
	}
	if p.cfg.NetNS != nil {
		defer p.cfg.NetNS.Close()
	}
	if c.Bool("dry-run") {
		return h.dryRun(c, p)
	}
	if p.evidence, err = h.evidence(c); err != nil {
		return err
	}
	defer func() { err = p.evidence.close(err) }()
	p.evidence.named(p.repeat, p.cfg.Seed)
	return h.strike(c.Context, p)
}

// plan reads and checks everything on the command line, and touches nothing.
// The network namespace comes last, so that an error leaves nothing open.
func (h *host) plan(c *cli.Context, first string) (*plan, error) {
	p := &plan{verb: "inject", mayIdle: c.Bool("allow-idle") || c.IsSet("expect-fired") && !c.Bool("expect-fired")}
	p.expect = c.Bool("expect-fired") && !p.mayIdle
	if w := strings.Fields(c.Command.HelpName); takesCommand(w) {
		p.verb = w[1]
		if p.command = afresh(h.command); len(p.command) == 0 {
			return nil, usageError("%s: which command? Write it behind --, such as: %s -- go test ./...", p.verb, c.Command.HelpName).
				hint("All flags stand before the --.")
		}
		p.expect = !p.mayIdle
	}
	err := noneEmpty(c)
	if err != nil {
		return nil, err
	}
	if p.json, err = wantsJSON(c); err != nil {
		return nil, err
	}
	specs, models, err := chosenFaults(c, first)
	if err != nil {
		return nil, err
	}
	p.specs = specs
	if p.target, err = h.target(c); err != nil {
		return nil, err
	}
	if p.command != nil { // nobody else's connections are touched
		p.target.none, p.target.owner = false, "the command"
		if p.isolated = h.inside; p.isolated {
			why := "without root"
			if c.Bool("isolate") {
				why = "--isolate"
			}
			p.note = why + ": the command runs in a network namespace of its own and reaches, over loopback, only services that it starts itself"
		}
	}
	if v := h.getenv("FAULTCTL_REQUIRE_TARGET"); p.target.none && demanded(v) {
		return nil, refused("no target, and FAULTCTL_REQUIRE_TARGET=%s demands one", v).
			hint("Say which connections: --to :5432, --from 10.0.0.7 or --netns NAME.")
	}
	if err := p.times(c); err != nil {
		return nil, err
	}
	p.cfg.Seed = h.seed()
	if c.IsSet("queues") {
		if p.cfg.Queues, err = strconv.Atoi(c.String("queues")); err != nil || p.cfg.Queues < 1 || p.cfg.Queues > mostQueues {
			return nil, usageError("--queues %s: not a whole number from 1 to %d", c.String("queues"), mostQueues).
				hint("Each queue has a thread: more of them than processors do not help. Leave it out for one.")
		}
	}
	if c.IsSet("seed") {
		if p.cfg.Seed, err = strconv.ParseUint(c.String("seed"), 10, 64); err != nil {
			return nil, usageError("--seed %s: not a whole number from 0 on", c.String("seed"))
		}
	}
	if p.cfg.Logger, err = h.logger(c); err != nil {
		return nil, err
	}
	p.cfg.Rules = []injector.Rule{{Match: p.target.match, Pick: p.target.pick, Faults: models}}
	p.cfg.Protect = h.protected(p.target.none)
	if err := refuseProtected(p.target.match, p.cfg.Protect); err != nil {
		return nil, err
	}
	p.repeat = p.commandLine(c)
	if p.command == nil { // a command does not move along with a container that is restarted
		p.container = c.String("container")
	}
	p.cfg.NetNS, p.netns, err = h.netns(c, p.target)
	return p, err
}

// demanded reads an environment variable that turns a safety rail on: whatever
// does not clearly say no means yes.
func demanded(v string) bool {
	no, err := strconv.ParseBool(v)
	return v != "" && (err != nil || no) && !strings.EqualFold(v, "no") && !strings.EqualFold(v, "off")
}

// noneEmpty refuses a flag that was given without a value, as "$N" of a shell is
// where it is not set.
func noneEmpty(c *cli.Context) error {
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		if _, is := f.(*cli.StringFlag); is && c.IsSet(name) && c.String(name) == "" {
			return usageError("--%s is empty", name).hint(fmt.Sprintf("Leave it out if it is not meant, or unset %s, which says the same.", envVar(name)))
		}
	}
	return nil
}

// times reads --duration and --start-after.
func (p *plan) times(c *cli.Context) (err error) {
	if p.duration, err = duration(c, "duration"); err != nil {
		return err
	}
	p.durationIs = c.IsSet("duration")
	if !p.durationIs && p.target.none {
		p.duration = untargetedFor
	}
	p.lookEvery = lookEvery
	if c.IsSet("resolve-every") {
		if p.lookEvery, err = duration(c, "resolve-every"); err != nil {
			return err
		}
	}
	p.startAfter, err = duration(c, "start-after")
	return err
}

func duration(c *cli.Context, flag string) (time.Duration, error) {
	if !c.IsSet(flag) {
		return 0, nil
	}
	d, err := words.ParseDuration(c.String(flag))
	if err != nil {
		return 0, usageError("--%s: %w", flag, err)
	}
	return d, nil
}

// logger writes what an operator may want to know to stderr.
func (h *host) logger(c *cli.Context) (*slog.Logger, error) {
	level := slog.LevelWarn
	if s := c.String("log-level"); s != "" {
		levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
		l, ok := levels[strings.ToLower(s)]
		if !ok {
			return nil, usageError("--log-level %s: it is debug, info, warn or error%s", s,
				words.DidYouMean(s, []string{"debug", "info", "warn", "error"}))
		}
		level = l
	}
	return slog.New(slog.NewTextHandler(h.stderr, &slog.HandlerOptions{Level: level})), nil
}

// commandLine is one line that repeats the run, whether its flags came from
// the command line or from the environment.
func (p *plan) commandLine(c *cli.Context) string {
	line := []string{"faultctl", p.verb, p.specs[0].Name}
	for _, k := range p.specs[0].Knobs {
		switch k[1] {
		case "true":
			line = append(line, "--"+k[0])
		case "false":
			line = append(line, "--"+k[0]+"=false")
		default:
			line = append(line, "--"+k[0], quote(k[1]))
		}
	}
	for _, s := range p.specs[1:] {
		line = append(line, "--fault", quote(s.String()))
	}
	for _, v := range p.target.to {
		line = append(line, "--to", quote(v))
	}
	for _, v := range p.target.from {
		line = append(line, "--from", quote(v))
	}
	flags := append(targetFlags(), runFlags()...)
	if p.command != nil {
		flags = caged()
	}
	for _, f := range flags {
		name := f.Names()[0]
		switch {
		case !c.IsSet(name):
		case name == "to" || name == "from" || name == "fault" || name == "seed" || name == "output" || name == "log-level" || name == "dry-run" ||
			name == "pcap" || name == "report" || name == "metrics":
		case takesValue(f):
			line = append(line, "--"+name, quote(c.String(name)))
		case c.Bool(name):
			line = append(line, "--"+name)
		default:
			line = append(line, "--"+name+"=false")
		}
	}
	line = append(append(line, p.extra...), "--seed", fmt.Sprint(p.cfg.Seed))
	if p.command != nil {
		line = append(line, "--")
		for _, w := range p.command {
			line = append(line, quote(w))
		}
	}
	return strings.Join(line, " ")
}

// quote makes a word safe to paste into a shell.
func quote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:/,-_=%@+"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// splitWords undoes quote for each word of a command line.
func splitWords(line string) (words []string, err error) {
	var b strings.Builder
	open, quoted := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\'':
			quoted = false
		case quoted:
			b.WriteByte(c)
		case c == '\'':
			quoted, open = true, true
		case c == '\\' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
			open = true
		case c == ' ':
			if open {
				words = append(words, b.String())
			}
			b.Reset()
			open = false
		default:
			b.WriteByte(c)
			open = true
		}
	}
	if quoted {
		return nil, fmt.Errorf("a quotation mark is missing")
	}
	if open {
		words = append(words, b.String())
	}
	return words, nil
}

// scope says in words which connections a run is about.
func (p *plan) scope() string {
	var parts []string
	for _, t := range p.target.to {
		if rest, except := strings.CutPrefix(t, "!"); except {
			parts = append(parts, "except to "+rest)
		} else {
			parts = append(parts, "to "+t)
		}
	}
	for _, f := range p.target.from {
		parts = append(parts, "from "+f)
	}
	s := "every TCP connection"
	if len(parts) > 0 {
		s = "connections " + strings.Join(parts, ", ")
		if len(p.target.match.To) == 0 && len(p.target.match.From) == 0 {
			s = "every TCP connection " + strings.Join(parts, ", ")
		}
	}
	if strings.Contains(s, "%") {
		s += " (whatever the zone)" // packets carry none
	}
	if p.target.owner != "" {
		s += " of " + p.target.owner
		parts = append(parts, p.target.owner)
	}
	if p.netns != "" {
		return s + " in the network namespace " + strings.TrimPrefix(p.netns, "that ")
	}
	if len(parts) == 0 {
		return s + " of this network namespace"
	}
	return s
}
