package cli

import (
	"io"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/internal/words"
)

// printer prints what happens in one run, in one of the output formats. Several
// goroutines call it.
type printer interface {
	event(at time.Time, e event.Event)
	watch(run *experiment.Run)      // prints progress until the run is over
	ended(result experiment.Result) // sums it up
}

// printer returns the printer for --output.
func (inv *invocation) printer(p *experiment.Plan, w io.Writer) printer {
	if inv.json {
		return jsonPrinter{inv.events}
	}
	t := inv.textPrinter(w)
	t.plan, t.inv = p, inv
	t.live = t.live && len(p.Spec.Command) == 0 // a live line would mix with the command's output
	return t
}

// jsonPrinter writes one JSON object a line.
type jsonPrinter struct{ w *event.Writer }

func (j jsonPrinter) event(at time.Time, e event.Event) { j.w.Write(at, e) }
func (j jsonPrinter) watch(*experiment.Run)             {}
func (j jsonPrinter) ended(experiment.Result)           {} // its events say it

func endsAfter(d time.Duration) string {
	if d == 0 {
		return "until Ctrl-C"
	}
	return "for " + words.ShortDuration(d)
}
