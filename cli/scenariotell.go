package cli

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/experiment/scenario"
	"github.com/faultctl/faultctl/injector"
)

// sceneTeller says what happens in a scenario, in one of the output formats.
// Several goroutines call it.
type sceneTeller interface {
	started()
	phase(ph scenario.Phase)
	step(step scenario.Step, a *act, note string)
	event(ev injector.Event)
	target(c targetChange)
	probe(a *asked, ph scenario.Phase, took, since time.Duration, err error, last bool)
	tick(s injector.Snapshot, gone, left time.Duration) // how far the timeline is
	ended(code int, why []string, err error)
}

func (h *host) sceneTeller(st *staging, asJSON bool) sceneTeller {
	if asJSON {
		return &jsonScene{jsonTeller{w: h.stdout, host: h}, st}
	}
	return &textScene{
		textTeller: textTeller{w: h.stdout, live: h.terminal, paint: h.paint(), width: h.columns(), screen: h.screen, now: h.now},
		st:         st, failing: map[*asked]int{},
	}
}

// jsonScene writes one JSON object a line.
type jsonScene struct {
	jsonTeller
	st *staging
}

type sceneRule struct {
	Name string `json:"name"`
	ruleEvent
	NetNS    string `json:"netns"`
	Start    string `json:"start"`
	Duration string `json:"duration"`
	MustFire uint64 `json:"must_fire"`
}

type sceneStarted struct {
	head
	Scenario  string      `json:"scenario"`
	File      string      `json:"file"`
	Faults    []string    `json:"faults"`
	Seed      uint64      `json:"seed"`
	Version   string      `json:"version"`
	Rules     []sceneRule `json:"rules"` // their ordinals are the rule of flow events
	Probes    []string    `json:"probes"`
	Protected []flowPair  `json:"protected"`
	Duration  string      `json:"duration"`
	Deadline  string      `json:"deadline"`
	Repeat    string      `json:"repeat"`
}

func (j *jsonScene) started() {
	s := j.st.s
	e := sceneStarted{
		head: j.host.head("started"), Scenario: s.Name, File: j.st.file, Seed: j.st.seed, Version: version(),
		Probes: []string{}, Protected: j.st.protected(), Duration: shortly(s.Duration), Deadline: shortly(s.Deadline), Repeat: j.st.again,
	}
	for _, a := range j.st.acts {
		r := sceneRule{
			Name: a.entry.Name, NetNS: a.plan.netnsName(), Start: shortly(a.entry.Start), Duration: shortly(a.entry.Duration), MustFire: a.entry.MustFire.N,
			ruleEvent: ruleOf(a.plan.target, a.plan.specs),
		}
		for _, sp := range a.plan.specs {
			e.Faults = append(e.Faults, sp.Name)
		}
		e.Rules = append(e.Rules, r)
	}
	for i := range s.Probes {
		e.Probes = append(e.Probes, s.Probes[i].Name)
	}
	j.line(e)
}

