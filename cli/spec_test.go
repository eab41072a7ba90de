package cli

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// randomSpec makes a valid Spec of all that a Spec may say.
func randomSpec(r *rand.Rand) experiment.Spec {
	one := func(words ...string) string { return words[r.IntN(len(words))] }
	maybe := func() bool { return r.IntN(2) == 0 }
	var s experiment.Spec
	for _, text := range []string{one("reset:at=request", "idle-expire:after=300s,then=rst-both", "syn-drop:attempts=2", "half-open"), one("delay:by=50ms", "observe", "")} {
		specs, err := faults.ParseSpecs(text)
		if err == nil {
			s.Faults = append(s.Faults, specs...)
		}
	}
	t := &s.Target
	for range r.IntN(3) {
		t.To = append(t.To, one(":5432", "10.0.0.5:80,443", "[fd00::5]:8000-8100", "!10.0.0.9", "db.internal:5432"))
	}
	if len(t.To) > 0 {
		t.To = append(t.To, ":7000") // not only what is excluded
	}
	if maybe() {
		t.From = []string{one("10.0.0.0/8", "10.0.0.7")}
		t.To = append(t.To, "10.0.0.1:1")
	}
	if maybe() {
		p := float64(r.IntN(1001)) / 10
		t.Percent = &p
	}
	t.Every, t.First, t.Skip, t.MaxConnections = uint64(r.IntN(3)), uint64(r.IntN(3)), uint64(r.IntN(3)), uint64(r.IntN(3))
	t.NewOnly, s.ExpectFired = maybe(), maybe()
	t.UID = one("", "0")
	s.Duration = new(time.Duration(31+r.IntN(100)) * time.Second)
	if maybe() {
		s.ResolveEvery = new(time.Duration(r.IntN(100)) * time.Minute)
	}
	s.StartAfter = time.Duration(r.IntN(2)) * 1500 * time.Millisecond
	if maybe() {
		s.Seed = new(r.Uint64() >> 11)
	}
	s.Queues = r.IntN(4)
	return s
}

// TestDoorsAgree holds that a Spec as flags, as JSON and as YAML is the same Plan:
// what the injector is started with does not differ.
func TestDoorsAgree(t *testing.T) {
	same := cmp.Options{
		cmpopts.IgnoreFields(injector.Config{}, "OnEvent", "OnPacket", "Logger", "NetNS"),
		cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmp.Exporter(func(reflect.Type) bool { return true }),
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		s := randomSpec(r)
		plan := func(spec experiment.Spec) (cfg injector.Config, p *experiment.Plan) {
			w := newWorld(t)
			p, err := w.sys.Plan(t.Context(), spec)
			if err != nil {
				t.Fatalf("%s: %v", s.CommandLine(), err)
			}
			return p.Config(), p
		}
		want, wantPlan := plan(s)
		text, err := s.MarshalYAML()
		if err != nil {
			t.Fatal(err)
		}
		byYAML, err1 := experiment.ParseSpec(text)
		byJSON, err2 := experiment.ParseSpec(s.Data())
		w := newWorld(t)
		line := strings.TrimPrefix(s.CommandLine(), "faultctl ")
		w.run(append([]string{"faultctl"}, append(shellWords(line), "-o", "json")...))
		first, err3 := event.NewReader(&w.out).Next()
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatalf("%s\n%s: %v\n%s", line, text, err, &w.err)
		}
		byFlags, err := experiment.ParseSpec(first.(event.Started).Spec)
		if err != nil {
			t.Fatal(err)
		}
		for door, spec := range map[string]experiment.Spec{"YAML": byYAML, "JSON": byJSON, "flags": byFlags} {
			got, p := plan(spec)
			if d := cmp.Diff(want, got, same); d != "" || p.CommandLine() != wantPlan.CommandLine() || p.Duration() != wantPlan.Duration() {
				t.Fatalf("%s by %s is %s:\n%s", wantPlan.CommandLine(), door, p.CommandLine(), d)
			}
		}
	}
}

