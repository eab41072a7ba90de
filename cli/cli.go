// Package cli is faultctl in words people type: one file a command. It knows
// neither packets nor netlink.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/demo"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/evidence"
	"github.com/faultctl/faultctl/experiment/scenario"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/cage"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/faultctl/faultctl/lab"
	urfave "github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// host is everything a command needs of the world, so that a test can give it
// another one.
type host struct {
	sys *experiment.System

	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool          // stdout is one: live line and colours
	progress       time.Duration // how often a plain line says how far a run is where there is no terminal; 0 never
	width          int           // of the terminal, or of what is printed to none
	screen         func() int    // width of the terminal as it is now

	signals func() (c <-chan os.Signal, stop func())
	exit    func(code int) // ends the process at once, at a second signal

	probe        func() []injector.Feature
	cleanup      func() ([]string, error)
	cleanupCages func() ([]string, error)

	ask       func(context.Context, *scenario.Probe) error // tries a probe once; nil: as scenario.Prober does
	play      func(context.Context, faults.Spec) (*demo.Story, error)
	mustEnter func() bool // a demo needs namespaces of its own first
	enter     func() (code int, err error)

	handed      *os.File // where the process outside listens for scrapes of the metrics; nil: it does not
	relay       func() (c <-chan os.Signal, stop func())
	mustIsolate func() bool // a command needs namespaces of its own
	enterCage   func(signals <-chan os.Signal, hand *os.File) (code int, err error)

	childIn, childOut, childErr *os.File // of commands

	invocation
}

// invocation is the state of one command line.
type invocation struct {
	command []string                          // behind --, for run and verify
	leaving atomic.Pointer[evidence.Evidence] // what a second signal has to write first; nil: nothing
	events  *event.Writer                     // to stdout
	asRun   bool                              // its exit codes are those of run
}

// Main runs faultctl with the given arguments, the program's name first, and
// returns its exit code. It returns only when everything is as before.
func Main(args []string) int {
	if cage.Guard(args) {
		return exitOK
	}
	h := thisHost()
	if signals, inside := cage.Inside(); inside {
		h.goInside(signals)
	}
	return h.run(args)
}

// goInside makes h the world in namespaces of its own.
func (h *host) goInside(signals <-chan os.Signal) {
	h.sys.Caged, h.handed = true, cage.Handed()
	h.relay = func() (<-chan os.Signal, func()) { return signals, func() {} }
	h.signals = func() (<-chan os.Signal, func()) { return endings(signals) }
	h.sys.MakeCage = func(*os.File) (cage.Cage, error) { return cage.NewNetns() }
}

// endings are those of the relayed signals that end a run.
func endings(relayed <-chan os.Signal) (<-chan os.Signal, func()) {
	c, done := make(chan os.Signal, 2), make(chan struct{})
	go func() {
		for {
			select {
			case s := <-relayed:
				if t, ok := s.(cage.FromTerminal); ok {
					s = syscall.Signal(t)
				}
				if s == syscall.SIGINT || s == syscall.SIGTERM || s == syscall.SIGHUP {
					c <- s
				}
			case <-done:
				return
			}
		}
	}()
	return c, func() { close(done) }
}

// thisHost is the world as it is.
func thisHost() *host {
	screen := func() int {
		width, _, err := term.GetSize(int(os.Stdout.Fd()))
		if err != nil || width == 0 {
			return defaultWidth
		}
		return width
	}
	h := &host{
		sys:   experiment.NewSystem(),
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		terminal: term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("TERM") != "dumb",
		width:    screen(),
		screen:   screen,
		progress: time.Minute,
		signals:  notify, exit: os.Exit,
		probe:   injector.Probe,
		cleanup: injector.Cleanup, cleanupCages: cage.Cleanup,
		relay: cage.Relay, enterCage: cage.Enter,
		mustIsolate: func() bool { return os.Geteuid() != 0 },
		childIn:     os.Stdin, childOut: os.Stdout, childErr: os.Stderr,
		play: demo.Play, mustEnter: lab.MustEnter, enter: lab.Enter,
	}

	return h
}