// protected lists the connections that none of the faults touches.
func (st *staging) protected() []flowPair {
	all := []flowPair{}
	for _, a := range st.acts {
		for _, p := range protectedBy(&a.plan.cfg) {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

func (j *jsonScene) phase(ph scenario.Phase) {
	j.line(struct {
		head
		Phase scenario.Phase `json:"phase"`
	}{j.host.head("phase"), ph})
}

type stepEvent struct {
	head
	Name    string   `json:"name"` // of the entry in the file
	Rule    int      `json:"rule"`
	Do      string   `json:"do"` // start, stop or percent
	At      string   `json:"at"` // in the timeline
	Percent *float64 `json:"percent,omitempty"`
	Note    string   `json:"note,omitempty"`
}

func (j *jsonScene) step(step scenario.Step, a *act, note string) {
	e := stepEvent{head: j.host.head("step"), Name: a.entry.Name, Rule: step.Fault, Do: step.Do.String(), At: words.ShortDuration(step.At), Note: note}
	if step.Do != scenario.Stop && step.Percent >= 0 {
		e.Percent = &step.Percent
	}
	j.line(e)
}

type probeEvent struct {
	head
	Probe  string         `json:"probe"`
	Phase  scenario.Phase `json:"phase"`
	OK     bool           `json:"ok"`
	Took   string         `json:"took"`
	Reason string         `json:"reason,omitempty"` // why it failed
}

func (j *jsonScene) probe(a *asked, ph scenario.Phase, took, _ time.Duration, err error, _ bool) {
	e := probeEvent{head: j.host.head("probe"), Probe: a.probe.Name, Phase: ph, OK: err == nil, Took: took.Round(time.Microsecond).String()}
	if err != nil {
		e.Reason = err.Error()
	}
	j.line(e)
}

// sceneEnded sums up one fault of an entry of the file.
type sceneEnded struct {
	endedEvent
	Name string `json:"name"`
	Rule int    `json:"rule"`
}

// probeEnded sums up one probe.
type probeEnded struct {
	head
	Probe     string `json:"probe"`
	OK        bool   `json:"ok"`
	Tried     uint64 `json:"tried"` // during
	Failed    uint64 `json:"failed"`
	Tolerance string `json:"tolerance"`
	Recovered string `json:"recovered,omitempty"` // how long it took afterwards
}

// sceneResult comes last.
type sceneResult struct {
	head
	Scenario string   `json:"scenario"`
	Code     int      `json:"code"`
	Why      []string `json:"why"`
	Duration string   `json:"duration"`
}

func (j *jsonScene) ended(code int, why []string, _ error) {
	for i, a := range j.st.acts {
		for _, r := range a.sum.Rules {
			for _, f := range r.Faults {
				j.line(sceneEnded{
					endedEvent: endedOf(j.host.head("ended"), a.sum, r, f, a.ready), Name: a.entry.Name, Rule: i,
				})
			}
		}
	}
	for _, a := range j.st.asked {
		e := probeEnded{
			head: j.host.head("probe-ended"), Probe: a.probe.Name, OK: len(a.failures()) == 0,
			Tried: a.watch.Tried, Failed: a.watch.Failed, Tolerance: a.probe.Tolerance.String(),
		}
		if a.tried[2] && a.after == nil {
			e.Recovered = a.recovered.Round(time.Millisecond).String()
		}
		j.line(e)
	}
	j.line(sceneResult{j.host.head("result"), j.st.s.Name, code, notNil(why), j.host.now().Sub(j.st.began).Round(time.Millisecond).String()})
}

// textScene tells a person.
type textScene struct {
	textTeller
	st *staging

	mu      sync.Mutex
	failing map[*asked]int // tries of a probe that failed in a row
}

func (t *textScene) now() string { return t.st.h.now().Format(clockTime) }

func (t *textScene) started() {
	s := t.st.s
	var b strings.Builder
	fmt.Fprintf(&b, "scenario %s: a timeline of %s; whatever happens, all has ended after %s\n", t.paint.bold(s.Name), shortly(s.Duration), shortly(s.Deadline))
	if s.Description != "" {
		fmt.Fprintln(&b, wrap(strings.Join(strings.Fields(s.Description), " "), "  ", t.width))
	}
	fmt.Fprintf(&b, "seed %d; repeat this run: %s\n", t.st.seed, t.st.again)
	for _, a := range t.st.acts {
		fmt.Fprintf(&b, "fault  %s: %s, %s\n", t.paint.bold(a.entry.Name), a.plan.scope(), when(a.entry))
	}
	for i := range s.Probes {
		p := &s.Probes[i]
		phases := make([]string, len(p.When))
		for k, ph := range p.When {
			phases[k] = string(ph)
		}
		fmt.Fprintf(&b, "probe  %s: %s\n", t.paint.bold(p.Name), strings.Join(phases, ", "))
	}
	for _, p := range t.st.protected() {
		fmt.Fprintf(&b, "protected: %s and %s\n", p.A, p.B)
	}
	fmt.Fprintln(&b)
	t.print("%s", b.String())
}

// when says in words at which times a fault is at work.
func when(f *scenario.Fault) string {
	text := fmt.Sprintf("from %s to %s", shortly(f.Start), shortly(f.Start+f.Duration))
	if p := f.Pulse; p != nil {
		text += fmt.Sprintf(", on for %s and off for %s in turn", shortly(p.On), shortly(p.Off))
	}
	if r := f.Ramp; r != nil {
		text += fmt.Sprintf(", %g%% to %g%% of the connections within %s", float64(r.From), float64(r.To), shortly(r.Over))
	}
	return text
}

func (t *textScene) phase(ph scenario.Phase) {
	t.still()
	t.print("%s  %s\n", t.now(), t.paint.bold(string(ph)))
}

func (t *textScene) step(step scenario.Step, a *act, note string) {
	text := fmt.Sprintf("%-6s %s", step.Do, a.entry.Name)
	if step.Do == scenario.Share {
		text = fmt.Sprintf("share  %s: %.4g%% of the connections", a.entry.Name, step.Percent)
	} else if step.Do == scenario.Start && step.Percent >= 0 {
		text += fmt.Sprintf(", %.4g%% of the connections", step.Percent)
	}
	if note != "" {
		text += ": " + note
	}
	t.print("%s  %s\n", pad(words.ShortDuration(step.At), len(clockTime)), text)
}

func (t *textScene) event(ev injector.Event) {
	if ev.Kind != injector.Ready { // its step was told
		t.textTeller.event(ev)
	}
}

// probe tells of failures, and of the first success behind them: a service that
// works is not news.
func (t *textScene) probe(a *asked, ph scenario.Phase, took, since time.Duration, err error, last bool) {
	t.mu.Lock()
	row := t.failing[a]
	if err != nil {
		t.failing[a]++
	} else {
		delete(t.failing, a)
	}
	t.mu.Unlock()
	switch {
	case err != nil && (ph != scenario.After || row == 0 || last):
		t.print("%s  %s  %s: %v\n", t.now(), t.paint.red("probe"), a.probe.Name, err)
	case err == nil && (row > 0 || ph != scenario.During):
		text := "passed"
		if row > 0 {
			text = "passes again"
		}
		if ph == scenario.After && since >= time.Millisecond {
			text += " after " + since.Round(time.Millisecond).String()
		}
		t.print("%s  probe  %s: %s, took %s\n", t.now(), a.probe.Name, text, took.Round(time.Microsecond))
	}
}

func (t *textScene) ended(code int, why []string, err error) {
	t.still()
	var b strings.Builder
	fmt.Fprintf(&b, "\nended after %s; everything is as before\n", t.st.h.now().Sub(t.st.began).Round(time.Millisecond))
	tab := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "  fault\tat work\tmatched\tchosen\tfired\tpackets judged\tdropped\tforged")
	for _, a := range t.st.acts {
		if a.sum.Rules == nil {
			fmt.Fprintf(tab, "  %s\t0s\t\t\t\t\t\t\n", a.entry.Name)
			continue
		}
		r := a.sum.Rules[0]
		for _, f := range r.Faults {
			name := a.entry.Name
			if len(r.Faults) > 1 {
				name += " (" + f.Name + ")"
			}
			fmt.Fprintf(tab, "  %s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\n", name, a.ready.Round(time.Millisecond), r.Flows, r.Chosen, f.Fired, f.Diverted, f.Dropped, f.Forged)
		}
	}
	tab.Flush()
	if len(t.st.asked) > 0 {
		fmt.Fprintln(tab, "\n  probe\tbefore\tduring\tafter")
		for _, a := range t.st.asked {
			fmt.Fprintf(tab, "  %s\t%s\t%s\t%s\n", a.probe.Name, outcomeOf(a.tried[0], a.before, ""), a.during(), outcomeOf(a.tried[2], a.after, " in "+a.recovered.Round(time.Millisecond).String()))
		}
		tab.Flush()
	}
	var all injector.Snapshot
	for _, a := range t.st.acts {
		sum := a.sum
		sum.Rules = nil // they are of other faults
		all = all.Plus(sum)
	}
	for _, w := range append(said(flaws(all)), why...) {
		fmt.Fprintln(&b, t.paint.yellow(wrap(w, "", t.width)))
	}
	if code == exitOK {
		fmt.Fprintln(&b, "it held: "+t.holding())
	}
	t.print("%s", b.String())
}

// holding says what a scenario that ended well has shown.
func (t *textScene) holding() string {
	fired, none := "every fault fired", true
	for _, a := range t.st.acts {
		if a.sum.Rules == nil || idle(a.sum) {
			fired = "every fault fired that must"
		} else {
			none = false
		}
	}
	if none {
		fired = "no fault fired, and none had to, so it shows nothing of them"
	}
	if len(t.st.asked) == 0 {
		return fired + "; no probe was there to fail"
	}
	return fired + ", and every probe passed as often as it must"
}

func (a *asked) during() string {
	if !a.tried[1] {
		return "-"
	}
	return fmt.Sprintf("%d of %d passed", a.watch.Tried-a.watch.Failed, a.watch.Tried)
}

func outcomeOf(tried bool, err error, more string) string {
	switch {
	case !tried:
		return "-"
	case err != nil:
		return "failed"
	}
	return "passed" + more
}
