package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/faultctl/faultctl/internal/goldentest"
)

// golden compares with a file of testdata, or writes it with -update.
var golden = goldentest.Compare

var noon = time.Date(2026, 3, 4, 12, 0, 0, 5, time.UTC)

func at(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }

// sample is a report with all that a page must find room for.
func sample() *Report {
	const client, server = "[fd00:1234:5678:9abc:def0:1234:5678:9abc]:43210", "[fd00::5]:5432"
	return &Report{
		Command: "faultctl verify --to :5432 --seed 42 -- go test -count=1 ./storage/... -run 'TestPool|TestCheckout'",
		Late:    "99 % of the verdicts came within 1ms, the latest after 3.1ms",
		Flaws:   []string{"3 packets went by unjudged: the queue was full."},
		Tool:    "faultctl v0.3.0", Kernel: "6.18.44", Seed: 42, Start: noon, Took: 95*time.Second + 20*time.Millisecond, Code: 3,
		Cases: []Case{
			{Name: "no fault", Base: true, Verdict: Passed, Start: noon, Took: 900 * time.Millisecond, Exit: "exit 0", Output: "ok\n"},
			{
				Name: "idle-expire:after=2s,then=rst-next,refresh=data", Fault: "idle-expire", Target: "connections to :5432 of go test",
				Verdict: Failed, Reason: "the command ended with exit 1", Exit: "exit 1",
				Remedy:      "Test a connection before it is handed out, or keep it alive more often than every 350 s.",
				Connections: []string{"2 connections to 10.0.0.5:5432: idle-expire, sure: silence of 350 s before"}, Others: []string{"1 connection to 10.0.0.5:5432: cannot tell: reset or linger-reset: a RST in the name of the server"},
				Start: at(1000), Took: 4200 * time.Millisecond,
				Output: "--- FAIL: TestPool (3.01s)\n    pool_test.go:31: read tcp " + client + "->" + server + ": read: connection reset by peer <&>\n\nFAIL\n",
				Faults: []FaultStats{{Fault: "idle-expire", Flows: 3, Chosen: 3, Fired: 2, Acted: 2, Diverted: 9, Dropped: 1, Forged: 1,
					Struck: 1, Felt: 1, ClosedBefore: 1, AnswersLost: 1, SentAgain: 1}},
				AnswersLost: 1, SentAgain: 1,
				Events: []Event{
					{At: at(1000), Kind: "ready"},
					{At: at(1100), Kind: "flow", Client: client, Server: server},
					{At: at(1120), Kind: "flow", Client: "10.0.0.1:40002", Server: "10.0.0.5:5432"},
					{At: at(4100), Kind: "fired", Fault: "idle-expire", Client: client, Server: server, Action: "rst", To: "client", Reason: "segment after the entry expired"},
					{At: at(4102), Kind: "outcome", Fault: "idle-expire", Client: client, Server: server, Reason: "sent, accepted, felt: an answer was outstanding"},
				},
				Packets: []Packet{
					{At: at(1100), Client: client, Server: server, From: "client", Text: "[S] seq 0 win 64240", Fate: "passed"},
					{At: at(1101), Client: client, Server: server, From: "server", Text: "[S.] seq 0 ack 1 win 65160", Fate: "passed"},
					{At: at(1102), Client: client, Server: server, From: "client", Text: "[.] ack 1 win 502", Fate: "passed"},
					{At: at(4100), Client: client, Server: server, From: "client", Text: "[P.] seq 1:46 ack 1 win 502 length 45", Fate: "dropped", Comment: "dropped by idle-expire: rst to client, segment after the entry expired (rule 0, connection 0)"},
					{At: at(4100), Client: client, Server: server, From: "server", Text: "[R] seq 1 win 0", Fate: "forged", Comment: "forged by idle-expire: rst to client, segment after the entry expired (rule 0, connection 0)"},
				},
			},
			{
				Name: "half-open:peer=rebooted", Fault: "half-open", Verdict: NeverFired, Target: "connections to :5432 of go test",
				Reason: "half-open never fired: no packet belonged to connections to :5432", Start: at(6000), Took: time.Second, Exit: "exit 0",
				Faults: []FaultStats{{Fault: "half-open"}},
			},
			{Name: "syn-drop:attempts=1", Fault: "syn-drop", Verdict: Survived, Start: at(8000), Took: 2 * time.Second, Exit: "exit 0",
				Faults: []FaultStats{{Fault: "syn-drop", Flows: 4, Chosen: 4, Fired: 4, Acted: 4, Diverted: 8, Dropped: 4}}},
			{Name: "rst-close", Fault: "rst-close", Verdict: Unfelt, Reason: "rst-close was unfelt: nothing was at stake", Start: at(10000), Exit: "exit 0",
				Faults: []FaultStats{{Fault: "rst-close", Flows: 1, Chosen: 1, Fired: 1, Struck: 1, Unfelt: 1}}},
			{Name: "idle-expire:after=1s", Fault: "idle-expire", Verdict: Prevented, Reason: "longest silence 0.5s of 1s: kept alive by data.", Start: at(10000), Exit: "exit 0"},
			{Name: "closed-socket", Fault: "closed-socket", Verdict: NotAccepted, Reason: "the TCP that it was meant for took no notice", Start: at(10000), Exit: "exit 0"},
			{Name: "bad-seq", Fault: "bad-seq", Verdict: NotKnown, Start: at(10000)},
			{Name: "stall", Fault: "stall", Verdict: Timeout, Reason: "The command did not end in time: stopped after 30s.", Start: at(10000), Exit: "stopped after 30s"},
			{Name: "refuse", Fault: "refuse", Verdict: Broken, Reason: "bind netfilter queue: no queue is free", Start: at(11000)},
			{Name: "unreachable", Fault: "unreachable", Verdict: Skipped, Reason: "--faults left it out", Start: at(11000)},
			{Name: "delay:by=50ms|jitter `x`", Fault: "delay", Verdict: Done, Start: at(12000), Took: time.Minute,
				Faults: []FaultStats{{Fault: "delay", Flows: 1, Chosen: 1, Fired: 1, Acted: 400, Diverted: 400}},
				Events: []Event{{At: at(12000), Kind: "flow", Client: "10.0.0.1:40001", Server: "10.0.0.5:443"}}, EventsCut: 12,
				Packets: []Packet{
					{At: at(12000), Client: "10.0.0.1:40001", Server: "10.0.0.5:443", From: "client", Text: "[.] ack 1 win 502", Fate: "delayed", Comment: "delayed for 50ms by delay: delay to server, as on a longer path (rule 0, connection 0)"},
					{At: at(12050), Client: "10.0.0.1:40001", Server: "10.0.0.5:443", From: "client", Text: "[.] ack 1 win 502", Fate: "late", Comment: "went on 50ms after it came, delayed by delay: delay to server, as on a longer path (rule 0, connection 0)"},
				}},
		},
	}
}

