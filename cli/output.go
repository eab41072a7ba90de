package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"golang.org/x/term"
)

// output tells what a run does: one event a line, as text for people or as
// JSON for programs. Several goroutines may use it.
type output struct {
	mu    sync.Mutex
	w     io.Writer
	plan  *plan
	color bool
}

func newOutput(e *env, p *plan) *output {
	o := &output{w: e.stdout, plan: p}
	if f, ok := e.stdout.(*os.File); ok {
		o.color = term.IsTerminal(int(f.Fd())) && e.getenv("NO_COLOR") == ""
	}
	return o
}

// jsonFlow is a connection in an event.
type jsonFlow struct {
	Client string `json:"client"`
	Server string `json:"server"`
}

type jsonFault struct {
	Fault     string `json:"fault"`
	Fired     uint64 `json:"fired"`
	Diverted  uint64 `json:"packets_diverted"`
	Dropped   uint64 `json:"packets_dropped"`
	Forged    uint64 `json:"packets_forged"`
	Flows     uint64 `json:"flows"`
	Chosen    uint64 `json:"chosen"`
	Overruns  uint64 `json:"queue_overruns"`
	DurationS string `json:"duration"`
}

// line writes one JSON event: time and event first, then its own fields.
func (o *output) line(at time.Time, event string, fields any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	head, _ := json.Marshal(struct {
		Time  string `json:"time"`
		Event string `json:"event"`
	}{at.Format(time.RFC3339Nano), event})
	body := []byte("{}")
	if fields != nil {
		body, _ = json.Marshal(fields)
	}
	sep := ","
	if string(body) == "{}" {
		sep = ""
	}
	fmt.Fprintf(o.w, "%s%s%s\n", head[:len(head)-1], sep, body[1:])
}

func (o *output) text(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fmt.Fprintf(o.w, format+"\n", args...)
}

func (o *output) started() {
	p := o.plan
	names := make([]string, len(p.specs))
	for i, s := range p.specs {
		names[i] = s.String()
	}
	if p.json {
		o.line(time.Now(), "started", struct {
			Faults  []string `json:"faults"`
			Seed    uint64   `json:"seed"`
			Version string   `json:"version"`
			NetNS   string   `json:"netns"`
			Rules   int      `json:"rules"`
			Repeat  string   `json:"repeat"`
		}{names, p.cfg.Seed, version(), p.netns(), len(p.cfg.Rules), p.repeat})
		return
	}
	if !p.named {
		protected := ""
		if n := len(p.cfg.Protect); n > 0 {
			protected = fmt.Sprintf(" except %d protected", n)
		}
		until := "with no end (Ctrl-C ends it)"
		if p.duration > 0 {
			until = "for " + faults.ShortDuration(p.duration)
		}
		o.text("no target: every TCP connection of this network namespace%s, %s", protected, until)
	}
	o.text("inject %s, seed %d", strings.Join(names, " and "), p.cfg.Seed)
	o.text("repeat with: %s", p.repeat)
}

func (p *plan) netns() string {
	if p.cfg.NetNS != nil {
		return p.cfg.NetNS.Name()
	}
	return "own"
}

// event is told what the injector does.
func (o *output) event(ev injector.Event) {
	flow := jsonFlow{ev.Flow.Client, ev.Flow.Server}
	switch ev.Kind {
	case injector.Ready:
		if o.plan.json {
			o.line(ev.Time, "ready", nil)
		} else {
			o.text("ready: the next matching packet is judged")
		}
	case injector.Chosen:
		if o.plan.json {
			o.line(ev.Time, "flow", struct {
				Flow      jsonFlow `json:"flow"`
				Ordinal   uint64   `json:"ordinal"`
				Midstream bool     `json:"open_before"`
			}{flow, ev.Ordinal, ev.Midstream})
			return
		}
		note := ""
		if ev.Midstream {
			note = ", open before: its numbers are learnt from here on"
		}
		o.text("%s  flow   %s -> %s%s", ev.Time.Format("15:04:05.000"), flow.Client, flow.Server, note)
	case injector.Fired:
		if o.plan.json {
			o.line(ev.Time, "fired", struct {
				Fault  string   `json:"fault"`
				Flow   jsonFlow `json:"flow"`
				Action string   `json:"action"`
				To     string   `json:"to"`
				Reason string   `json:"reason"`
			}{ev.Fault, flow, ev.Action.String(), ev.To.String(), ev.Reason})
			return
		}
		o.text("%s  fired  %s -> %s  %s: %s to %s, %s", ev.Time.Format("15:04:05.000"), flow.Client, flow.Server, ev.Fault, ev.Action, ev.To, ev.Reason)
	}
}

func (o *output) failed(code int, err error) {
	if o.plan.json {
		o.line(time.Now(), "error", struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		}{code, err.Error()})
	}
}

func (o *output) ended(s injector.Snapshot, took time.Duration) {
	took = took.Round(time.Millisecond)
	for _, r := range s.Rules {
		for _, f := range r.Faults {
			if o.plan.json {
				o.line(time.Now(), "ended", jsonFault{
					f.Name, f.Fired, f.Diverted, f.Dropped, f.Forged, r.Flows, r.Chosen, s.Overruns, took.String(),
				})
				continue
			}
			o.text("%s: fired on %d of %d chosen connections (%d matched); %d packets diverted, %d dropped, %d forged; %s",
				f.Name, f.Fired, r.Chosen, r.Flows, f.Diverted, f.Dropped, f.Forged, took)
			if f.Fired == 0 {
				o.text("%s NEVER FIRED: %s", f.Name, whyNot(r))
			}
		}
	}
	if s.Lost > 0 && !o.plan.json {
		o.text("%d events were too many to print", s.Lost)
	}
}

// whyNot says why a fault never fired and what to look at.
func whyNot(r injector.RuleStats) string {
	switch {
	case r.Flows == 0:
		return "no packet matched the target. Is the port right, where the packets are judged (behind NAT it is the container's own)? Does the traffic pass this network namespace? --dry-run shows the rules"
	case r.Chosen == 0:
		return "connections matched, but --percent, --every, --first, --skip or --new-only chose none of them"
	}
	return "its moment never came on the chosen connections: faultctl faults NAME says what it waits for"
}
