package event_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/quick"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/google/go-cmp/cmp"
)

// all are the types of events but Unknown. TestAll holds that none is missing.
var all = []reflect.Type{
	reflect.TypeFor[event.Started](), reflect.TypeFor[event.Ready](), reflect.TypeFor[event.Flow](), reflect.TypeFor[event.Fired](), reflect.TypeFor[event.Outcome](),
	reflect.TypeFor[event.Target](), reflect.TypeFor[event.Ended](), reflect.TypeFor[event.Command](), reflect.TypeFor[event.Exited](),
	reflect.TypeFor[event.VerifyStarted](), reflect.TypeFor[event.Case](), reflect.TypeFor[event.VerifyResult](), reflect.TypeFor[event.Verified](),
	reflect.TypeFor[event.ScenarioStarted](), reflect.TypeFor[event.Phase](), reflect.TypeFor[event.Step](), reflect.TypeFor[event.Probe](),
	reflect.TypeFor[event.ScenarioEnded](), reflect.TypeFor[event.ProbeEnded](), reflect.TypeFor[event.ScenarioResult](),
	reflect.TypeFor[event.Changed](), reflect.TypeFor[event.Paused](), reflect.TypeFor[event.Resumed](), reflect.TypeFor[event.Picked](), reflect.TypeFor[event.Spared](), reflect.TypeFor[event.Stopped](), reflect.TypeFor[event.Unsteady](), reflect.TypeFor[event.Lost](),
	reflect.TypeFor[event.Explained](), reflect.TypeFor[event.ExplainedAll](),
	reflect.TypeFor[event.Replayed](), reflect.TypeFor[event.DryRun](), reflect.TypeFor[event.VerifyDryRun](), reflect.TypeFor[event.ErrorEvent](),
}

// TestAll holds that all has every type of the package that embeds Head.
func TestAll(t *testing.T) {
	want := map[string]bool{"Unknown": true}
	for _, kind := range all {
		want[kind.Name()] = true
	}
	for _, name := range []string{"event.go", "outcome.go", "scenario.go", "control.go", "explain.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := os.ReadFile(name)
		for _, d := range file.Decls {
			decl := string(text[d.Pos()-1 : d.End()-1])
			kind, _, isType := strings.Cut(strings.TrimPrefix(decl, "type "), " ")
			if isType && strings.HasPrefix(decl, "type ") && kind != "Head" && slices.Contains(strings.Fields(decl), "Head") != want[kind] {
				t.Errorf("%s is not among the types that the tests try", kind)
			}
		}
	}
}

// noon is what the tests write events at: its zone and the last digit of its
// nanoseconds must not be lost.
var noon = time.Date(2026, 3, 4, 12, 0, 1, 500_000_010, time.FixedZone("", 2*3600))

// TestRoundTrip holds that each event, with whatever is in it, decodes to the
// same type and value, and encodes to the same bytes again.
func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for _, kind := range all {
		for n := range 200 {
			v := reflect.New(kind).Elem()
			if n > 0 { // first, the empty one
				fill(t, v, r)
			}
			e := v.Interface().(event.Event)
			line := event.Encode(noon, e)
			if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
				t.Fatalf("%T is not one line: %q", e, line)
			}
			if want := fmt.Sprintf(`{"time":"2026-03-04T12:00:01.500000010+02:00","event":%q`, e.Name()); !bytes.HasPrefix(line, []byte(want)) {
				t.Fatalf("%T begins otherwise: %s", e, line)
			}
			back, err := event.Decode(line)
			if err != nil {
				t.Fatalf("%T: %v in %s", e, err, line)
			}
			if reflect.TypeOf(back) != kind || !back.When().Equal(noon) {
				t.Fatalf("%T became %T at %v: %s", e, back, back.When(), line)
			}
			if again := event.Encode(noon, back); !bytes.Equal(again, line) {
				t.Fatalf("-%s+%s", line, again)
			}
			v.FieldByName("Head").Set(reflect.ValueOf(back).FieldByName("Head"))
			if diff := cmp.Diff(v.Interface(), any(back), lists); diff != "" {
				t.Fatalf("%T (-written +read):\n%s", e, diff)
			}
		}
	}
}

// lists takes an empty list as a nil one, except for the connections of DryRun,
// where it says something else.
var lists = cmp.FilterValues(func(a, b any) bool {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	return va.Kind() == reflect.Slice && va.Type() == vb.Type() && va.Type().Name() != "" && va.Len() == 0 && vb.Len() == 0
}, cmp.Comparer(func(a, b any) bool { return true }))

