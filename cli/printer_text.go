package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/redact"
	"github.com/faultctl/faultctl/internal/words"
)

// textPrinter prints text: one line per event, a live line of counters below
// them on a terminal, and a summary.
type textPrinter struct {
	mu     sync.Mutex
	w      io.Writer
	live   bool
	quiet  bool // no line for each connection and strike
	paint  text.Paint
	width  int        // of text
	screen func() int // width of the terminal, which may change
	now    func() time.Time
	inv    *invocation
	plan   *experiment.Plan
	status string // the live line on the screen, if any
	wrap   bool   // lines are broken between words where the terminal would break them anywhere

	adding sync.Mutex // guards adder
	adder  adder
}

func (inv *invocation) textPrinter(w io.Writer) *textPrinter {
	return &textPrinter{w: w, live: inv.terminal, wrap: inv.terminal, quiet: inv.quiet, paint: inv.paint(), width: inv.columns(), screen: inv.screen, now: inv.sys.Now}
}

// secretsLeftOut follows a line that repeats a run, if secrets are not in it.
const secretsLeftOut = "(" + redact.Mark + " stands for secrets; --show-secrets keeps them)"

const clockTime = "15:04:05.000"

// print writes lines above the live line.
func (t *textPrinter) print(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	fmt.Fprintf(t.w, format, args...)
	if t.status != "" {
		fmt.Fprint(t.w, t.status)
	}
}

func (t *textPrinter) clear() {
	if t.status != "" {
		fmt.Fprint(t.w, text.ClearLine)
	}
}

// clearStatus removes the live line.
func (t *textPrinter) clearStatus() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	t.status = ""
}

func (t *textPrinter) started() {
	p := t.plan
	var b strings.Builder
	if p.Everything {
		end := endsAfter(p.Duration())
		if p.Spec.Duration == nil {
			end = "it ends after " + words.ShortDuration(p.Duration()) + ", unless --duration says otherwise"
		}
		fmt.Fprintf(&b, "no target: %s, except the protected ones; %s\n", p.Scope(), end)
	}
	if p.Note != "" {
		fmt.Fprintln(&b, text.Wrap(p.Note, "", t.width))
	}
	verb := "inject"
	if len(p.Spec.Command) > 0 {
		verb = "run"
	}
	line := verb + " " + t.paint.Bold(words.Foreign(strings.Join(p.Spec.FaultNames(), " and ")))
	switch {
	case len(p.Spec.Command) > 0 && p.Duration() == 0:
		line += ": " + p.Scope() + ", while it runs"
	case !p.Everything:
		line += ": " + p.Scope() + ", " + endsAfter(p.Duration())
	}
	fmt.Fprintln(&b, t.fit(line, "  "))
	fmt.Fprintln(&b, t.repeat(fmt.Sprintf("seed %d; repeat this run: ", p.Seed()), p.CommandLine()))
	if redact.In(p.ShownCommand()) {
		fmt.Fprintln(&b, secretsLeftOut)
	}
	for _, c := range p.Protected {
		fmt.Fprintf(&b, "protected: %v and %v\n", c.A, c.B)
	}
	if p.Spec.StartAfter > 0 {
		fmt.Fprintf(&b, "waiting %s\n", words.ShortDuration(p.Spec.StartAfter))
	}
	t.print("%s", b.String())
}

// fit is a line, broken between words on a terminal that is narrower.
func (t *textPrinter) fit(line, indent string) string {
	if !t.wrap || t.screen == nil {
		return line
	}
	return text.Broken(line, indent, t.screen())
}

// repeat is a line that ends with a command line. Where it does not fit on the
// terminal the command line stands below, on several lines that a shell takes as one.
func (t *textPrinter) repeat(label, command string) string {
	if !t.wrap || t.screen == nil || text.Width(label)+text.Width(command) <= t.screen() {
		return label + command
	}
	return strings.TrimRight(label, " ") + "\n" + text.Shell(command, "  ", t.screen())
}

