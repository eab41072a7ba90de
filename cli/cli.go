// Package cli is the command line of faultctl, one file per command. A command
// reads its flags into an experiment.Spec, runs it and prints what comes back.
// args.go has what cobra does not know of the grammar; only files that read flags
// know that library. printer*.go print. The package knows neither packets nor netlink.
package cli

import (
	"context"
	"errors"
	"os"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/internal/cage"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Main runs faultctl with the given arguments, the program's name first, and
// returns its exit code, when everything has been cleaned up.
func Main(args []string) int {
	if cage.Guard(args) || cage.Launch(args) {
		return exitOK
	}
	args, done, code := toxiproxyArgs(args, os.Getenv, os.Stdout)
	if done {
		return code
	}
	h := thisHost()
	if signals, inside := cage.Inside(); inside {
		h.goInside(signals)
	}
	return h.run(args)
}

// run is Main on any host.
func (h *host) run(args []string) int {
	inv := &invocation{host: h, args: args}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var unwritten error // why standard output is incomplete
	stdout, pipe := patient(h.stdout)
	stderr, errPipe := patient(h.stderr)
	inv.finishing = func() { pipe.finish(); errPipe.finish() }
	inv.stdout = text.Safe(&stdoutWatch{w: stdout, broken: func(err error) { unwritten = err; cancel(err) }})
	inv.stderr = text.Safe(stderr)
	inv.events = event.NewWriter(inv.stdout)
	inv.asRun = len(args) > 1 && args[1] == "run"
	err := dashesMissing(args)
	if err == nil {
		err = inv.program(args).ExecuteContext(ctx)
	}
	var broken stdoutError
	if errors.As(unwritten, &broken) && (err == nil || errors.Is(err, broken.err)) && !errors.As(err, new(stdoutError)) {
		err = broken.exitError()
	}
	return inv.report(wantsEvents(args), err)
}

// program is the command line as cobra wants it. args are the program's name and
// its arguments: a FAULT among them decides which flags its command has.
func (inv *invocation) program(args []string) *cobra.Command {
	args = doubleDashes(args[min(1, len(args)):])
	fault := inv.faultOf(args)
	root := &cobra.Command{
		Use: "faultctl", Short: "make TCP connections die as they do in production",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetArgs(args)
	root.SetOut(inv.stdout)
	root.SetErr(inv.stderr)
	root.SetFlagErrorFunc(inv.flagError)
	root.SetHelpFunc(inv.help)
	root.SetHelpCommand(inv.helpCommand())
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	version := toggleFlag(otherHeading, "version", "print the version")
	version.Shorthand = "v"
	inv.complete(root, []*pflag.Flag{version}, inv.bare)
	root.AddCommand(inv.injectCommand(fault), inv.runCommand(fault), inv.verifyCommand(), inv.scenarioCommand(), inv.replayCommand(), inv.explainCommand(),
		inv.psCommand(), inv.topCommand(), inv.setCommand(), inv.pauseCommand(), inv.resumeCommand(), inv.stopCommand(), inv.serveCommand(), inv.connectCommand(),
		inv.demoCommand(fault), inv.faultsCommand(fault), inv.doctorCommand(), inv.cleanupCommand(), inv.versionCommand())
	inv.completionCommand(root)
	root.AddCommand(inv.manCommand())
	return root
}

func init() { cobra.EnableCommandSorting = false }

// bare is faultctl without a command.
func (inv *invocation) bare(c *call) error {
	switch {
	case c.Bool("version"):
		return inv.version(&call{Command: c.Command})
	case len(c.words) > 0:
		return unknownCommand(c.Command, c.first())
	}
	return c.Help()
}