// everything is sample with the timeline of a game day, and a case with many
// connections.
func everything() *Report {
	line := &Timeline{
		Faults: []Track{{Name: "the database restarts", Spans: []Span{{From: at(3000), To: at(9000)}, {From: at(12000), To: at(15000)}}}, {Name: "slow-path", Spans: []Span{{From: at(20000), To: at(60000), Note: "10% of the connections"}}}},
		Probes: []Track{{Name: "checkout answers", Spans: []Span{{From: at(0), To: at(3500), Tries: 4}, {From: at(4000), To: at(9500), Tries: 6, Failed: true, Note: "status 503, want 200-399"}, {From: at(10000), To: at(64000), Tries: 54}}}},
	}
	for i := range 65 {
		line.Load = append(line.Load, Sample{At: at(1000 * i), Connections: uint64(i * i % 300 * i), Packets: uint64(100 * i * i)})
	}
	many := Case{Name: "reset:at=request", Fault: "reset", Verdict: Survived, Start: at(20000), Took: 10 * time.Second,
		Faults: []FaultStats{{Fault: "reset", Flows: 3000, Chosen: 1500, Fired: 1500, Acted: 1500, Struck: 1500, Felt: 1500}}, EventsCut: 4000}
	for i := range 600 {
		c, from := fmt.Sprintf("10.0.%d.%d:4%04d", i/200, i%200+1, i), at(20000+i*15)
		many.Events = append(many.Events, Event{At: from, Kind: "flow", Client: c, Server: "10.0.0.5:5432"})
		if i%2 == 0 {
			many.Events = append(many.Events, Event{At: from.Add(20 * time.Millisecond), Kind: "fired", Fault: "reset", Client: c, Server: "10.0.0.5:5432", Action: "rst", To: "client", Reason: "request 1 came"},
				Event{At: from.Add(21 * time.Millisecond), Kind: "outcome", Fault: "reset", Client: c, Server: "10.0.0.5:5432", Reason: fmt.Sprintf("sent, accepted, felt: an answer was outstanding for %d ms", i)})
		}
	}
	r := sample()
	r.Timeline, r.Cases = line, append(r.Cases, many)
	return r
}

// TestForms holds each form of a report byte for byte, and that each names what
// failed, its remedy and the fault that never fired.
func TestForms(t *testing.T) {
	for _, ext := range Extensions() {
		var b bytes.Buffer
		if err := forms[ext](&b, sample()); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"idle-expire:after=2s,then=rst-next", "exit 1", "connection reset by peer", "keep it alive more often",
			"half-open never fired: no packet belonged to", "3 packets went by unjudged", "no queue is free", "1 request reached the service whole and its answer was lost; it came again", "42", "6.18.44", "go test -count=1 ./storage/..."} {
			if ext == ".json" && strings.HasPrefix(want, "1 request") {
				want = `"answers_lost": 1`
			}
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s does not say %q", ext, want)
			}
		}
		if ext == ".html" && !strings.Contains(b.String(), "1 struck: 1 felt; 1 closed before") {
			t.Error("the page does not say what the strikes came to")
		}
		if ext != ".html" {
			golden(t, "report"+ext, b.String())
		}
	}
}