// notify returns the signals that end a run. Until stop nothing stops this process,
// see cage.StayAwake.
func notify() (c <-chan os.Signal, stop func()) {
	ends := make(chan os.Signal, 2)
	signal.Notify(ends, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	rest := cage.StayAwake()
	return ends, func() { signal.Stop(ends); rest() }
}

// run is Main on any host.
func (h *host) run(args []string) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var unsaid error // why standard output says less than it should
	h.stdout = &outlet{w: h.stdout, broken: func(err error) { unsaid = err; cancel(err) }}
	h.events = event.NewWriter(h.stdout)
	h.asRun = len(args) > 1 && args[1] == "run"
	app := h.app()
	rest, command := cutCommand(args)
	h.command = command
	tidy, err := arrange(app, rest, h.sys.Getenv)
	if err == nil {
		urfave.HelpPrinter = h.printHelp
		err = app.RunContext(ctx, tidy)
	}
	var broken outletEnd
	if errors.As(unsaid, &broken) && (err == nil || errors.Is(err, broken.err)) && !errors.As(err, new(outletEnd)) {
		err = broken.untold()
	}
	return h.report(args, err)
}

// app is the command line as urfave/cli wants it.
func (h *host) app() *urfave.App {
	app := &urfave.App{
		Name:                      "faultctl",
		Usage:                     "make TCP connections die as they do in production",
		Writer:                    h.stdout,
		ErrWriter:                 h.stderr,
		HideVersion:               true,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true, // --to 10.0.0.5:80,443 is one target
		ExitErrHandler:            func(*urfave.Context, error) {},
		OnUsageError:              onUsageError,
		Flags:                     []urfave.Flag{urfave.HelpFlag, &urfave.BoolFlag{Name: "version", Usage: "print the version", Aliases: []string{"v"}}},
		Commands: []*urfave.Command{
			h.injectCommand(), h.runCommand(), h.verifyCommand(), h.scenarioCommand(), h.replayCommand(), h.demoCommand(), h.faultsCommand(), h.doctorCommand(),
			h.cleanupCommand(), h.versionCommand(), h.completionCommand(), h.completeCommand(), h.manCommand(),
		},
		Action: h.bare,
	}
	for _, c := range app.Commands {
		uniform(c)
		for _, sub := range c.Subcommands {
			uniform(sub)
		}
	}
	app.Setup() // completes the HelpName of each command
	for _, c := range app.Commands {
		for _, sub := range c.Subcommands {
			sub.HelpName = c.HelpName + " " + sub.Name
		}
	}
	return app
}

// uniform sets what is the same for each command and subcommand.
func uniform(c *urfave.Command) {
	c.HideHelpCommand = true
	c.OnUsageError = onUsageError
}

// bare is faultctl without a command.
func (h *host) bare(c *urfave.Context) error {
	if c.Bool("version") {
		return h.version(c)
	}
	if !c.Args().Present() {
		return urfave.ShowAppHelp(c)
	}
	return unknownCommand(c.App, c.Args().First())
}

func unknownCommand(app *urfave.App, name string) error {
	var names []string
	for _, cmd := range app.Commands {
		if !cmd.Hidden {
			names = append(names, cmd.Name)
		}
	}
	if _, err := faults.Find(name); err == nil {
		return usageError("unknown command %q: it is a fault; did you mean faultctl inject %s?", name, name)
	}
	return usageError("unknown command %q%s", name, words.DidYouMean(name, names)).
		WithAdvice("Commands: " + strings.Join(names, ", ") + ".")
}

// noArguments refuses arguments behind a command that takes none.
func noArguments(c *urfave.Context) error {
	if c.Args().Present() {
		return usageError("%s: unexpected argument %q", c.Command.Name, c.Args().First())
	}
	return nil
}
