package scenario

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/document"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const full = `# a game day
name: pool
description: |
  Two lines
  of text.
seed: 7
duration: 2m
deadline: 5m
target: &db
  to: [":5432", "!:22"]
  new-only: true
faults:
  - fault: idle-expire:after=30s,then=silent
    start: 10s
    pulse: {on: 5s, off: 10s}
    target: {to: db.internal:5432, percent: 12.5%}
  - name: slow
    fault: {delay: {by: 20ms}}
    start: 1m
    duration: 30s
    ramp: {to: 50, over: 10s, steps: 4}
    must-fire: false
  - name: merged
    fault:
      reset:
    target: {<<: *db, netns: web}
    must-fire: 3
probes:
  - name: orders
    http: http://127.0.0.1:8080/orders
    tolerance: 5%
  - name: port
    tcp: {address: "[::1]:5432", send: "x", expect: "y"}
    when: [during]
    interval: 1s
    timeout: 500ms
    tolerance: 2
  - name: ping
    command: redis-cli ping
    when: [before]
  - name: exact
    command: [redis-cli, -p, 6379]
    http:
abort:
  - {probe: orders, failing-for: 10s}
  - {probe: port, failures: 5}
  - probe: orders
`

func ptr[T any](v T) *T { return &v }

func TestParse(t *testing.T) {
	text := strings.Replace(full, "    http:\n", "", 1)
	s, err := Parse("dir/pool.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	sec := func(n float64) Duration { return Duration(n * float64(time.Second)) }
	all := []Phase{Before, During, After}
	want := &Scenario{
		Name: "pool", Description: "Two lines\nof text.\n", Seed: ptr(uint64(7)), Duration: sec(120), Deadline: sec(300),
		Faults: []Entry{
			{
				Name: "idle-expire:after=30s,then=silent",
				Spec: experiment.Spec{
					Faults: []faults.Spec{{Name: "idle-expire", Knobs: [][2]string{{"after", "30s"}, {"then", "silent"}}}},
					Target: experiment.Target{To: []string{"db.internal:5432"}, Percent: ptr(12.5), NewOnly: true},
				},
				Start: sec(10), Duration: sec(110), Pulse: &Pulse{sec(5), sec(10)}, MustFire: Count{N: 1},
			},
			{
				Name: "slow",
				Spec: experiment.Spec{
					Faults: []faults.Spec{{Name: "delay", Knobs: [][2]string{{"by", "20ms"}}}},
					Target: experiment.Target{To: []string{":5432", "!:22"}, NewOnly: true},
				},
				Start: sec(60), Duration: sec(30), Ramp: &Ramp{0, 50, sec(10), 4}, MustFire: Count{said: true},
			},
			{
				Name: "merged",
				Spec: experiment.Spec{
					Faults: []faults.Spec{{Name: "reset"}},
					Target: experiment.Target{To: []string{":5432", "!:22"}, NewOnly: true, NetNS: "web"},
				},
				Duration: sec(120), MustFire: Count{N: 3, said: true},
			},
		},
		Probes: []Probe{
			{
				Name: "orders", HTTP: &HTTP{URL: "http://127.0.0.1:8080/orders", Method: "GET", Status: Status{200, 299}},
				When: all, Interval: sec(2), Timeout: sec(2), Tolerance: Tolerance{Share: 0.05}, Recovery: ptr(sec(10)),
			},
			{
				Name: "port", TCP: &TCP{"[::1]:5432", "x", "y"}, When: []Phase{During},
				Interval: sec(1), Timeout: sec(0.5), Tolerance: Tolerance{Tries: 2}, Recovery: ptr(sec(10)),
			},
			{Name: "ping", Command: Command{"sh", "-c", "redis-cli ping"}, When: []Phase{Before}, Interval: sec(2), Timeout: sec(2), Recovery: ptr(sec(10))},
			{Name: "exact", Command: Command{"redis-cli", "-p", "6379"}, When: all, Interval: sec(2), Timeout: sec(2), Recovery: ptr(sec(10))},
		},
		Abort: []Abort{{Probe: "orders", FailingFor: sec(10)}, {Probe: "port", Failures: 5}, {Probe: "orders", Failures: 1}},
	}
	if d := cmp.Diff(want, s, cmpopts.IgnoreUnexported(Scenario{}), cmp.AllowUnexported(Count{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// The defaults that the schema tells of are those that are filled in.
func TestDefaults(t *testing.T) {
	s, err := Parse("a/b/night.yaml", []byte("faults: [{fault: reset, duration: 1m, ramp: {to: 1, over: 1s}}]\nprobes: [{name: p, http: http://h}]\nabort: [{probe: p}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	says := func(def, key string) string {
		p := language().tree["$defs"].(map[string]any)[def].(map[string]any)["properties"].(map[string]any)[key].(map[string]any)
		return fmt.Sprint(p["default"])
	}
	short := func(d Duration) string { return words.ShortDuration(time.Duration(d)) }
	p, f := s.Probes[0], s.Faults[0]
	for what, pair := range map[string][2]string{
		"interval":  {says("probe", "interval"), short(p.Interval)},
		"timeout":   {says("probe", "timeout"), short(p.Timeout)},
		"recovery":  {says("probe", "recovery"), short(*p.Recovery)},
		"tolerance": {says("probe", "tolerance"), p.Tolerance.String()},
		"when":      {says("probe", "when"), "[" + string(p.When[0]) + ", " + string(p.When[1]) + ", " + string(p.When[2]) + "]"},
		"method":    {says("http", "method"), p.HTTP.Method},
		"status":    {says("http", "status"), p.HTTP.Status.String()},
		"insecure":  {says("http", "insecure"), fmt.Sprint(p.HTTP.Insecure)},
		"keepalive": {says("http", "keepalive"), fmt.Sprint(p.HTTP.Keepalive)},
		"start":     {says("step", "start"), short(f.Start)},
		"must-fire": {says("step", "must-fire"), fmt.Sprint(f.MustFire.N)},
		"from":      {says("ramp", "from"), fmt.Sprint(f.Ramp.From)},
		"steps":     {says("ramp", "steps"), fmt.Sprint(f.Ramp.Steps)},
		"failures":  {says("abort", "failures"), fmt.Sprintf("%d without failing-for", s.Abort[0].Failures)},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: the schema says %s, the code %s", what, pair[0], pair[1])
		}
	}
	if s.Name != "night" || short(s.Duration) != "1m" || short(s.Deadline) != "1m44s" {
		t.Errorf("name %s, duration %s, deadline %s", s.Name, short(s.Duration), short(s.Deadline))
	}
}

// Every key of the schema has a field, and every field a key.
func TestSchemaHasEveryField(t *testing.T) {
	for def, of := range map[string]any{"": Scenario{}, "step": Entry{}, "pulse": Pulse{}, "ramp": Ramp{}, "probe": Probe{}, "http": HTTP{}, "tcp": TCP{}, "abort": Abort{}} {
		schema := language().tree
		if def != "" {
			schema = schema["$defs"].(map[string]any)[def].(map[string]any)
		}
		var keys, fields []string
		for k, v := range schema["properties"].(map[string]any) {
			keys = append(keys, k)
			if v.(map[string]any)["description"] == nil {
				t.Errorf("%s.%s has no description", def, k)
			}
		}
		for f := range reflect.TypeOf(of).Fields() {
			if tag := f.Tag.Get("json"); tag != "" && tag != "-" {
				fields = append(fields, tag)
			}
		}
		switch of.(type) { // the Specs of the entries say these
		case Scenario:
			fields = append(fields, "target")
		case Entry:
			fields = append(fields, "fault", "target")
		}
		slices.Sort(keys)
		slices.Sort(fields)
		if d := cmp.Diff(keys, fields); d != "" {
			t.Errorf("%s: keys of the schema and fields of the type (-schema +type):\n%s", def, d)
		}
	}
}

// Whatever the schema accepts, the types read: every setting of every fault, by
// its default.
func TestEveryFault(t *testing.T) {
	for _, k := range faults.Catalog {
		file := "faults:\n  - duration: 1s\n    fault:\n      " + k.Name + ":\n"
		for _, knob := range faults.Knobs(k.New()) {
			v := fmt.Sprintf("%q", knob.Default)
			if knob.Type == "bool" || knob.Type == "int" {
				v = knob.Default
			}
			file += "        " + knob.Name + ": " + v + "\n"
		}
		d, err := document.Read("scenario", "f", []byte(file))
		if err != nil {
			t.Fatal(err)
		}
		if ps := language().schema.Check(d); ps != nil {
			t.Errorf("%s: %v", k.Name, ps)
		}
		spec, entry := experiment.Spec{}, d.Look([]string{"faults", "0"}).(map[string]any)
		for _, e := range spec.SetTree(map[string]any{"fault": entry["fault"]}) {
			if errors.Is(e, experiment.ErrShape) { // a default may mean that it must be set
				t.Errorf("%s: the schema accepts what is refused: %v", k.Name, e)
			}
		}
	}
}

// Each word of a target and each setting that is wrong is told of, in its place.
func TestSpecProblems(t *testing.T) {
	for file, want := range map[string][]string{
		"target: {to: \":80 :99999\"}\nfaults: [{fault: reset, duration: 1s}, {name: b, fault: reset, duration: 1s}]\n": {`f:1:14: target.to: :99999: "99999" is not a port from 1 to 65535`},
		"faults: [{fault: reset, duration: 1s, target: {to: 5432}}]\n":                                                  {`f:1:52: faults[0].target.to: 5432: a port stands behind a colon: did you mean :5432?`},
		"faults: [{fault: reset, duration: 1s, target: {every: 0}}]\n":                                                  {`f:1:55: faults[0].target.every: 0: not a whole number from 1 on`},
		"faults: [{fault: reset, duration: 1s, target: {to: []}}]\n":                                                    {`f:1:52: faults[0].target.to: is empty`},
		"faults: [{fault: reset, duration: 1s, target: {to: '10.0.0.1:80', from: '::1'}}]\n":                            {`f:1:52: faults[0].target.to: target.to and target.from: one names IPv4 addresses only, the other IPv6 addresses only: no connection has both`},
		"faults: [{fault: reset, duration: 1s, target: {netns: a, pid: 7}}]\n":                                          {`f:1:55: faults[0].target.netns: target.netns a and target.pid 7 both name a network namespace: give one`},
		"faults: [{fault: \"syn-drop,reset\", duration: 1s}]\n":                                                         {"f:1:18: faults[0].fault: these faults contradict each other: syn-drop drops every SYN, so reset never sees a connection: give syn-drop attempts or backlog, or leave one of them out"},
		"faults: [{fault: idle-expire, duration: 1s}]\n":                                                                {"f:1:18: faults[0].fault: idle-expire: after: how long may a flow be idle? Give a time, such as 300s, or a preset"},
		"faults: [{fault: {loss: {rate: 2, to: noone}}, duration: 1s, target: {to: 80, from: x/y}}]\n":                  {`f:1:32: faults[0].fault.loss.rate: "2" lies outside 0% to 100%`, `f:1:35: faults[0].fault.loss: unknown key "to"`, "f:1:75: faults[0].target.to: 80: a port stands behind a colon: did you mean :80?", `f:1:85: faults[0].target.from: x/y: "x/y" is not a CIDR`},
		"faults: [{fault: rset, duration: 1m}, {fault: \"reset:hit=cliet\", duration: 60, target: {too: 1, to: 80}}]\n": {
			`f:1:18: faults[0].fault: unknown fault "rset", did you mean "reset"?`,
			`f:1:47: faults[1].fault: reset: hit: "cliet" is neither client, server nor both`,
			`f:1:76: faults[1].duration: "60" has no unit: did you mean 60s?`,
			`f:1:89: faults[1].target: unknown key "too", did you mean "to"?`,
			`f:1:101: faults[1].target.to: 80: a port stands behind a colon: did you mean :80?`,
		},
	} {
		_, err := Parse("f", []byte(file))
		ps, _ := err.(document.Problems)
		var got []string
		for _, p := range ps {
			got = append(got, p.String())
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", file, d)
		}
		if len(ps) > 0 && ps[0].Advice == "" && !strings.Contains(file, "netns") && !strings.Contains(file, "every") && !strings.Contains(file, "syn-drop") && !strings.Contains(file, "99999") {
			t.Errorf("%s: no advice: %+v", file, ps[0])
		}
	}
}

// crowd is so many faults at once.
func crowd(n int) (lines string) {
	for i := range n {
		lines += fmt.Sprintf("  - {fault: reset, name: n%d}\n", i)
	}
	return lines
}

func TestProblems(t *testing.T) {
	const ok = "faults:\n  - fault: reset\n    duration: 1m\n"
	for file, want := range map[string][]string{
		"":                                      {"f:1:1: the file is empty"},
		"- x":                                   {"f:1:1: this is a list; it must be a mapping"},
		strings.Repeat("s", 50):                 {`f:1:1: "` + strings.Repeat("s", 40) + `"…; it must be a mapping`},
		strings.Repeat("ä", 40):                 {`f:1:1: "` + strings.Repeat("ä", 40) + `"; it must be a mapping`},
		"a: b: c":                               {"f:1:1: this is not YAML: mapping values are not allowed in this context"},
		"faults: [\n":                           {"f:1:1: this is not YAML: did not find expected node content"},
		ok + "---\na: 1\n":                      {"f:5:1: a second document; a file holds one scenario"},
		ok + "name: a\nname: b\n":               {`f:5:1: "name" is here twice`},
		ok + "name: *a\n":                       {"f:4:7: no anchor &a stands before this"},
		ok + "name: &a [*a]\n":                  {"f:4:11: name[0]: no anchor &a stands before this"},
		"name: x\n":                             {`f:1:1: "faults" is missing`},
		"faults: []\n":                          {"f:1:9: faults: it is empty"},
		ok + "probs: []\n":                      {`f:4:1: unknown key "probs", did you mean "probes"?`},
		ok + "    durtion: 3s\n":                {`f:4:5: faults[0]: unknown key "durtion", did you mean "duration"?`},
		ok + "    start: 60\n":                  {`f:4:12: faults[0].start: "60" has no unit: did you mean 60s?`},
		ok + "    start: soon\n":                {`f:4:12: faults[0].start: "soon" is not a duration: write 300s, 5m or 1h30m`},
		ok + "    start: [1s]\n":                {"f:4:12: faults[0].start: this is a list; it must be a duration, such as 300s, 5m or 1h30m"},
		ok + "    target: {too: x}":             {`f:4:14: faults[0].target: unknown key "too", did you mean "to"?`},
		ok + "    target: {netns: true}\n":      {"f:4:21: faults[0].target.netns: true; it must be a text or a number"},
		ok + "    target: {new-only: 1}\n":      {"f:4:24: faults[0].target.new-only: 1; it must be true or false"},
		ok + "    target: {percent: 120}\n":     {"f:4:23: faults[0].target.percent: 120 is more than 100"},
		ok + "    target: {percent: many}\n":    {`f:4:23: faults[0].target.percent: "many" does not fit: from 0 to 100, with or without %`},
		ok + "    must-fire: -1\n":              {"f:4:16: faults[0].must-fire: -1 is less than 0"},
		ok + "    start: 1m\n":                  nil,
		ok + "duration: 1m\n":                   nil,
		ok + "    start: 1m\nduration: 1m\n":    {"f:4:12: faults[0].start: it would begin after 1m, when the scenario's duration of 1m is over"},
		ok + "    start: 10s\nduration: 1m\n":   {"f:3:15: faults[0].duration: it would last until 1m10s, longer than the scenario's duration of 1m"},
		ok + "    pulse: {on: 1s}\n":            {`f:4:12: faults[0].pulse: "off" is missing`},
		ok + "    pulse: {on: 1s, off: 0s}\n":   {"f:4:12: faults[0].pulse: on and off must be longer than nothing"},
		ok + "    pulse: {on: 1us, off: 1us}\n": {"f:4:12: faults[0].pulse: these would be more than 10000 pulses"},
		ok + "    ramp: {to: 10, over: 2m}\n":   {"f:4:26: faults[0].ramp.over: it must be longer than nothing, and at most as long as the fault lasts, 1m"},
		ok + "    ramp: {to: 10, over: 1m}\ntarget: {percent: 3}\n":                {"f:4:11: faults[0].ramp: ramp and percent both say which share is struck: leave one out"},
		ok + "  - {fault: reset, duration: 1s}\n":                                  {`f:4:5: faults[1]: there are two faults of the name "reset": give each a name`},
		"faults: [{fault: reset}]\n":                                               {"f:1:10: faults[0]: nothing says how long it lasts: give it a duration, or the scenario"},
		"faults: [{fault: {rset: }, duration: 1s}]\n":                              {`f:1:19: faults[0].fault: unknown fault "rset", did you mean "reset"?`},
		"faults: [{fault: {reset: {hot: 1}}, duration: 1s}]\n":                     {`f:1:27: faults[0].fault.reset: unknown key "hot", did you mean "hit"?`},
		"faults: [{fault: {reset: {hit: cliet}}, duration: 1s}]\n":                 {`f:1:32: faults[0].fault.reset.hit: "cliet" is neither client, server nor both`},
		"faults: [{fault: {idle-expire: {then: rst}}, duration: 1s}]\n":            {`f:1:39: faults[0].fault.idle-expire.then: "rst" is none of rst-next, silent, rst-both, fin-both, client-only, inside-only, did you mean "rst-next"?`},
		"faults: [{fault: {reset: , delay: }, duration: 1s}]\n":                    {"f:1:18: faults[0].fault: it names 2 faults; one entry has one, or a SPEC with several"},
		"faults: [{fault: [reset], duration: 1s}]\n":                               {"f:1:18: faults[0].fault: this is a list; it must be a text or a mapping"},
		ok + "probes: [{name: p}]\n":                                               {"f:4:10: probes[0]: a probe is exactly one of http, tcp and command"},
		ok + "probes: [{name: p, tcp: h:1, http: http://h}]\n":                     {"f:4:10: probes[0]: a probe is exactly one of http, tcp and command"},
		ok + "probes: [{name: p, http: {}}]\n":                                     {`f:4:26: probes[0].http: "url" is missing`},
		ok + "probes: [{name: p, http: ftp://h}]\n":                                {`f:4:26: probes[0].http.url: "ftp://h" does not begin with http:// or https://`},
		ok + "probes: [{name: p, http: {url: http://h, status: 2xx}}]\n":           {`f:4:50: probes[0].http.status: "2xx" does not fit: the status of the answer, or a range such as 200-399`},
		ok + "probes: [{name: p, tcp: \"h\"}]\n":                                   {`f:4:25: probes[0].tcp.address: "h" is not HOST:PORT`},
		ok + "probes: [{name: p, tcp: \"h:http\"}]\n":                              {`f:4:25: probes[0].tcp.address: "http" is not a port from 1 to 65535`},
		ok + "probes: [{name: p, tcp: h:1, when: [durin]}]\n":                      {`f:4:37: probes[0].when[0]: "durin" is none of before, during, after, did you mean "during"?`},
		ok + "probes: [{name: p, tcp: h:1, when: [after, after]}]\n":               {"f:4:36: probes[0].when: something is here twice"},
		ok + "probes: [{name: p, tcp: h:1, interval: 0s}]\n":                       {"f:4:40: probes[0].interval: it must be longer than nothing"},
		ok + "probes: [{name: p, tcp: h:1}, {name: p, tcp: h:2}]\n":                {`f:4:38: probes[1].name: there are two probes of the name "p"`},
		ok + "probes: [{name: orders, tcp: h:1}]\nabort: [{probe: order}]\n":       {`f:5:17: abort[0].probe: there is no probe "order", did you mean "orders"?`},
		ok + "probes: [{name: p, tcp: h:1, when: [after]}]\nabort: [{probe: p}]\n": {`f:5:17: abort[0].probe: the probe "p" is not asked during the timeline: add during to its when`},
		ok + "deadline: 30s\n":                                                     {"f:4:11: deadline: it comes before the timeline is over, which takes 1m"},
		"duration: 1s\nfaults:\n" + "  - {fault: reset, name: x}\n" + crowd(20):    {"f:23:5: faults[20]: more than 20 faults would be active at the same time"},
		"duration: 1s\nfaults:\n" + crowd(20):                                      nil,
		ok + "seed: -1\n":                                                          {"f:4:7: seed: -1 is less than 0"},
		ok + "seed: 1.5\n":                                                         {"f:4:7: seed: 1.5; it must be a whole number"},
		"x: 1\nfaults:\n  - fault: {rset: }\n    duration: 5\n":                    {`f:1:1: unknown key "x"`, `f:3:13: faults[0].fault: unknown fault "rset", did you mean "reset"?`, `f:4:15: faults[0].duration: "5" has no unit: did you mean 5s?`},
		"a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n": {"f:1:24: e[7][0][7][0][8]: the file is too large once its aliases are written out"},
	} {
		_, err := Parse("f", []byte(file))
		var ps document.Problems
		if !errors.As(err, &ps) && err != nil {
			t.Errorf("%q: %v is no Problems", file, err)
		}
		var got []string
		for _, p := range ps {
			got = append(got, p.String())
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", file, d)
		}
	}
}

// No file makes the parser panic.
func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("faults: [{fault: {reset: {at: [1, {<<: *x}]}}}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse("f", text)
		if err == nil {
			s.Timeline()
		}
	})
}
