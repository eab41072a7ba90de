package plugin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/faultctl/faultctl/kubernetes/runs"
)

// mergeTime is how long an event waits for earlier ones of other pods.
const mergeTime = 250 * time.Millisecond

// printer prints the events of all pods in one order: that of their times, as far as
// they come within mergeTime. The clocks are those of the nodes.
type printer struct {
	w     io.Writer
	json  bool
	quiet bool
	cfg   runs.Config

	mu     sync.Mutex
	held   []heldLine // by time
	timer  *time.Timer
	direct map[string]uint64 // connections by which form of a service's address they had
	last   map[string]string // what was said of a pod last
}

// heldLine is a line that waits.
type heldLine struct {
	at   time.Time
	text string
}

func (p *program) printer(cfg runs.Config, quiet bool) *printer {
	return &printer{w: p.out, json: p.json, quiet: quiet, cfg: cfg, direct: map[string]uint64{}, last: map[string]string{}}
}

const clock = "15:04:05.000"

// begin says what is about to happen.
func (o *printer) begin() {
	if o.json {
		return
	}
	s := o.cfg.Spec
	to := strings.Join(s.Target.To, ", ")
	if from := strings.Join(s.Target.From, ", "); from != "" {
		to = strings.TrimSuffix(to+" from "+from, " ")
	}
	var lines []string
	for _, svc := range o.cfg.Services {
		to = strings.TrimPrefix(to+", svc/"+svc.Name, ", ")
		lines = append(lines, svc.String()+".")
	}
	end := "until Ctrl-C"
	if s.Duration != nil && *s.Duration > 0 {
		end = "for " + words.ShortDuration(*s.Duration)
	}
	fmt.Fprintf(o.w, "inject %s: connections to %s, in the pods of %s, %s\n", strings.Join(s.FaultNames(), " and "), words.Foreign(to), words.Foreign(o.cfg.Selection.String()), end)
	for _, l := range lines {
		fmt.Fprintln(o.w, l)
	}
	fmt.Fprintf(o.w, "run %s, seed %d; each pod has a seed of its own, derived from it and from the pod's name\n", o.cfg.Name, o.cfg.Seed)
	if s.Target.Percent != nil {
		fmt.Fprintf(o.w, "%v%% of the connections of each pod, and so of all\n", *s.Target.Percent)
	}
}

// says prints what becomes of a pod.
func (o *printer) says(pod, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last[pod] == text {
		return // it is tried again and again
	}
	o.last[pod] = text
	at := now()
	if o.json {
		line := event.Encode(at, event.Target{Target: "pod/" + pod, Says: text})
		o.hold(at, string(o.withPod(bytes.TrimSpace(line), pod)))
		return
	}
	o.hold(at, o.text(at, pod, words.Foreign(text)))
}

// line prints an event of a pod.
func (o *printer) line(pod string, text []byte, e event.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if flow, is := e.(event.Flow); is {
		for _, svc := range o.cfg.Services {
			form := svc.Name + "\x00pods"
			if svc.Own(flow.Flow.Server) {
				form = svc.Name + "\x00own"
			}
			o.direct[form]++
		}
	}
	if o.json {
		o.hold(e.When(), string(o.withPod(text, pod)))
		return
	}
	if says := o.of(e); says != "" {
		o.hold(e.When(), o.text(e.When(), pod, words.Foreign(says)))
	}
}

// withPod adds to a JSON object in which pod it happened.
func (o *printer) withPod(line []byte, pod string) []byte {
	of, _ := json.Marshal(struct {
		Namespace string `json:"namespace"`
		Pod       string `json:"pod"`
	}{o.cfg.Cluster.Namespace, pod})
	return append(append(bytes.TrimSuffix(line, []byte("}")), ','), of[1:]...)
}

func (o *printer) text(at time.Time, pod, says string) string {
	if pod == "" {
		pod = "-"
	}
	return at.Local().Format(clock) + "  " + pod + "  " + says
}

