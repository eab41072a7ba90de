package cli

import (
	"fmt"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/scenario"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/words"
)

// scenarioWatcher returns the printer of a scenario for --output.
func (inv *invocation) scenarioWatcher(p *scenario.Plan) scenario.Watcher {
	if inv.json {
		return scenario.Events(p, inv.events.Write)
	}
	return &scenarioPrinter{textPrinter: inv.textPrinter(inv.stdout), plan: p, failing: map[*scenario.Probe]int{}}
}

// scenarioPrinter prints a scenario as text.
type scenarioPrinter struct {
	*textPrinter
	plan *scenario.Plan

	mu      sync.Mutex
	failing map[*scenario.Probe]int // tries of a probe that failed in a row
}

// Started implements scenario.Watcher.
func (t *scenarioPrinter) Started(time.Time) {
	s := t.plan.Scenario
	var b strings.Builder
	fmt.Fprintf(&b, "scenario %s: a timeline of %s; everything ends after %s at the latest\n", t.paint.Bold(s.Name), s.Duration, s.Deadline)
	if s.Description != "" {
		fmt.Fprintln(&b, text.Wrap(strings.Join(strings.Fields(s.Description), " "), "  ", t.width))
	}
	fmt.Fprintln(&b, t.repeat(fmt.Sprintf("seed %d; repeat this run: ", t.plan.Seed), t.plan.Repeat()))
	for i, p := range t.plan.Entries {
		e := &s.Faults[i]
		fmt.Fprintln(&b, t.fit("fault  "+t.paint.Bold(e.Name)+": "+p.Scope()+", "+e.When(), "    "))
	}
	for i := range s.Probes {
		p := &s.Probes[i]
		phases := make([]string, len(p.When))
		for k, ph := range p.When {
			phases[k] = string(ph)
		}
		fmt.Fprintf(&b, "probe  %s: %s\n", t.paint.Bold(p.Name), strings.Join(phases, ", "))
	}
	for _, p := range t.plan.Protected() {
		fmt.Fprintf(&b, "protected: %s and %s\n", p.A, p.B)
	}
	fmt.Fprintln(&b)
	t.print("%s", b.String())
}

// Phase implements scenario.Watcher.
func (t *scenarioPrinter) Phase(at time.Time, ph scenario.Phase) {
	t.clearStatus()
	t.print("%s  %s\n", at.Format(clockTime), t.paint.Bold(string(ph)))
}

// Step implements scenario.Watcher.
func (t *scenarioPrinter) Step(_ time.Time, step scenario.Step, note string) {
	name := t.plan.Scenario.Faults[step.Fault].Name
	line := fmt.Sprintf("%-6s %s", step.Do, name)
	if step.Do == scenario.Share {
		line = fmt.Sprintf("share  %s: %.4g%% of the connections", name, step.Percent)
	} else if step.Do == scenario.Start && step.Percent >= 0 {
		line += fmt.Sprintf(", %.4g%% of the connections", step.Percent)
	}
	if note != "" {
		line += ": " + note
	}
	t.print("%s  %s\n", text.Pad(words.ShortDuration(step.At), len(clockTime)), line)
}

// Event implements scenario.Watcher.
func (t *scenarioPrinter) Event(at time.Time, _ int, e event.Event) {
	t.happened(at, e) // that it is ready was told by its step
}

// Tick implements scenario.Watcher.
func (t *scenarioPrinter) Tick(_ time.Time, s injector.Snapshot, gone, left time.Duration) {
	t.tick(s, gone, left)
}

// Probe implements scenario.Watcher. It prints failures, and the first
// success behind them: a service that works is not news.
func (t *scenarioPrinter) Probe(at time.Time, try scenario.Try) {
	a, ph, err, now := try.Probe, try.Phase, try.Err, at.Format(clockTime)
	t.mu.Lock()
	row := t.failing[a]
	if err != nil {
		t.failing[a]++
	} else {
		delete(t.failing, a)
	}
	t.mu.Unlock()
	switch {
	case err != nil && (ph != scenario.After || row == 0 || try.Last):
		t.line(now, fmt.Sprintf("%s  %s: %v", t.paint.Red("probe"), a.Name, err))
	case err == nil && (row > 0 || ph != scenario.During):
		text := "passed"
		if row > 0 {
			text = "passes again"
		}
		if ph == scenario.After && try.Since >= time.Millisecond {
			text += " after " + try.Since.Round(time.Millisecond).String()
		}
		t.print("%s  probe  %s: %s, took %s\n", now, a.Name, text, try.Took.Round(time.Microsecond))
	}
}

// Ended implements scenario.Watcher.
func (t *scenarioPrinter) Ended(at time.Time, result *scenario.Result) {
	t.addedUp(at, true)
	t.clearStatus()
	var b strings.Builder
	fmt.Fprintf(&b, "\nended after %s; everything is as before\n", result.Took.Round(time.Millisecond))
	tab := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	var rules []injector.RuleStats
	for i := range result.Entries {
		rules = append(rules, result.Entries[i].Stats.Rules...)
	}
	head, felt := struckColumns(rules)
	fmt.Fprintln(tab, "  fault\tactive\tmatched\tchosen\t"+head+"\tdropped\tforged")
	for i := range result.Entries {
		e := &result.Entries[i]
		if !e.WasActive() {
			fmt.Fprintf(tab, "  %s\t0s%s\t\t\t\t\n", e.Entry.Name, strings.Repeat("\t", strings.Count(head, "\t")+1))
			continue
		}
		r := e.Stats.Rules[0]
		for _, f := range r.Faults {
			name := e.Entry.Name
			if len(r.Faults) > 1 {
				name += " (" + f.Name + ")"
			}
			fmt.Fprintf(tab, "  %s\t%s\t%d\t%d\t%s\t%d\t%d\t%d\n", name, e.Took.Round(time.Millisecond), r.Flows, r.Chosen, felt(f), f.Diverted, f.Dropped, f.Forged)
		}
	}
	tab.Flush()
	if len(result.Probes) > 0 {
		fmt.Fprintln(tab, "\n  probe\tbefore\tduring\tafter")
		for _, p := range result.Probes {
			fmt.Fprintf(tab, "  %s\t%s\t%s\t%s\n", p.Probe.Name, outcomeOf(p.Before, ""), during(p), outcomeOf(p.After, " in "+p.Recovered.Round(time.Millisecond).String()))
		}
		tab.Flush()
	}
	for _, w := range append(result.Flaws(), result.Why...) {
		fmt.Fprintln(&b, t.paint.Yellow(text.Wrap(w, "", t.width)))
	}
	if result.Code == event.CodeOK {
		fmt.Fprintln(&b, t.fit("it held: "+result.Holds(), ""))
	}
	t.print("%s", b.String())
}

func during(p scenario.ProbeResult) string {
	if !p.During {
		return "-"
	}
	return fmt.Sprintf("%d of %d passed", p.Tried-p.Failed, p.Tried)
}

func outcomeOf(o scenario.Outcome, more string) string {
	switch {
	case !o.Tried:
		return "-"
	case o.Err != nil:
		return "failed"
	}
	return "passed" + more
}
