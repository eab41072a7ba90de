package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/injector"
)

// head begins every event.
type head struct {
	Time  string `json:"time"` // RFC 3339 with all nine digits of the nanoseconds
	Event string `json:"event"`
}

const nanos = "2006-01-02T15:04:05.000000000Z07:00"

func (h *host) head(event string) head { return head{h.now().Format(nanos), event} }

type flowEnds struct {
	Client string `json:"client"`
	Server string `json:"server"`
}

type ruleEvent struct {
	To     []string `json:"to"`   // as typed, ! excludes; none means every service
	From   []string `json:"from"` // as typed; none means every client
	Faults []string `json:"faults"`
}

// ruleOf is the rule of a target and faults.
func ruleOf(t *aim, specs []spec) ruleEvent {
	r := ruleEvent{To: notNil(t.to), From: notNil(t.from)}
	for _, s := range specs {
		r.Faults = append(r.Faults, s.String())
	}
	return r
}

// The network namespaces in events that have no name.
const (
	ownNetNS      = "self"     // the caller's own
	isolatedNetNS = "isolated" // made for the command, with loopback only
)

// netnsName is the network namespace of a plan in events.
func (p *plan) netnsName() string {
	if p.isolated {
		return isolatedNetNS
	}
	return cmp.Or(p.netns, ownNetNS)
}

type startedEvent struct {
	head
	Faults    []string    `json:"faults"`
	Seed      uint64      `json:"seed"`
	Version   string      `json:"version"`
	NetNS     string      `json:"netns"`
	Rules     []ruleEvent `json:"rules"`
	Protected []flowPair  `json:"protected"`
	Duration  string      `json:"duration"` // "0s": no end
	Repeat    string      `json:"repeat"`
}

// flowPair is a connection of which nobody knows who is the client.
type flowPair struct {
	A string `json:"a"`
	B string `json:"b"`
}

type readyEvent struct{ head }

type flowEvent struct {
	head
	Flow       flowEnds `json:"flow"`
	Rule       int      `json:"rule"`
	Ordinal    uint64   `json:"ordinal"`
	OpenBefore bool     `json:"open_before"`
}

type firedEvent struct {
	head
	Fault   string   `json:"fault"`
	Flow    flowEnds `json:"flow"`
	Rule    int      `json:"rule"`    // as in the connection's flow event
	Ordinal uint64   `json:"ordinal"` // likewise
	Action  string   `json:"action"`
	To      string   `json:"to"`
	Reason  string   `json:"reason"`
}

// endedEvent sums up one fault. Fired counts connections, acted how often.
type endedEvent struct {
	head
	Fault    string `json:"fault"`
	Flows    uint64 `json:"flows"`
	Chosen   uint64 `json:"chosen"`
	Fired    uint64 `json:"fired"`
	Acted    uint64 `json:"acted"`
	Diverted uint64 `json:"packets_diverted"`
	Dropped  uint64 `json:"packets_dropped"`
	Forged   uint64 `json:"packets_forged"`
	flawCounts
	Duration string `json:"duration"`
}

type errorEvent struct {
	head
	Code    int    `json:"code"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"`
}

// eventLines is held while an event is written: several goroutines of a process
// do, and each line is one of them.
var eventLines sync.Mutex

// jsonTeller writes one JSON object a line.
type jsonTeller struct {
	w    io.Writer
	host *host
}

// line writes an event in one piece.
func (j *jsonTeller) line(event any) {
	_ = j.lineAfter(func() error { return nil }, event)
}

// lineAfter writes an event once do has been done, and no other one meanwhile. If
// do fails the event is not written, and its error returned.
func (j *jsonTeller) lineAfter(do func() error, event any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(event); err != nil {
		panic(err) // unreachable: events are strings and numbers
	}
	eventLines.Lock()
	defer eventLines.Unlock()
	if err := do(); err != nil {
		return err
	}
	j.w.Write(b.Bytes())
	return nil
}

func (j *jsonTeller) started(p *plan) {
	e := startedEvent{
		head: j.host.head("started"), Seed: p.cfg.Seed, Version: version(), NetNS: p.netnsName(),
		Protected: protectedBy(&p.cfg), Duration: p.duration.String(), Repeat: p.repeat,
	}
	for _, s := range p.specs {
		e.Faults = append(e.Faults, s.Name)
	}
	e.Rules = []ruleEvent{ruleOf(p.target, p.specs)}
	j.line(e)
}

// protectedBy lists the connections that a run leaves alone, whatever matches.
func protectedBy(cfg *injector.Config) []flowPair {
	pairs := []flowPair{}
	for _, t := range cfg.Protect {
		pairs = append(pairs, flowPair{t.A.String(), t.B.String()})
	}
	return pairs
}

func notNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func (j *jsonTeller) event(ev injector.Event) {
	flow := flowEnds(ev.Flow)
	at := ev.Time.Format(nanos)
	switch ev.Kind {
	case injector.Ready:
		j.line(readyEvent{head{at, "ready"}})
	case injector.Chosen:
		j.line(flowEvent{head{at, "flow"}, flow, ev.Rule, ev.Ordinal, ev.Midstream})
	case injector.Fired:
		j.line(firedEvent{head{at, "fired"}, ev.Fault, flow, ev.Rule, ev.Ordinal, ev.Action.String(), ev.To.String(), ev.Reason})
	}
}

func (j *jsonTeller) tick(injector.Snapshot, time.Duration, time.Duration) {}

func (j *jsonTeller) ended(s injector.Snapshot, took time.Duration) {
	for _, r := range s.Rules {
		for _, f := range r.Faults {
			j.line(endedOf(j.host.head("ended"), s, r, f, took))
		}
	}
}

func endedOf(at head, s injector.Snapshot, r injector.RuleStats, f injector.FaultStats, took time.Duration) endedEvent {
	return endedEvent{
		head: at, Fault: f.Name, Flows: r.Flows, Chosen: r.Chosen, Fired: f.Fired, Acted: f.Acted,
		Diverted: f.Diverted, Dropped: f.Dropped, Forged: f.Forged,
		flawCounts: countFlaws(s), Duration: took.Round(time.Millisecond).String(),
	}
}

type targetEvent struct {
	head
	Target string `json:"target"` // a host name or a container, as given
	Says   string `json:"says"`
}

func (j *jsonTeller) target(c targetChange) {
	j.line(targetEvent{head{c.at.Format(nanos), "target"}, c.target, c.says})
}

// teller makes the one that the plan asks for.
func (h *host) teller(p *plan, w io.Writer) teller {
	if p.json {
		return &jsonTeller{w: w, host: h}
	}
	if p.command != nil {
		return &textTeller{w: w, paint: h.paint(), width: h.columns(), plan: p} // a live line would mix with the command's output
	}
	return &textTeller{w: w, live: h.terminal, paint: h.paint(), width: h.columns(), screen: h.screen, now: h.now, plan: p}
}

// plural writes a count with its noun.
func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func endsAfter(d time.Duration) string {
	if d == 0 {
		return "until Ctrl-C"
	}
	return "for " + words.ShortDuration(d)
}
