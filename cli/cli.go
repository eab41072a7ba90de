// Package cli is the command line of faultctl, one file per command. A command
// reads its flags into an experiment.Spec, runs it and prints what comes back.
// args.go turns a command line into the form that urfave/cli reads; only files that
// read flags know that library. printer*.go print. The package knows neither
// packets nor netlink.
package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/evidence"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/cage"
	"github.com/faultctl/faultctl/internal/words"
	urfave "github.com/urfave/cli/v2"
)

// Main runs faultctl with the given arguments, the program's name first, and
// returns its exit code, when everything has been cleaned up.
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

// invocation is the state of one command line.
type invocation struct {
	*host
	stdout   io.Writer                         // that of the host, watched
	events   *event.Writer                     // to stdout
	command  []string                          // behind --, for run and verify
	name     string                            // of the command, such as faultctl scenario run
	json     bool                              // --output json
	markdown bool                              // --output markdown
	dryRun   bool                              // --dry-run
	logger   *slog.Logger                      // for --log-level
	asRun    bool                              // its exit codes are those of run
	leaving  atomic.Pointer[evidence.Evidence] // what a second signal has to write first; nil: nothing
}

// run is Main on any host.
func (h *host) run(args []string) int {
	inv := &invocation{host: h}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var unwritten error // why standard output is incomplete
	inv.stdout = &stdoutWatch{w: h.stdout, broken: func(err error) { unwritten = err; cancel(err) }}
	inv.events = event.NewWriter(inv.stdout)
	inv.asRun = len(args) > 1 && args[1] == "run"
	app := inv.app()
	rest, command := cutCommand(args)
	inv.command = command
	tidy, err := arrange(app, rest, inv.sys.Getenv)
	if err == nil {
		urfave.HelpPrinter = inv.printHelp
		err = app.RunContext(ctx, tidy)
	}
	var broken stdoutError
	if errors.As(unwritten, &broken) && (err == nil || errors.Is(err, broken.err)) && !errors.As(err, new(stdoutError)) {
		err = broken.exitError()
	}
	return inv.report(args, err)
}

// app is the command line as urfave/cli wants it.
func (inv *invocation) app() *urfave.App {
	app := &urfave.App{
		Name:                      "faultctl",
		Usage:                     "make TCP connections die as they do in production",
		Writer:                    inv.stdout,
		ErrWriter:                 inv.stderr,
		HideVersion:               true,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true, // --to 10.0.0.5:80,443 is one target
		ExitErrHandler:            func(*urfave.Context, error) {},
		OnUsageError:              onUsageError,
		Flags:                     []urfave.Flag{urfave.HelpFlag, &urfave.BoolFlag{Name: "version", Usage: "print the version", Aliases: []string{"v"}}},
		Commands: []*urfave.Command{
			inv.injectCommand(), inv.runCommand(), inv.verifyCommand(), inv.scenarioCommand(), inv.replayCommand(),
			inv.demoCommand(), inv.faultsCommand(), inv.doctorCommand(), inv.cleanupCommand(), inv.versionCommand(),
			inv.completionCommand(), inv.completeCommand(), inv.manCommand(),
		},
		Action: inv.bare,
	}
	for _, c := range app.Commands {
		inv.finish(c)
		for _, sub := range c.Subcommands {
			inv.finish(sub)
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

// finish sets what is the same for each command and subcommand.
func (inv *invocation) finish(cmd *urfave.Command) {
	cmd.HideHelpCommand = true
	cmd.OnUsageError = onUsageError
	if action := cmd.Action; action != nil {
		cmd.Action = func(c *urfave.Context) error {
			if err := inv.read(c); err != nil {
				return err
			}
			return action(c)
		}
	}
}

// read reads the flags that mean the same for every command.
func (inv *invocation) read(c *urfave.Context) (err error) {
	inv.name, inv.dryRun = c.Command.HelpName, c.Bool("dry-run")
	switch o := c.String("output"); {
	case o == "json":
		inv.json = true
	case o == "markdown" && c.Command.Name == "faults":
		inv.markdown = true
	case o != "" && o != "text":
		return usageError("%s: --output %q is neither text nor json%s", c.Command.Name, o, words.DidYouMean(o, []string{"text", "json"}))
	}
	inv.logger, err = inv.newLogger(c.String("log-level"))
	return err
}

// bare is faultctl without a command.
func (inv *invocation) bare(c *urfave.Context) error {
	if c.Bool("version") {
		return inv.version(c)
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
