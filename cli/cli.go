// Package cli is faultctl in words people type: one file a command. It knows
// neither packets nor netlink.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/urfave/cli/v2"
)

// The exit codes of the contract.
const (
	exitOK        = 0
	exitFailure   = 1 // runtime failure
	exitUsage     = 2 // usage, or bad configuration
	exitAssert    = 3 // an assertion, probe or verified command failed
	exitNotFired  = 4 // the fault never fired
	exitPreflight = 5 // permission or kernel feature missing
	exitRefused   = 6 // refused by a safety rail
)

// exitError is an error that knows its exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// env is what a command needs of the world, so that tests can give it another
// one.
type env struct {
	stdout, stderr io.Writer
	getenv         func(string) string
	ctx            context.Context
	start          func(cfg injector.Config) (session, error)
}

// session is a run of the injector.
type session interface {
	Run(ctx context.Context) error
	Stats() injector.Snapshot
	Ruleset() string
}

// Main runs faultctl with the given arguments, the program's name first, and
// returns its exit code.
func Main(args []string) int {
	return run(&env{
		stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, ctx: context.Background(),
		start: func(cfg injector.Config) (session, error) { return injector.New(cfg) },
	}, args)
}

func run(e *env, args []string) int {
	args, err := faultFirst(args)
	if err == nil {
		err = newApp(e).RunContext(e.ctx, args)
	}
	return report(e, err)
}

// report tells the user of an error and returns the exit code that goes with
// it.
func report(e *env, err error) int {
	if err == nil {
		return exitOK
	}
	code := codeOf(err)
	var quiet quietExit
	if !errors.As(err, &quiet) {
		fmt.Fprintf(e.stderr, "faultctl: %v\n", err)
		if hint := hintFor(err); hint != "" {
			fmt.Fprintf(e.stderr, "  %s\n", hint)
		}
	}
	return code
}

// quietExit is the end of a command that has said all there is to say.
type quietExit int

func (q quietExit) Error() string { return fmt.Sprintf("exit %d", int(q)) }

func codeOf(err error) int {
	var quiet quietExit
	var exit *exitError
	switch {
	case errors.As(err, &quiet):
		return int(quiet)
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, injector.ErrConfig), errors.Is(err, injector.ErrNoNamespace):
		return exitUsage
	case errors.Is(err, injector.ErrPermission), errors.Is(err, injector.ErrNotSupported):
		return exitPreflight
	}
	return exitFailure
}

// hintFor says what to do about an error.
func hintFor(err error) string {
	switch {
	case errors.Is(err, injector.ErrPermission):
		return "This needs CAP_NET_ADMIN and CAP_NET_RAW: use sudo, or try it without root in namespaces of your own (unshare -Urn, or faultctl demo). faultctl doctor says more."
	case errors.Is(err, injector.ErrNotSupported):
		return "faultctl doctor says what this kernel lacks and what to do about it."
	}
	return ""
}

func newApp(e *env) *cli.App {
	app := &cli.App{
		Name:      "faultctl",
		Usage:     "make TCP connections die as they do in production",
		UsageText: "faultctl inject FAULT [flags]      faultctl faults [FAULT]      faultctl demo [FAULT]",
		Description: "Does my service survive every way in which a TCP connection dies?\n\n" +
			"   faultctl inject idle-expire --after 300s --to :5432\n" +
			"   faultctl inject reset --percent 10 --to 10.0.0.5:8080 --duration 60s\n" +
			"   faultctl faults idle-expire",
		Writer:                 e.stdout,
		ErrWriter:              e.stderr,
		HideVersion:            true,
		HideHelpCommand:        true,
		Suggest:                false,
		UseShortOptionHandling: false,
		ExitErrHandler:         func(*cli.Context, error) {},
		OnUsageError:           onUsageError,
		CommandNotFound:        nil,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				names := make([]string, 0, len(c.App.Commands))
				for _, cmd := range c.App.Commands {
					names = append(names, cmd.Name)
				}
				return usageError("unknown command %q%s", c.Args().First(), faults.DidYouMean(c.Args().First(), names))
			}
			return cli.ShowAppHelp(c)
		},
		Commands: []*cli.Command{
			injectCommand(e), demoCommand(e), faultsCommand(e), doctorCommand(e), cleanupCommand(e), versionCommand(e), completionCommand(e),
		},
	}
	return app
}

// onUsageError turns what the flag parser says into an error of the contract.
func onUsageError(c *cli.Context, err error, _ bool) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		name = strings.TrimPrefix(name, "-")
		var names []string
		for _, f := range c.Command.Flags {
			names = append(names, f.Names()...)
		}
		return usageError("unknown flag --%s%s", name, faults.DidYouMean(name, names))
	}
	return usageError("%s", text)
}

// takesFault are the commands whose first argument is a FAULT.
var takesFault = map[string]bool{"inject": true, "demo": true}

// faultFirst puts the FAULT of a command before its flags, and the knobs of a
// SPEC among them, so that people may write them in any order.
func faultFirst(args []string) ([]string, error) {
	if len(args) < 3 || !takesFault[args[1]] {
		return args, nil
	}
	at := -1
	for i := 2; i < len(args) && at < 0; i++ {
		a := args[i]
		switch {
		case a == "--":
			return args, nil
		case !strings.HasPrefix(a, "-"):
			at = i
		case !strings.Contains(a, "=") && !isSwitch(strings.TrimLeft(a, "-")):
			i++ // the flag's value
		}
	}
	if at < 0 {
		return args, nil
	}
	s, err := parseSpec(args[at])
	if err != nil {
		return nil, err
	}
	out := append([]string{args[0], args[1], s.name}, s.flags()...)
	out = append(out, args[2:at]...)
	return append(out, args[at+1:]...), nil
}

// isSwitch reports whether the flag takes no value.
func isSwitch(name string) bool {
	switch name {
	case "help", "h", "new-only", "dry-run", "expect-fired", "allow-idle":
		return true
	}
	for _, k := range faults.Catalog {
		for _, knob := range faults.Knobs(k.New()) {
			if knob.Name == name && knob.Type == "bool" {
				return true
			}
		}
	}
	return false
}
