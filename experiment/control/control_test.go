package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
)

// engine is an engine that does nothing until it is stopped.
type engine struct {
	cfg     injector.Config
	done    chan struct{}
	refuses error // to change models
	asked   []string
	unknown error // what is said of single connections
}

func (e *engine) Stats() injector.Snapshot {
	return injector.Snapshot{Diverted: 9, Rules: []injector.RuleStats{{Flows: 4, Chosen: 2, Faults: []injector.FaultStats{{Name: "delay", Fired: 1}}}}}
}
func (e *engine) Ruleset() string                    { return "" }
func (e *engine) Retarget(int, target.Matcher) error { return nil }
func (e *engine) SetShare(int, float64) error        { return nil }
func (e *engine) Strike(_ int, client, server netip.AddrPort) (injector.When, error) {
	e.asked = append(e.asked, "strike "+client.String()+" "+server.String())
	return injector.AsSet, e.unknown
}
func (e *engine) Spare(_ int, client, server netip.AddrPort) error {
	e.asked = append(e.asked, "spare "+client.String()+" "+server.String())
	return e.unknown
}
func (e *engine) Unchosen(_, limit int) []injector.Flow {
	return []injector.Flow{{Client: "10.0.0.9:1", Server: "10.0.0.2:5432"}}[:min(1, limit)]
}
func (e *engine) SetModels(int, []injector.NamedModel) error { return e.refuses }
func (e *engine) Pause() error                               { return nil }
func (e *engine) Resume() error                              { return nil }
func (e *engine) Stop() error                                { return nil }
func (e *engine) Done() <-chan struct{}                      { return e.done }
func (e *engine) Wait() error                                { <-e.done; return nil }

// begin starts a run of a registry.
func begin(t *testing.T, g *Registry, spec string) (*experiment.Run, *engine) {
	t.Helper()
	sys, e := experiment.NewSystem(), &engine{done: make(chan struct{})}
	sys.Proc = t.TempDir()
	sys.Began = g.Add
	sys.Start = func(ctx context.Context, cfg injector.Config) (experiment.Engine, error) {
		e.cfg = cfg
		cfg.OnEvent(injector.Event{Kind: injector.Ready, Time: time.Now()})
		context.AfterFunc(ctx, func() { close(e.done) })
		return e, nil
	}
	sys.Translations = func(*os.File, target.Matcher) ([]injector.Translation, error) { return nil, nil }
	s, err := experiment.ParseSpec([]byte(spec))
	if err != nil {
		t.Fatal(err)
	}
	p, err := sys.Plan(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	run, err := experiment.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run.Stop(); p.Close() })
	return run, e
}

const delay = `{fault: "delay:by=50ms", target: {to: ":5432"}}`

// served is a registry that answers on a socket of its own.
func served(t *testing.T) (*Registry, *Found) {
	t.Helper()
	g := NewRegistry("inject", []string{"faultctl", "inject", "delay"})
	l, err := g.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	f, err := ask(t.Context(), socketName+g.ID(), "")
	if err != nil {
		t.Fatal(err)
	}
	return g, f
}

// TestProcess holds what a process says of itself, and that it does all that the
// client can ask for.
func TestProcess(t *testing.T) {
	g, f := served(t)
	stopped := make(chan bool, 1)
	g.Stop = func() { stopped <- true }
	run, _ := begin(t, g, delay)
	second, _ := begin(t, g, delay)
	p, err := f.Client.Process(t.Context())
	if err != nil || f.Pid != os.Getpid() || f.UID != os.Geteuid() || p.Command != "inject" || len(p.Experiments) != 2 {
		t.Fatalf("%+v, %v", p, err)
	}
	x := p.Experiments[0]
	if x.Name != "delay" || p.Experiments[1].Name != "delay#2" || x.State != Running || x.Counts.Chosen != 2 || x.Counts.Diverted != 9 || x.Ready == nil || x.Ends != nil {
		t.Errorf("%+v", x)
	}
	if x, err = f.Client.Change(t.Context(), "delay", map[string]any{"target": map[string]any{"percent": 20}, "fault": []string{"delay:by=80ms"}}); err != nil {
		t.Fatal(err)
	}
	if s := run.Spec(); *s.Target.Percent != 20 || x.Faults[0] != "delay:by=80ms" {
		t.Errorf("%+v, %+v", s, x)
	}
	if err := f.Client.PauseRun(t.Context(), "delay#2"); err != nil || !second.Paused() || run.Paused() {
		t.Errorf("%v", err)
	}
	if err := f.Client.ResumeRun(t.Context(), "delay#2"); err != nil || second.Paused() {
		t.Errorf("%v", err)
	}
	if err := f.Client.Pause(t.Context()); err != nil || !second.Paused() || !run.Paused() {
		t.Errorf("%v", err)
	}
	if third, _ := begin(t, g, delay); !third.Paused() {
		t.Error("a run that begins while all are paused is not")
	}
	if err := f.Client.Resume(t.Context()); err != nil || second.Paused() {
		t.Errorf("%v", err)
	}
	if err := f.Client.StopRun(t.Context(), "delay#2"); err != nil {
		t.Error(err)
	}
	<-second.Done()
	if err := f.Client.Stop(t.Context()); err != nil || !<-stopped {
		t.Error(err)
	}
	run.Stop()
	by := 0
	for e := range run.Events() {
		var a *event.Actor
		switch e := e.(type) {
		case event.Changed:
			a = e.By
		case event.Paused:
			a = e.By
		case event.Resumed:
			a = e.By
		case event.Stopped:
			a = e.By
		default:
			continue
		}
		if by++; a == nil || a.PID != os.Getpid() || a.UID != os.Geteuid() {
			t.Errorf("%T by %+v", e, a)
		}
	}
	if by != 4 {
		t.Errorf("%d changes", by)
	}
}

