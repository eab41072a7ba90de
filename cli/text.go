package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
)

// textTeller tells a person: one line an event, a live line of counters below
// them on a terminal, and a summary.
type textTeller struct {
	mu     sync.Mutex
	w      io.Writer
	live   bool
	paint  paint
	width  int        // of text
	screen func() int // width of the terminal, which may change
	now    func() time.Time
	plan   *plan
	status string // the live line on the screen, if any
}

const clockTime = "15:04:05.000"

// print writes lines above the live line.
func (t *textTeller) print(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	fmt.Fprintf(t.w, format, args...)
	if t.status != "" {
		fmt.Fprint(t.w, t.status)
	}
}

func (t *textTeller) clear() {
	if t.status != "" {
		fmt.Fprint(t.w, "\r\x1b[K")
	}
}

// still takes the live line away.
func (t *textTeller) still() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	t.status = ""
}

func (t *textTeller) started(p *plan) {
	var b strings.Builder
	var names []string
	for _, s := range p.specs {
		names = append(names, s.String())
	}
	if p.target.none {
		end := endsAfter(p.duration)
		if !p.durationIs {
			end = "it ends after " + words.ShortDuration(p.duration) + ", unless --duration says otherwise"
		}
		fmt.Fprintf(&b, "no target: %s, except the protected ones; %s\n", p.scope(), end)
	}
	if p.note != "" {
		fmt.Fprintln(&b, wrap(p.note, "", t.width))
	}
	fmt.Fprintf(&b, "%s %s", p.verb, t.paint.bold(strings.Join(names, " and ")))
	switch {
	case p.command != nil && p.duration == 0:
		fmt.Fprintf(&b, ": %s, while it runs", p.scope())
	case !p.target.none:
		fmt.Fprintf(&b, ": %s, %s", p.scope(), endsAfter(p.duration))
	}
	fmt.Fprintln(&b)
	fmt.Fprintf(&b, "seed %d; repeat this run: %s\n", p.cfg.Seed, p.repeat)
	for _, c := range p.cfg.Protect {
		fmt.Fprintf(&b, "protected: %v and %v\n", c.A, c.B)
	}
	if p.startAfter > 0 {
		fmt.Fprintf(&b, "waiting %s\n", words.ShortDuration(p.startAfter))
	}
	t.print("%s", b.String())
}

func (t *textTeller) event(ev injector.Event) {
	at, flow := ev.Time.Format(clockTime), ev.Flow.Client+" -> "+ev.Flow.Server
	switch ev.Kind {
	case injector.Ready:
		next := "; Ctrl-C ends it"
		if t.plan.command != nil {
			next = ""
		}
		t.print("%s  ready: the next matching packet is judged%s\n", at, next)
	case injector.Chosen:
		note := ""
		if ev.Midstream {
			note = "  open before"
		}
		t.print("%s  flow   %s%s\n", at, flow, note)
	case injector.Fired:
		t.print("%s  %s  %s  %s: %s%s\n", at, t.paint.red("fired"), flow, ev.Fault, deed(ev), ev.Reason)
	}
}

// deed says what a fault did, in words that a reason follows. Taking a
// connection over is nothing but its reason.
func deed(ev injector.Event) string {
	to := " to the " + ev.To.String() + ", "
	if ev.To == faults.Both {
		to = " to both, "
	}
	switch ev.Action {
	case faults.Dropped:
		return "dropped a segment" + to
	case faults.SentRST:
		return "RST" + to
	case faults.SentFIN:
		return "FIN" + to
	case faults.SentICMP:
		return "ICMP error" + to
	case faults.Delayed:
		return "delayed a segment" + to
	case faults.Rewritten:
		return "rewrote a segment" + to
	case faults.Duplicated:
		return "sent a segment twice" + to
	}
	return ""
}

func (t *textTeller) tick(s injector.Snapshot, gone, left time.Duration) {
	if t.plan != nil && t.plan.command != nil {
		return // it would stand in the middle of what the command prints
	}
	flows, chosen, fired := totals(s)
	tail := fmt.Sprintf("%d chosen, %d fired", chosen, fired)
	rest := ""
	if gone > 0 {
		rest += "; " + gone.Round(time.Second).String() + " gone"
	}
	if left > 0 {
		rest += ", " + left.Round(time.Second).String() + " left"
	}
	line := plural(flows, "connection") + " matched, " + tail + "; " + plural(s.Diverted, "packet") + " judged" + rest
	if !t.live {
		t.print("%s  so far: %s\n", t.now().Format(clockTime), line)
		return
	}
	line = fitting(t.screen(), line, tail+rest)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	t.status = t.paint.dim(line)
	fmt.Fprint(t.w, t.status)
}

