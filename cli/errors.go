package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/urfave/cli/v2"
)

// The exit codes of the contract. A run that a signal ended has 128 more than
// the signal's number.
const (
	exitOK        = 0
	exitFailure   = 1 // runtime failure
	exitUsage     = 2 // usage, or bad configuration
	exitProbe     = 3 // an assertion, a probe or a verified command failed
	exitNotFired  = 4 // the fault never fired
	exitPreflight = 5 // permission or kernel feature missing
	exitRefused   = 6 // refused by a safety rail
)

// exitError is an error that knows its exit code and what to do about it.
type exitError struct {
	code   int
	err    error
	advice string
	quiet  bool // all there is to say has been said
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// hint says what to do about e, in whole sentences.
func (e *exitError) hint(advice string) *exitError {
	e.advice = advice
	return e
}

func usageError(format string, args ...any) *exitError {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

func refused(format string, args ...any) *exitError {
	return &exitError{code: exitRefused, err: fmt.Errorf(format, args...)}
}

// quietExit ends a command that has said all there is to say.
func quietExit(code int) error {
	return &exitError{code: code, err: fmt.Errorf("exit %d", code), quiet: true}
}

// report tells the user of err, on stderr and as an event where events are
// what was asked for, and returns the exit code.
func (h *host) report(args []string, err error) int {
	if err == nil {
		return exitOK
	}
	code, advice := exitCode(err), advice(err)
	outcome := codeOf(err, len(args) > 1 && args[1] == "run")
	var e *exitError
	if errors.As(err, &e) && e.quiet {
		return outcome
	}
	if wantsEvents(args, h.getenv) {
		line, _ := json.Marshal(errorEvent{head: h.head("error"), Code: code, Message: err.Error(), Advice: advice})
		fmt.Fprintf(h.stdout, "%s\n", line)
	}
	fmt.Fprintf(h.stderr, "faultctl: %v\n", err)
	if advice != "" {
		fmt.Fprintf(h.stderr, "%s\n", wrap(advice, "  ", h.columns()))
	}
	return outcome
}

// codeOf is the exit code of a command that ends with err. The command run
// has one code for all failures of its own, because the small ones are CMD's.
func codeOf(err error, run bool) int {
	var e *exitError
	code := exitCode(err)
	if said := errors.As(err, &e) && e.quiet; run && !said && code <= exitRefused {
		return exitRunFailed
	}
	return code
}

// exitCode is the contract's code for err.
func exitCode(err error) int {
	var e *exitError
	switch {
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, injector.ErrConfig), errors.Is(err, injector.ErrNoNamespace):
		return exitUsage
	case errors.Is(err, injector.ErrPermission), errors.Is(err, injector.ErrNotSupported):
		return exitPreflight
	}
	return exitFailure
}

// advice says what to do about err.
func advice(err error) string {
	var e *exitError
	switch {
	case errors.As(err, &e) && e.advice != "":
		return e.advice
	case errors.Is(err, syscall.EMFILE):
		return "This process may open no more files: raise its limit (ulimit -n 1024, LimitNOFILE= of a unit)."
	case errors.Is(err, injector.ErrPermission):
		return "It takes CAP_NET_ADMIN (rules) and CAP_NET_RAW (forged segments): run it with sudo, or give them to the binary: " +
			"sudo setcap cap_net_admin,cap_net_raw+ep faultctl. Another network namespace (--netns, --pid) takes CAP_SYS_ADMIN as well. Without root it works in namespaces of your own: faultctl demo, " +
			"or unshare -Urn bash and everything inside."
	case errors.Is(err, injector.ErrNotSupported):
		return "faultctl doctor says what this kernel lacks and what to do about it."
	}
	return ""
}

// onUsageError turns what the flag parser says into an error of ours.
func onUsageError(c *cli.Context, err error, _ bool) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return unknownFlag(c.Command, strings.TrimLeft(name, "-"))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return usageError("%s: --%s needs a value", c.Command.Name, strings.TrimLeft(name, "-"))
	}
	if m := notBool.FindStringSubmatch(text); m != nil {
		where := m[2] // the variable, or the flag
		if where == "" {
			where = "--" + m[3]
		}
		return usageError("%s: %s=%s: it is true or false", c.Command.Name, where, m[1])
	}
	return usageError("%s: %s", c.Command.Name, strings.ReplaceAll(text, "flag -", "flag --"))
}

// notBool is what the flag parser says of a toggle with a value that is none.
var notBool = regexp.MustCompile(`"([^"]*)" (?:as bool value from environment variable "(\w+)" )?for (?:flag )?-?([\w-]+): (?:strconv\.ParseBool|parse error)`)

// unknownFlag suggests the nearest flag of c, or names the faults that have
// the flag.
func unknownFlag(c *cli.Command, name string) *exitError {
	names := slices.DeleteFunc(flagNames(c.Flags), func(n string) bool { return len(n) < 2 }) // near to any short word
	var owners []string
	for _, k := range faults.Catalog {
		if slices.ContainsFunc(faults.Knobs(k.New()), func(k faults.Knob) bool { return k.Name == name }) {
			owners = append(owners, k.Name)
		}
	}
	where := strings.TrimPrefix(c.HelpName+": ", "faultctl")
	e := usageError("%sunknown flag --%s%s", strings.TrimLeft(where, " :"), name, words.DidYouMean(name, names))
	if len(owners) > 0 {
		return e.hint(fmt.Sprintf("--%s is a setting of %s.", name, strings.Join(owners, ", ")))
	}
	return e.hint(c.HelpName + " --help lists the flags.")
}

// aboutFile leaves out what os puts before an error: the path is said already.
// Unlike errnoFree it takes a file that may not be read or written for what it
// is, not for a lack of capabilities.
func aboutFile(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// errnoFree says in words what an error of the operating system means, where
// there is a better word than its own.
func errnoFree(err error) error {
	var p *os.PathError
	switch {
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return injector.ErrPermission
	case errors.As(err, &p):
		return p.Err
	}
	return err
}
