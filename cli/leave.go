package cli

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/experiment/report"
	"golang.org/x/sys/unix"
)

// close writes the report and ends the capture, whatever became of the command:
// err is its error. It returns err, or else what kept the evidence from being
// written. Nil evidence leaves nothing.
func (e *evidence) close(err error) error {
	if e == nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed { // the process is about to end
		return err
	}
	e.closed = true
	var lost []error
	if e.metrics != nil {
		lost = append(lost, e.metrics.Close())
	}
	if e.pcap != nil {
		lost = append(lost, e.pcap.Close(e.missing.Unseen))
		if e.missing.Unseen > 0 {
			fmt.Fprintf(e.host.stderr, "faultctl: the capture lacks %s that came too fast\n", plural(e.missing.Unseen, "packet"))
		}
	}
	if len(e.paths) > 0 {
		code, failed := exitOK, ""
		if err != nil {
			code = codeOf(err, strings.HasPrefix(e.report.Command+" ", "faultctl run "))
			if !hushed(err) {
				failed = err.Error()
			}
		}
		lost = append(lost, e.write(code, failed)...)
	}
	for _, l := range lost {
		switch {
		case l == nil:
		case err == nil:
			err = l
		default:
			fmt.Fprintf(e.host.stderr, "faultctl: %v\n", l)
		}
	}
	return err
}

// write writes the report of a command that ended with the code, in each form.
// failed says how faultctl itself failed; empty if it did not.
func (e *evidence) write(code int, failed string) (lost []error) {
	r := &e.report
	r.Took, r.Code, r.Flaws = e.host.now().Sub(r.Start), code, said(flaws(e.missing))
	if failed != "" && !r.Has(report.Broken) { // a report that hides it would pass
		r.Cases = append(r.Cases, report.Case{Name: "faultctl", Verdict: report.Broken, Reason: failed, Start: r.Start, Took: r.Took})
	}
	for _, path := range e.paths {
		if err := report.Write(path, r); err != nil {
			lost = append(lost, fmt.Errorf("write the report %s: %w", path, aboutFile(err)))
		}
	}
	return lost
}

// errCutShort is why a case that was under way says no more.
var errCutShort = errors.New("it was cut short")

// abandonFor is how long the last words of a process that is to end at once may
// take.
const abandonFor = time.Second

// abandon leaves what is known, when the process is to end at once and whatever
// goes on in it will not come to its end.
func (e *evidence) abandon(code int, why string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.closed {
			return
		}
		e.closed = true
		if e.under != nil {
			e.report.Cases = append(e.report.Cases, e.under()...)
		}
		if len(e.paths) > 0 {
			for i := range e.report.Cases {
				if c := &e.report.Cases[i]; c.Verdict == report.Broken && c.Reason == errCutShort.Error() {
					c.Reason = why
				}
			}
			for _, l := range e.write(code, why) {
				fmt.Fprintf(e.host.stderr, "faultctl: %v\n", l)
			}
		}
		if e.pcap != nil {
			e.pcap.Close(e.missing.Unseen)
		}
	}()
	select {
	case <-done:
	case <-time.After(abandonFor):
	}
}

// quit ends the process at once, because of a second signal or because nothing
// else helps, and leaves what is known first. The kernel takes the rules out.
func (h *host) quit(code int, why string) {
	if e := h.leaving.Load(); e != nil {
		e.abandon(code, why)
	}
	h.exit(code)
}

// secondSignal says why a process ends at once.
func secondSignal(sig syscall.Signal) string {
	return "ended by a second signal, " + unix.SignalName(sig) + ", before a clean end; the kernel takes the rules out"
}

// hushed reports whether err says nothing that has not been said.
func hushed(err error) bool {
	var e *exitError
	return errors.As(err, &e) && e.quiet
}