func (t *textPrinter) event(at time.Time, e event.Event) {
	switch e := e.(type) {
	case event.Started:
		t.started()
	case event.Ready:
		next := "; Ctrl-C ends it"
		if len(t.plan.Spec.Command) > 0 {
			next = ""
		}
		t.line(at.Format(clockTime), "ready: the next matching packet is judged"+next)
	default:
		t.happened(at, e)
	}
}

// onConnection prints what happened to a connection, or adds it up with others. With
// --quiet it prints nothing.
func (t *textPrinter) onConnection(at time.Time, word, painted string, flow event.Ends, what string) {
	if t.quiet {
		return
	}
	t.adding.Lock()
	defer t.adding.Unlock()
	single := t.adder.take(at, word, what)
	t.addUp(at, false)
	if single {
		t.line(at.Format(clockTime), painted+" "+flow.Client+" -> "+flow.Server+what)
	}
}

// addUp prints what was added up and is due. The caller holds adding.
func (t *textPrinter) addUp(at time.Time, end bool) {
	for _, sum := range t.adder.due(at, end) {
		t.line(at.Format(clockTime), sum)
	}
}

// addedUp prints what was added up so far, or what is due.
func (t *textPrinter) addedUp(at time.Time, end bool) {
	t.adding.Lock()
	defer t.adding.Unlock()
	t.addUp(at, end)
}

// line prints a line behind its time, broken between words on a terminal that is
// narrower.
func (t *textPrinter) line(clock, line string) {
	if t.wrap && t.screen != nil {
		line = strings.TrimPrefix(text.Broken(clock+"  "+line, strings.Repeat(" ", len(clock)+4), t.screen()), clock+"  ")
	}
	t.print("%s  %s\n", clock, line)
}

// happened prints an event in the middle of a run.
func (t *textPrinter) happened(at time.Time, e event.Event) {
	clock := at.Format(clockTime)
	switch e := e.(type) {
	case event.Flow:
		note := ""
		if e.OpenBefore {
			note = "  open before"
		}
		t.onConnection(at, "flow", "flow  ", e.Flow, note)
	case event.Fired:
		t.onConnection(at, "fired", t.paint.Red("fired")+" ", e.Flow, "  "+e.Fault+": "+e.Text())
	case event.Outcome:
		t.onConnection(at, "outcome", "outcome ", e.Flow, "  "+e.Fault+": "+e.Text())
	case event.Target:
		t.print("%s  target %s: %s\n", clock, e.Target, e.Says)
	case event.Changed:
		t.print("%s  changed %s%s\n", clock, strings.Join(e.Set, ", "), actor(e.By))
	case event.Paused:
		t.print("%s  paused%s: no packet is judged until it is resumed\n", clock, actor(e.By))
	case event.Resumed:
		t.print("%s  resumed%s: the next matching packet is judged\n", clock, actor(e.By))
	case event.Picked:
		t.print("%s  %s is to be struck%s (%s)\n", clock, e.Flow.Client, actor(e.By), e.Moment)
	case event.Spared:
		t.print("%s  %s is spared%s\n", clock, e.Flow.Client, actor(e.By))
	case event.Unsteady:
		t.print("%s  unsteady (%d of %d): %s: %s\n", clock, e.Fails, e.Of, words.Foreign(e.Check), words.Foreign(e.Says))
	case event.Stopped:
		t.print("%s  stopped%s\n", clock, actor(e.By))
	}
}

// actor says who changed a run, if it was not its own program.
func actor(a *event.Actor) string {
	if a == nil {
		return ""
	}
	if a.PID == 0 { // it cannot be seen from here
		return fmt.Sprintf(" by user %d", a.UID)
	}
	return fmt.Sprintf(" by process %d of user %d", a.PID, a.UID)
}

// watch calls tick with how far the run is, again and again until it is over:
// each second on a terminal, else each minute.
func (inv *invocation) watch(run *experiment.Run, tick func(gone, left time.Duration)) {
	every := inv.progress
	if inv.terminal {
		every = time.Second
	}
	if every == 0 {
		return
	}
	for {
		select {
		case <-inv.sys.After(every):
		case <-run.Done():
			return
		}
		gone, left := inv.sys.Now().Sub(run.Ready()), time.Duration(0)
		if d := run.Plan().Duration(); d > 0 {
			left = max(time.Second, d-gone)
		}
		tick(gone, left)
	}
}