// fill makes the fields of an event random ones. Texts are such as JSON has to
// write in another way.
func fill(t *testing.T, v reflect.Value, r *rand.Rand) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Type != reflect.TypeFor[event.Head]() {
				fill(t, v.Field(i), r)
			}
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() { // data in words of its own
			v.SetBytes([]byte([]string{`{}`, `{"fault":["reset"]}`}[r.Intn(2)]))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), r.Intn(3), 3))
		for i := range v.Len() {
			fill(t, v.Index(i), r)
		}
	case reflect.String:
		v.SetString([]string{"", "\n", "a <b> & \"c\"", "\u2028", "né", "{}"}[r.Intn(6)])
	case reflect.Pointer:
		if r.Intn(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), r)
		}
	default:
		random, ok := quick.Value(v.Type(), r)
		if !ok {
			t.Fatalf("no random %v", v.Type())
		}
		v.Set(random)
	}
}

// Unknown and empty connections are told apart.
func TestDryRunUnknown(t *testing.T) {
	for want, e := range map[string]event.DryRun{`"connections":null,`: {}, `"connections":[],`: {Connections: []event.Ends{}}} {
		line := event.Encode(noon, e)
		back, err := event.Decode(line)
		if err != nil || !bytes.Contains(line, []byte(want)) || (back.(event.DryRun).Connections == nil) != (e.Connections == nil) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestGoldenLines holds that the lines that the commands write are events as they
// are here: each is read as a known event, and written to the same bytes.
func TestGoldenLines(t *testing.T) {
	files, _ := filepath.Glob("../../cli/testdata/*.ndjson")
	files = append(files, "../../cli/testdata/dry-run.json")
	if len(files) < 6 {
		t.Fatalf("only %q", files)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		w, r := event.NewWriter(&got), event.NewReader(bytes.NewReader(text))
		for {
			e, err := r.Next()
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if u, is := e.(event.Unknown); is {
				t.Errorf("%s: line %d: unknown: %s", file, r.Line(), u.Raw)
			}
			if err := w.Write(e.When(), e); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(string(text), got.String()); diff != "" {
			t.Errorf("%s (-there +written here):\n%s", file, diff)
		}
	}
}

// What the golden files do not have is held here, as the commands write it.
func TestLines(t *testing.T) {
	percent := 0.0
	for want, e := range map[string]event.Event{
		`"event":"error","code":2,"message":"--percent 101: <lies> outside 0 to 100"}`: event.ErrorEvent{Code: event.CodeUsage, Message: "--percent 101: <lies> outside 0 to 100"},
		`"event":"error","code":6,"message":"no","advice":"Do.","field":"to"}`:         event.ErrorEvent{Code: event.CodeRefused, Message: "no", Advice: "Do.", Field: "to"},
		`"event":"started","faults":["a"],"seed":1,"version":"v","netns":"self","rules":[{"to":[],"from":[],"faults":["a"]}],"command":["c"],"to":[],"from":[],"runs":2,"repeat":"r"}`: event.VerifyStarted{
			Faults: event.List[string]{"a"}, Seed: 1, Version: "v", NetNS: "self", Rules: event.List[event.Rule]{{Faults: []string{"a"}}}, Command: []string{"c"}, Runs: 2, Repeat: "r"},
		`"event":"case","case":"c","repeat":"r"}`: event.Case{Case: "c", Repeat: "r"},
		`"event":"result","case":"c","fault":"f","verdict":"failed","exit":"exit 1","reason":"r","remedy":"m","output":"o","duration":"1ms","repeat":"a"}`: event.VerifyResult{
			Case: "c", Fault: "f", Verdict: "failed", Exit: "exit 1", Reason: "r", Remedy: "m", Output: "o", Took: "1ms", Repeat: "a"},
		`"event":"result","case":"no fault","fault":"","verdict":"passed","exit":"exit 0","duration":"1ms"}`: event.VerifyResult{Case: "no fault", Verdict: "passed", Exit: "exit 0", Took: "1ms"},
		`"event":"verified","survived":1,"failed":2,"never_fired":3,"could_not_be_tried":4,"skipped":5,"healthy":true}`: event.Verified{
			Survived: 1, Failed: 2, NeverFired: 3, Broken: 4, Skipped: 5, Healthy: true},
		`"event":"replayed","connections":1,"same":0,"differences":[{"ordinal":6,"came":true,"then":["a"],"now":[]}],"events_lost":0}`: event.Replayed{
			Connections: 1, Differences: event.List[event.Difference]{{Ordinal: 6, Came: true, Then: []string{"a"}}}},
		`"event":"target","target":"container web","says":"runs again"}`:                     event.Target{Target: "container web", Says: "runs again"},
		`"event":"dry-run","case":"c","faults":["f"]}`:                                       event.VerifyDryRun{Case: "c", Faults: []string{"f"}},
		`"event":"step","name":"n","rule":1,"do":"start","at":"1s","percent":0,"note":"no"}`: event.Step{Entry: "n", Rule: 1, Do: "start", At: "1s", Percent: &percent, Note: "no"},
		`"event":"ended","fault":"f","flows":0,"chosen":0,"fired":0,"acted":0,"packets_diverted":0,"packets_dropped":0,"packets_forged":0,` +
			`"queue_overruns":1,"packets_foreign":2,"packets_cut":3,"connections_forgotten":4,"outcomes_settled_early":12,"idle_set_full":5,"captured_set_full":6,"released_set_full":7,` +
			`"owned_set_full":8,"packets_unsent":9,"events_lost":10,"packets_unseen":11,"duration":"1s"}`: event.Ended{Totals: event.Totals{Fault: "f", Duration: "1s", Flaws: event.Flaws{
			Overruns: 1, Foreign: 2, Cut: 3, Forgotten: 4, Early: 12, SetFull: 5, CaptureFull: 6, ReleaseFull: 7, OwnerFull: 8, Unsent: 9, Lost: 10, Unseen: 11}}},
	} {
		if got := string(event.Encode(noon, e)); got != `{"time":"2026-03-04T12:00:01.500000010+02:00",`+want+"\n" {
			t.Errorf("got  %swant %s", got, want)
		}
	}
	var b bytes.Buffer
	event.NewWriter(&b).WriteCheck(event.FileCheck{File: "a", OK: true})
	if want := `{"file":"a","ok":true,"problems":[]}` + "\n"; b.String() != want {
		t.Errorf("got %s, want %s", &b, want)
	}
}

// Events that nobody knows come back as they were, and stand in nobody's way.
func TestUnknown(t *testing.T) {
	const lines = `{"time":"2026-03-04T12:00:00Z","event":"sketched","by":{"whom": 1}}` + "\n" + `{"event":"later","time":7}` + "\n" + `{"file":"a"}` + "\n" +
		`{"event":"ready","more":[1]}` + "\n"
	r := event.NewReader(strings.NewReader(lines))
	for i, name := range []string{"sketched", "later", ""} {
		e, err := r.Next()
		u, is := e.(event.Unknown)
		if err != nil || !is || u.Name() != name {
			t.Fatalf("%#v, %v", e, err)
		}
		if want := strings.SplitAfter(lines, "\n")[i]; string(event.Encode(noon, u)) != want {
			t.Errorf("written as %s, read as %s", event.Encode(noon, u), want)
		}
	}
	if e, err := r.Next(); err != nil || e.Name() != "ready" || !e.When().IsZero() {
		t.Errorf("%#v, %v", e, err)
	}
	if _, err := r.Next(); err != io.EOF || r.Line() != 4 {
		t.Errorf("%v after line %d", err, r.Line())
	}
}

func TestReaderErrors(t *testing.T) {
	const ready = `{"event":"ready"}` + "\n"
	for text, want := range map[string]struct {
		line int
		is   error
		says string
	}{
		"hello\n":                    {1, event.ErrNotJSON, "line 1: no JSON object"},
		ready + "null\n":             {2, event.ErrNotJSON, "line 2: no JSON object"},
		ready + "\n":                 {2, event.ErrNotJSON, "line 2: no JSON object"},
		ready + ready + "[1]\n":      {3, event.ErrNotJSON, "line 3: no JSON object"},
		ready + `{"event":3}` + "\n": {2, event.ErrNotJSON, "line 2: no JSON object with an event: its name is not a string"},
		ready + `{"event":"flow","ordinal":"x"}` + "\n":         {2, nil, "line 2: event flow: json: "},
		`{"event":"ready","time":"noon"}` + "\n":                {1, nil, `line 1: event ready: "noon" is not a time`},
		ready + strings.Repeat("x", event.LongestLine+1) + "\n": {2, event.ErrTooLong, "line 2 is longer than 1 MiB"},
	} {
		r := event.NewReader(strings.NewReader(text))
		var err error
		for err == nil {
			_, err = r.Next()
		}
		var le *event.LineError
		if !errors.As(err, &le) || le.Line != want.line || want.is != nil && !errors.Is(err, want.is) || !strings.HasPrefix(err.Error(), want.says) {
			t.Errorf("%.60q: %v, want %v", text, err, want.says)
		}
	}
}

// The longest line is read; one that nothing ends is left out; the lines behind a
// bad one are read; what a Read says is said.
func TestReaderEdges(t *testing.T) {
	long := `{"event":"x","pad":"` + strings.Repeat("x", event.LongestLine-22) + `"}`
	if len(long) != event.LongestLine {
		t.Fatal(len(long))
	}
	r := event.NewReader(iotest.HalfReader(strings.NewReader("bad\n" + long + "\n" + `{"event":"ready"}`)))
	if _, err := r.Next(); !errors.Is(err, event.ErrNotJSON) {
		t.Error(err)
	}
	if e, err := r.Next(); err != nil || e.Name() != "x" {
		t.Error(err)
	}
	for range 2 {
		if _, err := r.Next(); err != io.EOF {
			t.Error(err)
		}
	}
	broken := errors.New("broken")
	if _, err := event.NewReader(iotest.ErrReader(broken)).Next(); err != broken {
		t.Error(err)
	}
}

// pieces counts calls of Write, which must be whole lines.
type pieces struct {
	calls int
	text  strings.Builder
	fail  error
}

func (p *pieces) Write(b []byte) (int, error) {
	p.calls++
	if p.fail != nil {
		return 0, p.fail
	}
	return p.text.Write(b)
}

func TestWriter(t *testing.T) {
	var p pieces
	w := event.NewWriter(&p)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				w.Write(noon, event.Ready{})
			}
		})
	}
	wg.Wait()
	if p.calls != 800 || p.text.String() != strings.Repeat(string(event.Encode(noon, event.Ready{})), 800) {
		t.Errorf("%d calls", p.calls)
	}
}