// shellWords splits a line as a shell does that knows single quotes only.
func shellWords(line string) (words []string) {
	var b strings.Builder
	quoted := false
	for _, c := range line + " " {
		switch {
		case c == '\'':
			quoted = !quoted
		case c == ' ' && !quoted:
			words = append(words, b.String())
			b.Reset()
		default:
			b.WriteRune(c)
		}
	}
	return words
}

// TestDoorsComplainAlike holds that what is wrong with a Spec is said about the
// same word with the same advice, whichever door it came by.
func TestDoorsComplainAlike(t *testing.T) {
	for _, tc := range []struct{ flags, file, field, says string }{
		{"reset --percent 101", `{fault: reset, target: {percent: 101}}`, "percent", "0 to 100"},
		{"reset --to :x", `{fault: reset, target: {to: ":x"}}`, "to", `"x" is not a port`},
		{"reset --to 10.0.0.5", `{fault: reset, target: {to: "!10.0.0.5"}}`, "", ""},
		{"reset --from nobody/x", `{fault: reset, target: {from: "nobody/x"}}`, "from", "not a CIDR"},
		{"reset --every 0", `{fault: reset, target: {every: 0}}`, "every", "not a whole number from 1 on"},
		{"reset --to 10.0.0.1:1 --from fd00::1", `{fault: reset, target: {to: "10.0.0.1:1", from: "fd00::1"}}`, "to", "no connection has both"},
		{"reset --netns a --pid 1", `{fault: reset, target: {netns: a, pid: 1}}`, "netns", "both name a network namespace"},
		{"reset --duration 60", `{fault: reset, duration: 60}`, "duration", "has no unit"},
		{"reset --queues 99", `{fault: reset, queues: 99}`, "queues", "from 1 to 16"},
		{"reset --netns ''", `{fault: reset, target: {netns: ""}}`, "netns", "is empty"},
		{"idle-expire", `{fault: idle-expire}`, "fault", "how long may a flow be idle?"},
	} {
		if tc.field == "" {
			continue
		}
		w := newWorld(t)
		w.run(append([]string{"faultctl", "inject"}, append(shellWords(tc.flags), "-o", "json")...))
		e, err := event.NewReader(&w.out).Next()
		if err != nil {
			t.Fatalf("%s: %v %s", tc.flags, err, &w.err)
		}
		byFlags := e.(event.ErrorEvent)
		_, err = experiment.ParseSpec([]byte(tc.file))
		byFile := experiment.Report(err, nil)
		if !strings.Contains(byFlags.Message, tc.says) || !strings.Contains(byFile.Message, tc.says) {
			t.Errorf("%s: by flags %q, by file %q", tc.flags, byFlags.Message, byFile.Message)
		}
		if !strings.HasPrefix(string(byFlags.Field), tc.field) || byFlags.Field != byFile.Field {
			t.Errorf("%s: about %q by flags, %q by file, want %q", tc.flags, byFlags.Field, byFile.Field, tc.field)
		}
		flagAdvice, _, _ := strings.Cut(byFlags.Advice, ", or unset") // what only a flag has
		fileAdvice := strings.TrimSuffix(byFile.Advice, ".")
		if strings.TrimSuffix(flagAdvice, ".") != fileAdvice {
			t.Errorf("%s: advice by flags %q, by file %q", tc.flags, byFlags.Advice, byFile.Advice)
		}
	}
}