func (t *textPrinter) watch(run *experiment.Run) {
	t.inv.watch(run, func(gone, left time.Duration) { t.tick(run.Stats(), gone, left) })
}

func (t *textPrinter) tick(s injector.Snapshot, gone, left time.Duration) {
	if t.now != nil {
		t.addedUp(t.now(), false)
	}
	flows, chosen, fired := totals(s)
	tail := fmt.Sprintf("%d chosen, %d fired", chosen, fired)
	rest := ""
	if gone > 0 {
		rest += "; " + gone.Round(time.Second).String() + " elapsed"
	}
	if left > 0 {
		rest += ", " + left.Round(time.Second).String() + " left"
	}
	line := words.Plural(flows, "connection") + " matched, " + tail + "; " + words.Plural(s.Diverted, "packet") + " judged" + rest
	if !t.live {
		t.print("%s  so far: %s\n", t.now().Format(clockTime), line)
		return
	}
	line = text.Fitting(t.screen(), line, tail+rest)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	t.status = t.paint.Dim(line)
	fmt.Fprint(t.w, t.status)
}

// totals sums up the counters of a live line.
func totals(s injector.Snapshot) (flows, chosen, fired uint64) {
	for _, r := range s.Rules {
		flows, chosen = flows+r.Flows, chosen+r.Chosen
		for _, f := range r.Faults {
			fired += experiment.Strikes(f)
		}
	}
	return flows, chosen, fired
}

// struckColumns are the columns of a summary that say on how many connections
// faults fired, and on how many of them that was felt, if it is not the same. One
// that was closed before is none of them.
func struckColumns(rules []injector.RuleStats) (head string, of func(injector.FaultStats) string) {
	differ := false
	for _, r := range rules {
		for _, f := range r.Faults {
			differ = differ || f.Settled.Struck > 0 && f.Settled.Felt != experiment.Strikes(f)
		}
	}
	if !differ {
		return "fired\tpackets judged", func(f injector.FaultStats) string { return fmt.Sprint(experiment.Strikes(f)) }
	}
	return "fired\tfelt\tjudged", func(f injector.FaultStats) string {
		return fmt.Sprintf("%d\t%d", experiment.Strikes(f), f.Settled.Felt)
	}
}

func (t *textPrinter) ended(r experiment.Result) {
	t.addedUp(t.now(), true)
	t.clearStatus()
	if r.Took == 0 {
		t.print("\nended before the rules went in: nothing was touched\n")
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nended after %s; everything is as before\n", r.Took.Round(time.Millisecond))
	tab := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	head, felt := struckColumns(r.Stats.Rules)
	fmt.Fprintln(tab, "  fault\tmatched\tchosen\t"+head+"\tdropped\tforged")
	for _, rule := range r.Stats.Rules {
		for _, f := range rule.Faults {
			fmt.Fprintf(tab, "  %s\t%d\t%d\t%s\t%d\t%d\t%d\n", f.Name, rule.Flows, rule.Chosen, felt(f), f.Diverted, f.Dropped, f.Forged)
		}
	}
	tab.Flush()
	if late := experiment.LateOf(r.Stats).String(); late != "" {
		fmt.Fprintln(&b, "  "+late)
	}
	command := outcome.NoCommand
	if len(t.plan.Spec.Command) > 0 {
		command = outcome.Succeeded // its end is told elsewhere
	}
	if twice := report.Doubled(experiment.AnswersLost(r.Stats)); twice != "" {
		fmt.Fprintln(&b, t.paint.Yellow(text.Wrap(twice, "", t.width)))
	}
	for _, w := range append(t.plan.Why(r, t.plan.Spec.Judge(r.Stats, command)), experiment.Flaws(r.Stats)...) {
		fmt.Fprintln(&b, t.paint.Yellow(text.Wrap(w, "", t.width)))
	}
	t.print("%s", b.String())
}