// TestRefusals holds that an error has the field and the advice that the command
// line has, and that nothing is half changed.
func TestRefusals(t *testing.T) {
	g, f := served(t)
	run, e := begin(t, g, delay)
	before := run.Spec()
	for body, want := range map[string]string{
		`{"target":{"percent":101}}`:                                "422 percent 2",
		`{"target":{"percnt":10}}`:                                  "422 target.percnt 2",
		`{"target":{"percent":5},"fault":["delay:by=3"]}`:           "422 fault.by 2",
		`{"duration":"5s"}`:                                         "422 duration 2",
		`{"fault":["reset"]}`:                                       "422 fault 2",
		`{"target":{"percent":5},"fault":["delay:by=3s"],"seed":1}`: "422 seed 2",
		`[]`: "422  2",
		`{`:  "400  2",
		`{"target":{"to":"` + strings.Repeat("x", largestBody) + `"}}`: "413  2",
	} {
		req, _ := http.NewRequestWithContext(t.Context(), "PATCH", "http://faultctl/v1/experiments/delay", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		resp, err := f.Client.http.Do(req)
		if err != nil {
			t.Fatalf("%.60s: %v", body, err)
		}
		var p Problem
		if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%.60s: %v, %v", body, err, resp.Header)
		}
		resp.Body.Close()
		if got := fmt.Sprintf("%d %s %d", p.Status, p.Field, p.Code); got != want || p.Status != resp.StatusCode {
			t.Errorf("%.60s: %s, want %s: %+v", body, got, want, p)
		}
	}
	e.refuses = errors.New("not while it goes on")
	_, err := f.Client.Change(t.Context(), "delay", map[string]any{"target": map[string]any{"percent": 20}, "fault": []string{"delay:by=80ms"}})
	if err == nil || event.AdviceOf(err) == "" {
		t.Errorf("%v", err)
	}
	if after := run.Spec(); string(after.Data()) != string(before.Data()) {
		t.Errorf("%s, %s before", after.Data(), before.Data())
	}
	if err := f.Client.PauseRun(t.Context(), "nope"); err == nil || !strings.Contains(err.Error(), "no such run") || !strings.Contains(event.AdviceOf(err), "delay") {
		t.Errorf("%v", err)
	}
}

// TestEvents holds that events are streamed as lines and as SSE, from where a
// reader has come to.
func TestEvents(t *testing.T) {
	g, f := served(t)
	run, _ := begin(t, g, delay)
	run.Pause()
	read := func(path, accept, id string, lines int) (all []string) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://faultctl"+path, nil)
		req.Header.Set("Accept", accept)
		if id != "" {
			req.Header.Set("Last-Event-ID", id)
		}
		resp, err := f.Client.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		for s := bufio.NewScanner(resp.Body); len(all) < lines && s.Scan(); {
			all = append(all, s.Text())
		}
		return all
	}
	lines := read("/v1/events", "", "", 3)
	var e struct{ Event, Experiment string }
	if err := json.Unmarshal([]byte(lines[2]), &e); err != nil || e.Event != "paused" || e.Experiment != "delay" {
		t.Errorf("%v: %s", err, lines)
	}
	if sse := read("/v1/events", "text/event-stream", g.ID()+"-2", 3); sse[0] != "id: "+g.ID()+"-3" || sse[1] != "event: paused" || !strings.HasPrefix(sse[2], `data: {"time":`) {
		t.Errorf("%q", sse)
	}
	if all := read("/v1/events", "text/event-stream", "another-2", 1); all[0] != "id: "+g.ID()+"-1" {
		t.Errorf("an id of another process: %q", all)
	}
	if rest := read("/v1/events?follow=false&after=1", "", "", 100); len(rest) != 2 {
		t.Errorf("%q", rest)
	}
}