func TestNetns(t *testing.T) {
	w := newWorld(t)
	if err := os.Symlink("/proc/self/ns/net", filepath.Join(w.sys.NetNSDirs[1], "blue")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(w.sys.Proc, "7", "ns"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc/self/ns/net", filepath.Join(w.sys.Proc, "7", "ns", "net")); err != nil {
		t.Fatal(err)
	}
	for flags, name := range map[string]string{"--netns blue": "blue", "--netns /proc/self/ns/net": "/proc/self/ns/net", "--pid 7": "that of process 7"} {
		w.out.Reset()
		if code := w.faultctl("inject reset --duration 1s -o json " + flags); code != exitOK || w.cfg.NetNS == nil {
			t.Errorf("%s: exit %d, namespace %v\n%s", flags, code, w.cfg.NetNS, &w.err)
		}
		if want := `"netns":"` + name + `"`; !strings.Contains(w.out.String(), want) {
			t.Errorf("%s: no %s in\n%s", flags, want, &w.out)
		}
	}
	if code := w.faultctl("inject reset --netns bleu"); code != exitUsage || !strings.Contains(w.err.String(), `did you mean "blue"?`) {
		t.Errorf("exit %d: %s", code, &w.err)
	}
}

func TestOwners(t *testing.T) {
	app := &target.Cgroup{Path: "app", ID: 7, Level: 1}
	for flags, want := range map[string]target.Owner{
		"":                                      {},
		"--uid 1000":                            {UID: new(uint32(1000))},
		"--uid root":                            {UID: new(uint32(0))},
		"--cgroup /app":                         {Cgroup: app},
		"--cgroup /app --uid 7":                 {Cgroup: app, UID: new(uint32(7))},
		"--uid 7 --to 10.0.0.5 --from 10.0.0.1": {UID: new(uint32(7))},
	} {
		w := newWorld(t)
		if code := w.faultctl("inject reset --duration 1s " + flags); code != exitOK {
			t.Errorf("%s: exit %d\n%s", flags, code, &w.err)
			continue
		}
		if diff := cmp.Diff(want, w.cfg.Rules[0].Match.Owner); diff != "" {
			t.Errorf("%s (-want +got):\n%s", flags, diff)
		}
		if told := strings.Contains(w.out.String(), "no target"); told == (flags != "") {
			t.Errorf("%s: no target is %v", flags, told)
		}
	}
	w := newWorld(t)
	w.faultctl("inject reset --duration 1s --cgroup /app --uid 7 --to :80")
	if want := "connections to :80 of user 7 in cgroup app"; !strings.Contains(w.out.String(), want) {
		t.Errorf("no %q in\n%s", want, &w.out)
	}
	for flags, says := range map[string]string{
		"--uid no-such-user":                       "no such user",
		"--cgroup /nope":                           "/proc/PID/cgroup",
		"--cgroup /nope --to :80":                  "--cgroup /nope: there is no",
		"--uid 7 --to 10.0.0.5:80 --from 10.0.0.7": "neither end of a connection from 10.0.0.7 to 10.0.0.5:80",
	} {
		w := newWorld(t)
		if code := w.faultctl("inject reset " + flags); code != exitUsage || !strings.Contains(w.err.String(), says) {
			t.Errorf("%s: exit %d, want something about %q\n%s", flags, code, says, &w.err)
		}
	}
}

// A port that is published under another is named when nothing matched.
func TestNAT(t *testing.T) {
	at := netip.MustParseAddrPort
	const says = "never fired: no packet belonged to connections to :8080: conntrack knows them, but behind NAT: those to 10.0.0.1:8080 go on to 172.17.0.2:80, " +
		"which is what packets carry where they are judged. Use --to 172.17.0.2:80."
	for _, tc := range []struct {
		line  string
		fires uint64
		asked bool
		says  string
	}{
		{"inject reset --to :8080 --duration 1m", 0, true, says},
		{"scenario run day.yaml", 0, true, says},
		{"inject reset --to :8080 --duration 1m", 1, false, ""},
		{"inject reset --from 10.0.0.7 --duration 1m", 0, false, "never fired: no packet belonged to connections from 10.0.0.7. Is that the port"},
	} {
		withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
			asked := false
			w.fires = tc.fires
			w.sys.Translations = func(_ *os.File, m target.Matcher) ([]injector.Translation, error) {
				asked = len(m.To) == 1 && m.To[0].LowPort == 8080
				return []injector.Translation{{From: at("10.0.0.1:8080"), To: at("172.17.0.2:80")}}, nil
			}
			w.file(t, "faults: [{fault: reset, duration: 1m, target: {to: ':8080'}}]\n")
			w.faultctl(tc.line)
			said := strings.Join(strings.Fields(w.out.String()), " ")
			if asked != tc.asked || !strings.Contains(said, tc.says) {
				t.Errorf("%s, %d fired: asked %v, says\n%s", tc.line, tc.fires, asked, &w.out)
			}
		})
	}
}