// of is an event in words; nothing if it is not told.
func (o *printer) of(e event.Event) string {
	ends := func(f event.Ends) string { return f.Client + " -> " + f.Server }
	switch e := e.(type) {
	case event.Ready:
		return "ready: the next matching packet is judged"
	case event.Changed:
		return "changed " + strings.Join(e.Set, ", ")
	case event.Paused:
		return "paused: no packet is judged until it is resumed"
	case event.Resumed:
		return "resumed: the next matching packet is judged"
	case event.Lost:
		return words.Plural(e.Events, "event") + " came too fast to be told"
	case event.Target:
		return "target " + e.Target + ": " + e.Says
	}
	if o.quiet {
		return ""
	}
	switch e := e.(type) {
	case event.Flow:
		if e.OpenBefore {
			return "flow    " + ends(e.Flow) + "  open before"
		}
		return "flow    " + ends(e.Flow)
	case event.Fired:
		return "fired   " + ends(e.Flow) + "  " + e.Fault + ": " + e.Text()
	case event.Outcome:
		return "outcome " + ends(e.Flow) + "  " + e.Fault + ": " + e.Text()
	}
	return ""
}

// hold has a line wait for earlier ones; the caller holds mu.
func (o *printer) hold(at time.Time, text string) {
	i, _ := slices.BinarySearchFunc(o.held, at, func(l heldLine, at time.Time) int {
		if l.at.After(at) {
			return 1
		}
		return -1
	})
	o.held = slices.Insert(o.held, i, heldLine{at, text})
	if o.timer == nil {
		o.timer = time.AfterFunc(mergeTime, o.flush)
	}
}

// flush prints the lines that are held.
func (o *printer) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range o.held {
		fmt.Fprintln(o.w, l.text)
	}
	o.held, o.timer = o.held[:0], nil
}

// end sums the run up: a line a fault in each pod, and the sums.
func (o *printer) end(struck []runs.Pod) {
	o.flush()
	if o.json {
		return
	}
	var b strings.Builder
	tab := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "  pod\tfault\tmatched\tchosen\tfired\tfelt\tdropped\tforged\t")
	var sum event.Totals
	told := 0
	for _, p := range struck {
		for _, t := range p.Totals {
			fmt.Fprintf(tab, "  %s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", p.Name, t.Fault, t.Flows, t.Chosen, t.Fired, t.Felt, t.Dropped, t.Forged, p.End)
			sum.Flows, sum.Chosen, sum.Fired, sum.Felt, sum.Dropped, sum.Forged = sum.Flows+t.Flows, sum.Chosen+t.Chosen, sum.Fired+t.Fired, sum.Felt+t.Felt, sum.Dropped+t.Dropped, sum.Forged+t.Forged
			told++
		}
		switch {
		case len(p.Totals) == 0 && p.Ready: // its events are what is known
			fmt.Fprintf(tab, "  %s\t%s\t\t%d\t%d\t\t\t\t%s\n", p.Name, strings.Join(o.cfg.Spec.FaultNames(), "+"), p.Seen.Chosen, p.Seen.Fired, p.End)
			sum.Chosen, sum.Fired = sum.Chosen+p.Seen.Chosen, sum.Fired+p.Seen.Fired
			told++
		case !p.Ready:
			fmt.Fprintf(tab, "  %s\tnot struck\t\t\t\t\t\t\t\n", p.Name)
		}
	}
	if told > 1 && len(o.cfg.Spec.Faults) == 1 {
		fmt.Fprintf(tab, "  all\t\t%d\t%d\t%d\t%d\t%d\t%d\t\n", sum.Flows, sum.Chosen, sum.Fired, sum.Felt, sum.Dropped, sum.Forged)
	}
	tab.Flush()
	if len(struck) == 0 {
		fmt.Fprintf(o.w, "\nno pod of %s was there\n", o.cfg.Selection)
		return
	}
	fmt.Fprintf(o.w, "\nended\n%s", strings.ReplaceAll(b.String(), "  \n", "\n"))
	for _, svc := range o.cfg.Services {
		own, pods := o.direct[svc.Name+"\x00own"], o.direct[svc.Name+"\x00pods"]
		switch {
		case own+pods == 0:
			fmt.Fprintf(o.w, "no connection to svc/%s was seen: neither to its own address nor to one of its pods\n", svc.Name)
		default:
			fmt.Fprintf(o.w, "svc/%s: %s had the service's own address, %s that of a pod\n", svc.Name, words.Plural(own, "connection"), words.Plural(pods, "connection"))
		}
	}
}