// Nothing is written while WriteAfter does what it waits for, and nothing if that
// fails.
func TestWriteAfter(t *testing.T) {
	var p pieces
	w := event.NewWriter(&p)
	var wg sync.WaitGroup
	err := w.WriteAfter(func() error {
		wg.Go(func() { w.Write(noon, event.Exited{}) })
		time.Sleep(20 * time.Millisecond)
		if p.calls != 0 {
			t.Error("written meanwhile")
		}
		return nil
	}, noon, event.Command{})
	wg.Wait()
	if want := string(event.Encode(noon, event.Command{})) + string(event.Encode(noon, event.Exited{})); err != nil || p.text.String() != want {
		t.Errorf("%v\n%s", err, p.text.String())
	}
	no := errors.New("no")
	if err := w.WriteAfter(func() error { return no }, noon, event.Command{}); err != no || p.calls != 2 {
		t.Errorf("%v, %d writes", err, p.calls)
	}
}

// Behind half a line nothing is written, and what WriteAfter says is what do says.
func TestWriterBroken(t *testing.T) {
	p := pieces{fail: io.ErrClosedPipe}
	w := event.NewWriter(&p)
	if err := w.WriteAfter(func() error { return nil }, noon, event.Ready{}); err != nil {
		t.Error(err)
	}
	if err := w.Write(noon, event.Ready{}); err != io.ErrClosedPipe || w.Err() != io.ErrClosedPipe || p.calls != 1 {
		t.Errorf("%v, %v, %d writes", err, w.Err(), p.calls)
	}
}

// FuzzDecode holds that what is read can be written, and is read the same again.
func FuzzDecode(f *testing.F) {
	for _, kind := range all {
		f.Add(event.Encode(noon, reflect.New(kind).Elem().Interface().(event.Event)))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := event.Decode(line)
		if err != nil {
			return
		}
		once := event.Encode(e.When(), e)
		again, err := event.Decode(once)
		if err != nil {
			t.Fatalf("%q was written as %q: %v", line, once, err)
		}
		if twice := event.Encode(again.When(), again); !bytes.Equal(once, twice) {
			t.Fatalf("%q, then %q", once, twice)
		}
	})
}
