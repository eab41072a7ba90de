package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/explain/capture"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/words"
)

// explained is a finding as an event.
func explained(f explain.Finding) event.Explained {
	v := f.Verdict
	e := event.Explained{
		Client: f.Client.String(), Server: f.Server.String(), At: f.At.Format(time.RFC3339Nano), Cause: v.Cause,
		Certainty: v.Certainty.String(), Twins: v.Twins, RunnerUp: v.RunnerUp, By: f.Facts.Author.From().String(),
		Frame: f.Facts.Frame, Answers: f.Facts.Answer, Idle: f.Facts.Idle.Seconds(), Evidence: f.Evidence(), Settles: v.Settles,
		Reason: f.Reason, ClientProcess: f.ClientProcess, ServerProcess: f.ServerProcess,
	}
	if k, err := faults.Find(v.Cause); err == nil {
		e.Remedy, e.Repeat = k.Remedy, repeatLine(f)
	}
	return e
}

// repeatLine is the command line that brings the same about.
func repeatLine(f explain.Finding) string {
	return strings.Join(append(append([]string{"faultctl inject", f.Verdict.Repeat.Name}, f.Verdict.Repeat.Flags()...), "--to", f.Server.String()), " ")
}

// explainText says for each kind of end how many connections had it, with the
// evidence of the first one, or of all.
func (inv *invocation) explainText(path string, found []explain.Finding, t capture.Totals, all bool) {
	w, paint := inv.stdout, inv.paint()
	fmt.Fprintf(w, "%s: %s, %s; %d closed in order or in use, %d not\n", path,
		words.Plural(uint64(t.Frames), "frame"), words.Plural(uint64(t.Connections), "connection"), t.InOrder, len(found))
	for _, g := range explain.Groups(found) {
		inv.explainGroup(paint, g, len(found), all)
	}
	if len(t.Kernel) > 0 {
		fmt.Fprintln(w)
		for _, k := range t.Kernel {
			fmt.Fprintln(w, inv.under("kernel", k))
		}
	}
	if notes := explainNotes(t); len(notes) > 0 {
		fmt.Fprintln(w)
		for _, n := range notes {
			fmt.Fprintln(w, inv.under("note", n))
		}
	}
}

// explainNotes says what could not be read or seen.
func explainNotes(t capture.Totals) (notes []string) {
	note := func(n int, what string) {
		if n > 0 {
			notes = append(notes, fmt.Sprintf("%d %s", n, what))
		}
	}
	note(t.Skipped.Fragments, "fragments of packets were left out")
	note(t.Skipped.Short, "frames were cut before the TCP flags and left out")
	note(t.Skipped.Link, "frames have a link type that explain does not know and were left out")
	note(int(t.Lost), "packets came too fast to be read: connections may be misjudged")
	note(t.Evicted, "connections were judged before their end, because there were too many at once")
	notes = append(notes, t.Unseen...)
	if t.Broken != nil {
		notes = append(notes, t.Broken.Error())
	}
	return notes
}

func (inv *invocation) explainGroup(paint text.Paint, g explain.Group, of int, all bool) {
	w, v := inv.stdout, g.Verdict
	fmt.Fprintf(w, "\n%d of %d  %s  to %s\n", len(g.Findings), of, paint.Bold(v.String()), g.Server)
	if says := silence(g); says != "" {
		fmt.Fprintln(w, inv.under("silence", says))
	}
	if names := g.Timer(); names != "" {
		fmt.Fprintln(w, inv.under("timer", "that is the idle timeout of "+names))
	}
	if k, err := faults.Find(v.Cause); err == nil {
		if v.Certainty >= explain.Likely {
			fmt.Fprintln(w, inv.under("cause", k.Cause))
		}
		if ordinary := g.Ordinary(); ordinary != "" {
			fmt.Fprintln(w, inv.under("ordinary", ordinary))
		}
		if v.RunnerUp != "" {
			fmt.Fprintln(w, inv.under("or", v.RunnerUp+", which fits less well"))
		}
		fmt.Fprintln(w, inv.under("settles", v.Settles))
		fmt.Fprintln(w, inv.under("remedy", k.Remedy))
		fmt.Fprintf(w, "  repeat    %s\n", repeatLine(g.Findings[0]))
	}
	for i, f := range g.Findings {
		if i > 0 && !all {
			fmt.Fprintln(w, inv.under("more", words.Plural(uint64(len(g.Findings)-1), "connection")+" like this one; --all shows each"))
			break
		}
		fmt.Fprintf(w, "  %s  %s > %s\n", f.At.Format(clockTime), f.Client, f.Server)
		for _, e := range f.Evidence() {
			fmt.Fprintln(w, text.Wrap("· "+e, "      ", inv.columns()))
		}
	}
}

// under is a paragraph with a label.
func (inv *invocation) under(label, says string) string {
	return text.Hanging(fmt.Sprintf("  %-9s ", label), says, inv.columns())
}