// TestJUnitStructure reads the XML as CI systems do: by element and attribute,
// and adding up.
func TestJUnitStructure(t *testing.T) {
	var b bytes.Buffer
	r := sample()
	r.Cases[1].Output += "\x00\x1b[31mred\x1b[0m" // no XML may hold these
	if err := JUnit(&b, r); err != nil {
		t.Fatal(err)
	}
	may := map[string]string{ // element -> where it may stand
		"testsuites": "", "testsuite": "testsuites", "properties": "testsuite", "property": "properties", "testcase": "testsuite",
		"failure": "testcase", "error": "testcase", "skipped": "testcase", "system-out": "testcase", "system-err": "testsuite",
	}
	must := map[string][]string{
		"testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"}, "testcase": {"name", "classname", "time"},
		"failure": {"message", "type"}, "error": {"message", "type"}, "property": {"name", "value"},
	}
	count := map[string]int{}
	said := map[string]string{}
	var open []string
	dec := xml.NewDecoder(&b)
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch el := tok.(type) {
		case xml.StartElement:
			name, parent := el.Name.Local, ""
			if len(open) > 0 {
				parent = open[len(open)-1]
			}
			if where, known := may[name]; !known || where != parent {
				t.Errorf("element %s in %q", name, parent)
			}
			attrs := map[string]string{}
			for _, a := range el.Attr {
				attrs[a.Name.Local] = a.Value
			}
			for _, a := range must[name] {
				if _, has := attrs[a]; !has {
					t.Errorf("%s has no %s", name, a)
				}
			}
			if _, err := strconv.ParseFloat(attrs["time"], 64); err != nil && attrs["time"] != "" {
				t.Errorf("time %q", attrs["time"])
			}
			if name == "testsuite" {
				said = attrs
			}
			count[name]++
			open = append(open, name)
		case xml.EndElement:
			open = open[:len(open)-1]
		}
	}
	for element, attr := range map[string]string{"testcase": "tests", "failure": "failures", "error": "errors", "skipped": "skipped"} {
		if strconv.Itoa(count[element]) != said[attr] {
			t.Errorf("%d elements %s, and %s=%s", count[element], element, attr, said[attr])
		}
	}
	if count["failure"] != 6 || count["error"] != 1 || count["skipped"] != 1 {
		t.Errorf("counted %v", count)
	}
}

func TestJSONReadsBack(t *testing.T) {
	var b bytes.Buffer
	if err := JSON(&b, &Report{Cases: []Case{{Name: "a", Took: time.Second}}}); err != nil {
		t.Fatal(err)
	}
	var r struct {
		Passed bool
		Cases  []struct {
			Name string
			Took float64 `json:"took_seconds"`
			Fs   []any   `json:"faults"`
		}
	}
	if err := json.Unmarshal(b.Bytes(), &r); err != nil || len(r.Cases) != 1 || r.Cases[0].Took != 1 || r.Cases[0].Fs == nil || !r.Passed {
		t.Errorf("%v: %s", err, &b)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, "dir.xml"), 0o755)
	for name, want := range map[string]error{
		"r.xml": nil, "r.HTML": nil, "r.json": nil, "r.md": nil, "r.pdf": ErrExtension, "r": ErrExtension,
		"none/r.xml": os.ErrNotExist, "dir.xml": ErrNoFile,
	} {
		if err := Check(filepath.Join(dir, name)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("Check left %v", left)
	}
}

// TestWriteAtOnce holds that a report replaces an older one in one step and
// leaves nothing beside it.
func TestWriteAtOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "r.json")
	for seed := range uint64(2) {
		r := sample()
		r.Seed = seed
		if err := Write(path, r); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(got, []byte(`"seed": `+strconv.Itoa(int(seed)))) {
			t.Errorf("%v: %.80s", err, got)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left beside it: %v", left)
	}
	for _, e := range Extensions() {
		r, path := sample(), filepath.Join(t.TempDir(), "r"+e)
		r.Command += " \xff\xfe"
		if err := Write(path, r); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !utf8.Valid(got) {
			t.Errorf("%s: %v, or it is no UTF-8", e, err)
		}
	}
	if err := Write(filepath.Join(dir, "none", "r.json"), sample()); err == nil {
		t.Error("no error for a directory that is not there")
	}
}

func TestSummary(t *testing.T) {
	if got := (&Report{}).Summary(); got != "nothing was tried" {
		t.Error(got)
	}
	base := Report{Cases: []Case{{Base: true, Verdict: Failed}, {Verdict: Skipped}, {Verdict: Skipped}}}
	if got, want := base.Summary(), "failed without a fault, 2 skipped"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := sample().Summary(), "1 failed, 1 timeout, 1 never fired, 1 not accepted, 1 unfelt, 1 not known, 1 could not be tried, 1 survived, 1 prevented, 1 done, 1 skipped"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
