package experiment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
)

// How the steady state of a run is checked unless its Spec says otherwise.
const (
	whileEvery = time.Second
	whileFails = 3               // in a row
	whileLimit = 5 * time.Second // how long an answer may take
)

// Unsteady is why a run ended whose check (Spec.While) failed too often in a row.
type Unsteady struct {
	Check string // as the Spec has it
	Fails int    // how often in a row
	Says  error  // the last failure
}

func (u *Unsteady) Error() string {
	return fmt.Sprintf("the steady state is gone: %s failed %d times in a row: %v", u.Check, u.Fails, u.Says)
}

func (u *Unsteady) Unwrap() error { return u.Says }

// isURL reports whether a check is the address of an HTTP server, and not a command.
func isURL(check string) bool {
	return strings.HasPrefix(check, "http://") || strings.HasPrefix(check, "https://")
}

// WhileRuns reports whether the Spec's check runs a command.
func (s *Spec) WhileRuns() bool { return s.While != "" && !isURL(s.While) }

func (s *Spec) whileEvery() time.Duration {
	if s.WhileEvery != nil {
		return *s.WhileEvery
	}
	return whileEvery
}

func (s *Spec) whileFails() int {
	if s.WhileFails == 0 {
		return whileFails
	}
	return int(s.WhileFails)
}

// validateWhile checks the words about the steady state.
func (s *Spec) validateWhile() (problems event.Problems) {
	for _, word := range []string{"while-every", "while-fails"} {
		if s.While == "" && s.Get(word) != nil {
			problems = append(problems, usage(event.Field(word), "%s says nothing without %s", event.Field(word), event.Field("while")))
		}
	}
	if d := s.WhileEvery; d != nil && *d < 100*time.Millisecond {
		problems = append(problems, usage("while-every", "it is at least 100ms").WithValue(d.String()))
	}
	if s.While != "" && len(s.Command) > 0 {
		problems = append(problems, usage("while", "a run with a command ends with that command"))
	}
	return problems
}

// holdsBefore checks the steady state before the rules go in.
func (r *Run) holdsBefore(ctx context.Context) error {
	if r.plan.Spec.While == "" {
		return nil
	}
	if err := r.plan.ask(ctx); err != nil && ctx.Err() == nil {
		return event.Errorf(event.CodeProbe, "while", "the check fails before any fault: %w", err).WithValue(r.plan.Spec.While).
			WithAdvice("Nothing was touched. Begin when the service is in its steady state, or correct the check.")
	}
	return nil
}

// watchSteady checks the steady state until ctx is done, and ends the run when it is
// gone.
func (r *Run) watchSteady(ctx context.Context) {
	every, most, fails := r.plan.Spec.whileEvery(), r.plan.Spec.whileFails(), 0
	for {
		select {
		case <-r.sys.After(every):
		case <-ctx.Done():
			return
		}
		err := r.plan.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			fails = 0
			continue
		}
		fails++
		r.emit(r.sys.Now(), event.Unsteady{Check: r.plan.Spec.While, Fails: fails, Of: most, Says: err.Error()})
		if fails >= most {
			r.end(&Unsteady{r.plan.Spec.While, fails, err})
			return
		}
	}
}

// ask asks once whether the steady state holds. The error says in words why not.
func (p *Plan) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, whileLimit)
	defer cancel()
	ask := p.sys.Ask
	if ask == nil {
		ask = p.sys.askOnce
	}
	err := ask(ctx, p.Spec.While)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v", whileLimit)
	}
	return err
}

func (sys *System) askOnce(ctx context.Context, check string) error {
	if !isURL(check) {
		return sys.tryCommand(ctx, check)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, check, nil)
	if err != nil {
		return err
	}
	once := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := once.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the rest is known
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// tryCommand runs a line of a shell once, as the user who called sudo if there is one.
func (sys *System) tryCommand(ctx context.Context, line string) error {
	as, err := sys.AccountOf("")
	if err != nil {
		return err
	}
	box, err := sys.LooseCage()
	if err != nil {
		return err
	}
	defer box.Close()
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	place.Become(cmd, as)
	return runOnce(ctx, box.Start, cmd)
}

// runOnce starts a command on a thread that stays until it has ended, and kills its
// process group if ctx is done before.
func runOnce(ctx context.Context, start func(*exec.Cmd) (place.Process, error), cmd *exec.Cmd) (err error) {
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread() // a command in a loose cage ends with the thread that started it
		defer runtime.UnlockOSThread()
		var proc place.Process
		if proc, err = start(cmd); err != nil {
			return
		}
		stop := context.AfterFunc(ctx, func() { proc.Signal(syscall.SIGKILL) })
		defer stop()
		status, waited := proc.Wait()
		switch {
		case waited != nil:
			err = waited
		case status.Signaled():
			err = fmt.Errorf("signal: %s", status.Signal())
		case status.ExitStatus() != 0:
			err = fmt.Errorf("exit status %d", status.ExitStatus())
		}
	})
	wg.Wait()
	return err
}