// totals sums up the counters of a live line.
func totals(s injector.Snapshot) (flows, chosen, fired uint64) {
	for _, r := range s.Rules {
		flows, chosen = flows+r.Flows, chosen+r.Chosen
		for _, f := range r.Faults {
			fired += f.Fired
		}
	}
	return flows, chosen, fired
}

// fitting is the first of the lines that a terminal of that width has room for,
// or what there is room for of the last: a line that wraps could not be cleared.
func fitting(width int, lines ...string) string {
	most := max(width-1, 0)
	for _, l := range lines {
		if utf8.RuneCountInString(l) <= most {
			return l
		}
	}
	return string([]rune(lines[len(lines)-1])[:most])
}

func (t *textTeller) ended(s injector.Snapshot, took time.Duration) {
	t.still()
	if took == 0 {
		t.print("\nended before the rules went in: nothing was touched\n")
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nended after %s; everything is as before\n", took.Round(time.Millisecond))
	tab := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "  fault\tmatched\tchosen\tfired\tpackets judged\tdropped\tforged")
	for _, r := range s.Rules {
		for _, f := range r.Faults {
			fmt.Fprintf(tab, "  %s\t%d\t%d\t%d\t%d\t%d\t%d\n", f.Name, r.Flows, r.Chosen, f.Fired, f.Diverted, f.Dropped, f.Forged)
		}
	}
	tab.Flush()
	for _, r := range s.Rules {
		for _, f := range r.Faults {
			if f.Fired == 0 {
				text := f.Name + " never fired: " + whyNot(t.plan, r, f.Name)
				fmt.Fprintln(&b, t.paint.yellow(wrap(text, "", t.width)))
			}
		}
	}
	for _, f := range flaws(s) {
		fmt.Fprintln(&b, t.paint.yellow(wrap(f.String(), "", t.width)))
	}
	t.print("%s", b.String())
}

func (t *textTeller) target(c targetChange) {
	t.print("%s  target %s: %s\n", c.at.Format(clockTime), c.target, c.says)
}

// whyNot says why a fault never fired, and what to look at.
func whyNot(p *plan, r injector.RuleStats, fault string) string {
	switch {
	case r.Flows == 0 && len(p.target.to) == 0 && len(p.target.from) == 0 && p.netns != "" && p.command == nil:
		return "no TCP packet crossed the network namespace " + strings.TrimPrefix(p.netns, "that ") + "."
	case r.Flows == 0 && p.target.none:
		return "no TCP packet crossed this network namespace."
	case r.Flows == 0 && p.command != nil:
		return "there was not one of the " + strings.Replace(p.scope(), "every TCP connection", "TCP connections", 1) + "." + elsewhere(p.command)
	case r.Flows == 0 && len(p.nat) > 0:
		return "no packet belonged to " + p.scope() + ": " + aboutNAT(p.nat)
	case r.Flows == 0:
		return "no packet belonged to " + p.scope() + ". Is that the port where packets are judged (behind NAT or a published " +
			"port it is the container's own), and does the traffic pass this network namespace (what a bridge carries does so only with " +
			"net.bridge.bridge-nf-call-iptables=1, IPv6 with bridge-nf-call-ip6tables=1)? --dry-run shows what matches now."
	case r.Chosen == 0:
		return "connections matched, but --percent, --every, --first, --skip or --new-only chose none of them."
	}
	return "the moment that it waits for did not come on the chosen connections. faultctl faults " + fault + " says which one that is."
}

// elsewhere says what becomes of a command that has somebody else start what it
// is about. It is empty for any other.
func elsewhere(command []string) string {
	how := ""
	switch name := filepath.Base(command[0]); name {
	case "docker", "podman", "nerdctl", "docker-compose", "podman-compose":
		how = "strike the container with faultctl inject --container NAME meanwhile."
	case "systemctl", "systemd-run":
		how = "strike the unit with faultctl inject --cgroup PATH meanwhile."
	case "ssh", "kubectl":
		how = "run faultctl there."
	default:
		return ""
	}
	return " What " + filepath.Base(command[0]) + " starts is none of its children: " + how
}
