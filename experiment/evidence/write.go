package evidence

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/internal/words"
)

// Close writes the report and ends the capture, however the command ended; code
// is its exit code. failed says how faultctl itself failed; empty if it did
// not. It returns why evidence could not be written, in one sentence each.
func (e *Evidence) Close(code event.Code, failed string) (lost []error) {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed { // the process is about to end
		return nil
	}
	e.closed = true
	keep := func(err error) {
		if err != nil {
			lost = append(lost, err)
		}
	}
	if e.metrics != nil {
		keep(e.metrics.Close())
	}
	if e.pcap != nil {
		keep(e.pcap.Close(e.missing.Unseen))
		if e.missing.Unseen > 0 {
			fmt.Fprintf(e.warn, "faultctl: the capture lacks %s that came too fast\n", words.Plural(e.missing.Unseen, "packet"))
		}
	}
	if len(e.paths) > 0 {
		lost = append(lost, e.write(code, failed)...)
	}
	return lost
}

// write writes the report of a command that ended with the code, in each form.
// failed says how faultctl itself failed; empty if it did not.
func (e *Evidence) write(code event.Code, failed string) (lost []error) {
	r := &e.report
	r.Took, r.Code, r.Flaws = e.now().Sub(r.Start), int(code), experiment.Flaws(e.missing)
	r.Late = experiment.LateOf(e.missing).String()
	r.Interrupted = r.Interrupted || r.Has(report.Interrupted) || bySignal(code) && !openEnded(r.Cases)
	if e.line != nil {
		r.Timeline = e.line()
	}
	if failed != "" && !r.Has(report.Broken) { // without it the report would look like a success
		r.Cases = append(r.Cases, report.Case{Name: "faultctl", Verdict: report.Broken, Reason: failed, Start: r.Start, Took: r.Took})
	}
	for _, path := range e.paths {
		if err := report.Write(path, r); err != nil {
			lost = append(lost, fmt.Errorf("write the report %s: %w", path, noPath(err)))
		}
	}
	return lost
}

// bySignal reports whether an exit code says that a signal for that purpose ended the
// command: SIGHUP, SIGINT or SIGTERM.
func bySignal(code event.Code) bool { return code == 129 || code == 130 || code == 143 }

// openEnded reports whether cases are of a run that a signal has to end.
func openEnded(cases []report.Case) bool {
	return len(cases) > 0 && !slices.ContainsFunc(cases, func(c report.Case) bool { return !c.OpenEnd })
}

// ErrCutShort is why a case has no result: it was interrupted.
var ErrCutShort = errors.New("it was cut short")

// abandonFor limits how long writing takes in a process that must end at once.
const abandonFor = time.Second

// Abandon writes what is known so far, in a process that must end at once,
// before its runs have ended.
func (e *Evidence) Abandon(code event.Code, why string) {
	if e == nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.closed {
			return
		}
		e.closed = true
		for _, u := range e.under {
			e.report.Cases = append(e.report.Cases, u.cases()...)
		}
		if len(e.paths) > 0 {
			for i := range e.report.Cases {
				if c := &e.report.Cases[i]; c.CutShort {
					c.Reason = why
				}
			}
			for _, l := range e.write(code, why) {
				fmt.Fprintf(e.warn, "faultctl: %v\n", l)
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