// TestRing holds that a reader who is slow is told what was lost.
func TestRing(t *testing.T) {
	var r ring
	for range 3*kept + 5 {
		r.add("x", event.Ready{})
	}
	lines, lost := r.after(t.Context(), 2)
	if lost != kept-2+kept || uint64(len(lines))+lost+2 != 3*kept+5 {
		t.Errorf("%d lost, %d lines", lost, len(lines))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if lines, _ = r.after(ctx, 3*kept+5); lines != nil {
		t.Errorf("%v", lines)
	}
}

// TestSingle holds that one connection is struck and spared by its id, that who asked
// is told, and what is answered where that cannot be.
func TestSingle(t *testing.T) {
	g, f := served(t)
	run, e := begin(t, g, delay)
	ends := injector.Flow{Client: "10.0.0.1:1", Server: "[fd00::2]:5432"}
	e.cfg.OnEvent(injector.Event{Kind: injector.Chosen, Time: time.Now(), Flow: ends})
	rows := func() []Connection {
		_, body := send(t, g.Handler(), "GET", "/v1/connections?all=true", "")
		var list Connections
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatal(err)
		}
		return list.Connections
	}
	await(t, func() bool { return len(rows()) == 2 })
	row := rows()[0]
	if other := rows()[1]; row.ID != "delay,10.0.0.1:1,[fd00::2]:5432" || other.State != "not chosen" || other.ID != "delay,10.0.0.9:1,10.0.0.2:5432" {
		t.Errorf("%+v", rows())
	}
	if err := f.Client.Spare(t.Context(), row.ID); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return rows()[0].State == "spared" })
	if s, err := f.Client.Strike(t.Context(), row.ID); err != nil || s.When != "as set" {
		t.Fatal(s, err)
	}
	await(t, func() bool { return rows()[0].State == "chosen" })
	if want := []string{"spare 10.0.0.1:1 [fd00::2]:5432", "strike 10.0.0.1:1 [fd00::2]:5432"}; !slices.Equal(e.asked, want) {
		t.Errorf("%q", e.asked)
	}
	for id, want := range map[string]int{"delay": 422, "delay,a,b": 422, "other,1.2.3.4:5,1.2.3.4:6": 404} {
		if status, body := send(t, g.Handler(), "POST", "/v1/connections/"+id+"/strike", ""); status != want || !strings.Contains(body, `"advice"`) {
			t.Errorf("%s: %d, want %d: %s", id, status, want, body)
		}
	}
	for err, want := range map[error]int{injector.ErrNoConnection: 404, injector.ErrNotJudging: 409} {
		e.unknown = err
		for _, do := range []string{"strike", "spare"} {
			if status, body := send(t, g.Handler(), "POST", "/v1/connections/"+url.PathEscape(row.ID)+"/"+do, ""); status != want || !strings.Contains(body, `"advice"`) {
				t.Errorf("%v: %d, want %d: %s", err, status, want, body)
			}
		}
	}
	run.Stop()
	for ev := range run.Events() {
		switch ev := ev.(type) {
		case event.Picked:
			if ev.By == nil || ev.By.PID != os.Getpid() || ev.Moment != "as set" {
				t.Errorf("%+v", ev)
			}
		case event.Spared:
			if ev.By == nil || ev.By.PID != os.Getpid() {
				t.Errorf("%+v", ev)
			}
		}
	}
}

// TestTable holds what becomes of connections, and that a table does not grow
// without end.
func TestTable(t *testing.T) {
	var tab table
	ends := event.Ends{Client: "10.0.0.1:1", Server: "10.0.0.2:2"}
	at := time.Now()
	tab.add(1, "a", event.Stamp(at, event.Flow{Flow: ends}))
	tab.add(1, "a", event.Stamp(at, event.Fired{Flow: ends, Fault: "reset", Action: "rst"}))
	rows, _ := tab.list("", time.Time{}, 10)
	if len(rows) != 1 || rows[0].State != "fired" || rows[0].Action != "rst" {
		t.Errorf("%+v", rows)
	}
	yes, no := event.OutcomeStep{Answer: "yes"}, event.OutcomeStep{Answer: "no"}
	for want, e := range map[string]event.Outcome{
		"felt": {Struck: true, Sent: yes, Accepted: yes, Felt: yes}, "not felt": {Struck: true, Sent: yes, Accepted: yes, Felt: no},
		"not accepted": {Struck: true, Sent: yes, Accepted: no}, "unsent": {Struck: true, Sent: no}, "sent": {Struck: true, Sent: yes}, "not struck": {},
	} {
		e.Flow = ends
		tab.add(1, "a", event.Stamp(at, e))
		if rows, _ := tab.list("a", time.Time{}, 10); rows[0].State != want {
			t.Errorf("%s, want %s", rows[0].State, want)
		}
	}
	for n := range uint64(3 * mostRows) {
		tab.add(2, "b", event.Stamp(at.Add(time.Duration(n)), event.Flow{Flow: ends, Ordinal: n}))
	}
	rows, left := tab.list("", time.Time{}, 100)
	if len(tab.rows) > mostRows || len(tab.rows) != len(tab.order) || len(rows) != 100 || left != 3*mostRows+1-100 || rows[0].Ordinal != 3*mostRows-1 {
		t.Errorf("%d rows, %d left", len(tab.rows), left)
	}
}

// TestNewID holds that names differ, and cannot be taken for process IDs.
func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 10_000 {
		id := newID()
		if len(id) != 8 || id[0] < 'a' || id[0] > 'z' || seen[id] {
			t.Fatal(id)
		}
		seen[id] = true
	}
}
