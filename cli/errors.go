package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
)

// The exit codes of the contract. A run that a signal ended has 128 more than
// the signal's number.
const (
	exitOK        = int(event.CodeOK)
	exitFailure   = int(event.CodeFailure)    // runtime failure
	exitUsage     = int(event.CodeUsage)      // usage, or bad configuration
	exitProbe     = int(event.CodeProbe)      // an assertion, a probe or a verified command failed
	exitNotFired  = int(event.CodeNeverFired) // the fault never fired
	exitPreflight = int(event.CodePreflight)  // permission or kernel feature missing
	exitRefused   = int(event.CodeRefused)    // refused by a safety rail
)

// The exit codes of run besides CMD's own, as timeout(1) and env(1) have them.
const (
	exitRunNotFired = int(event.CodeRunNeverFired)
	exitRunFailed   = int(event.CodeRunFailed) // any of 1, 2, 5, 6; the error event says which
	exitNotExec     = int(event.CodeNotExecutable)
	exitNotFound    = int(event.CodeNotFound)
)

// status is an error of which everything has already been printed: it only carries
// an exit code.
type status struct {
	code int
	err  error // what it was, for those who ask
}

func (s *status) Error() string { return s.err.Error() }
func (s *status) Unwrap() error { return s.err }

// alreadyReported reports whether everything about err has been printed.
func alreadyReported(err error) bool {
	var s *status
	return errors.As(err, &s)
}

// usageError is an error in how faultctl was called.
func usageError(format string, args ...any) *event.Error { return event.Usagef("", format, args...) }

// asFlag spells a word of a Spec as the command line does.
func asFlag(f event.Field) string {
	switch knob, is := strings.CutPrefix(string(f), "fault."); {
	case is:
		return "--" + knob
	case f == "fault": // it was named without a flag, or the message has it
		return ""
	}
	return "--" + string(f)
}

// problemsOf are the problems that an error is.
func problemsOf(err error) event.Problems {
	var ps event.Problems
	var e *event.Error
	switch {
	case errors.As(err, &ps):
		return ps
	case errors.As(err, &e):
		return event.Problems{e}
	}
	return event.Problems{event.Usagef("", "%w", err)}
}

// quietExit ends a command that has printed everything.
func quietExit(code int) error {
	return &status{code, fmt.Errorf("exit %d", code)}
}

// report prints err on stderr, and on stdout as an event if events are wanted, and
// returns the exit code.
func (inv *invocation) report(events bool, err error) int {
	outcome := codeOf(err, inv.asRun)
	if err == nil || alreadyReported(err) {
		return outcome
	}
	advice := experiment.AdviceOf(err)
	if events {
		inv.events.Write(inv.sys.Now(), experiment.Report(err, asFlag))
	}
	var problems event.Problems
	if !errors.As(err, &problems) {
		inv.complain(event.Render(err, asFlag), advice)
		return outcome
	}
	said := map[string]bool{} // the same advice is given once
	for i, p := range problems {
		advice := p.Advice
		if i+1 < len(problems) && problems[i+1].Advice == advice {
			advice = ""
		}
		if said[advice] {
			advice = ""
		}
		said[advice] = advice != ""
		inv.complain(p.Render(asFlag), advice)
	}
	return outcome
}

// complain writes what went wrong and what to do about it.
func (inv *invocation) complain(message, advice string) {
	fmt.Fprintf(inv.stderr, "faultctl: %v\n", message)
	if advice != "" {
		fmt.Fprintf(inv.stderr, "%s\n", text.Wrap(advice, "  ", inv.columns()))
	}
}

// codeOf is the exit code of a command that ends with err. The command run
// has one code for all failures of its own, because the small ones are CMD's.
func codeOf(err error, run bool) int {
	var s *status
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &s):
		return s.code
	}
	if code := exitCode(err); !run || code > exitRefused {
		return code
	}
	return exitRunFailed
}

// exitCode is the contract's code for err.
func exitCode(err error) int {
	var s *status
	if errors.As(err, &s) {
		return s.code
	}
	return int(experiment.CodeOf(err))
}

// aboutFile strips the operation and path of an *os.PathError, for messages that
// name the file themselves.
func aboutFile(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
