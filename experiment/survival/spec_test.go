package survival

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
)

func itoa(n uintptr) string { return strconv.FormatUint(uint64(n), 10) }

// flags spells fields as the command line does.
func flags(f event.Field) string { return "--" + string(f) }

// TestDefaultCases holds that every reset cause is tried, with each of the settings
// that the catalogue has for it, that the cases have different names, and that bare
// names have the first settings.
func TestDefaultCases(t *testing.T) {
	var want, got, first []string
	for _, k := range faults.Catalog {
		if k.Group == "reset" {
			for range k.VerifySpecs() {
				want = append(want, k.Name)
			}
		}
	}
	var s Spec
	var planned []string
	for i, name := range s.Names() {
		c := DefaultCases()[i]
		if c.Name() != name {
			t.Errorf("two cases have the name %s", c.Name())
		}
		if got = append(got, c.Faults[0].Name); !slices.Contains(first, c.Faults[0].Name) {
			first, planned = append(first, c.Faults[0].Name), append(planned, name)
		}
	}
	for _, name := range []string{"reset:at=request", "reset:at=ready", "half-open:at=ready", "closed-socket:at=ready"} {
		if !slices.Contains(s.Names(), name) {
			t.Errorf("%s is not among %v", name, s.Names())
		}
	}
	bare, err := ParseCases(strings.Join(first, ","))
	if err != nil {
		t.Fatal(err)
	}
	s.Cases = bare
	if asked := s.Names(); !slices.Equal(asked, planned) {
		t.Errorf("bare names mean %v, the default cases are %v", asked, planned)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the default cases are of %v, the reset causes are %v", got, want)
	}
	s = Spec{Base: experiment.Spec{Command: []string{"true"}}}
	if problems := s.Validate(); problems != nil {
		t.Error(problems)
	}
}

func TestNames(t *testing.T) {
	s := spec(t, "faults reset,reset faults reset,idle-expire:after=2s,then=silent")
	want := []string{"reset:at=request", "reset:at=request (2)", "reset:at=request (3)", "idle-expire:after=2s,then=silent"}
	if got := s.Names(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestReadCases holds what a plan file may say, and what is said of a bad one.
func TestReadCases(t *testing.T) {
	cases, err := ReadCases(strings.NewReader("# mine\n\n refuse # a comment\nreset:at=fin,delay:by=10ms\n"), "plan")
	if err != nil || len(cases) != 2 || cases[0].Line != 3 || cases[1].Line != 4 || cases[1].Name() != "reset:at=fin,delay:by=10ms" {
		t.Errorf("%+v, %v", cases, err)
	}
	for text, says := range map[string]string{
		"refuse\nidle-expier:after=1s\n": `--plan F: line 2: unknown fault "idle-expier", did you mean "idle-expire"?`,
		strings.Repeat("x", 1<<17):       "--plan F: a line is longer than 64 KiB: that is no plan",
		"# nothing\n":                    "--plan F: there is no fault in it",
	} {
		_, err := ReadCases(strings.NewReader(text), "F")
		if event.FieldOf(err) != "plan" || experiment.CodeOf(err) != event.CodeUsage || event.Render(err, flags) != says {
			t.Errorf("%v, want %s", event.Render(err, flags), says)
		}
	}
}

func TestReadPlan(t *testing.T) {
	var s Spec
	if err := s.ReadPlan("-", strings.NewReader("refuse\n")); err != nil || s.PlanFile != "-" || len(s.Cases) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	for path, says := range map[string]string{
		"/nowhere":  "--plan /nowhere: no such file or directory",
		"/dev/zero": "--plan /dev/zero: a line is longer than 64 KiB: that is no plan",
		"/dev/null": "--plan /dev/null: there is no fault in it",
		"/":         "--plan /: is a directory",
	} {
		if err := s.ReadPlan(path, nil); event.Render(err, flags) != says {
			t.Errorf("%s: %v", path, event.Render(err, flags))
		}
	}
}

// TestSet holds what is said of words that cannot be read.
func TestSet(t *testing.T) {
	for _, tc := range []struct{ word, value, says, advice string }{
		{"faults", "rset", `--faults rset: unknown fault "rset", did you mean "reset"?`, "There are reset, syn-drop, "},
		{"faults", "nope", `--faults nope: unknown fault "nope"`, "There are reset, syn-drop, "},
		{"faults", "reset:att=syn", "--faults reset:att=syn: reset: ", "faultctl faults reset explains every setting."},
		{"faults", "refuse,reset:at=syn,att=1", "--faults refuse,reset:at=syn,att=1: reset: ", "faultctl faults reset explains every setting."},
		{"repeat", "0", "--repeat 0: not a whole number from 1 on", ""},
		{"repeat", "x", "--repeat x: not a whole number from 1 on", ""},
		{"timeout", "5", "did you mean 5s?", ""},
		{"timeout", "", "--timeout: is empty", "Leave it out"},
		{"every", "0", "--every 0: ", ""},
	} {
		var s Spec
		err := s.Set(tc.word, tc.value)
		if err == nil {
			t.Errorf("%s %s is taken", tc.word, tc.value)
			continue
		}
		var e *event.Error
		if got := event.Render(err, flags); !errors.As(err, &e) || e.Field != event.Field(tc.word) || !strings.Contains(got, tc.says) || !strings.Contains(e.Advice, tc.advice) {
			t.Errorf("%s %s: %s (%s)", tc.word, tc.value, got, experiment.AdviceOf(err))
		}
	}
}

// TestValidate holds what is wrong with Specs.
func TestValidate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plan")
	if err := os.WriteFile(file, []byte("refuse\nidle-expire:after=0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if problems := new(spec(t, "faults reset to :80", "true")).Validate(); problems != nil {
		t.Error(problems)
	}
	for _, tc := range []struct {
		spec Spec
		says string
	}{
		{spec(t, "faults idle-expire:after=0", "true"), "--faults: idle-expire: "},
		{spec(t, "plan "+file, "true"), "--plan " + file + ": line 2: idle-expire: "},
		{spec(t, "plan "+file+" faults reset", "true"), "--plan and --faults both name the faults: give one"},
		{spec(t, "faults reset"), "faultctl verify -- go test"},
		{spec(t, "faults reset duration 1s", "true"), "--duration: cannot be what all cases have in common"},
		{spec(t, "faults reset start-after 1s", "true"), "--start-after: cannot be what all cases have in common"},
		{spec(t, "netns a pid 1", "true"), "both name a network namespace: give one"},
		{Spec{Repeat: -1}, "--repeat -1: not a whole number from 1 on"},
		{Spec{Timeout: new(-time.Second)}, "--timeout -1s: is negative"},
		{Spec{Cases: []Case{}}, "--faults: there is no fault among them"},
		{Spec{Cases: []Case{{}}}, "--faults: no fault is named"},
		{Spec{Cases: []Case{{Faults: []faults.Spec{{Name: "nope"}}}}}, `--faults: unknown fault "nope"`},
		{Spec{Base: experiment.Spec{Faults: []faults.Spec{{Name: "reset"}}}}, "--fault: cannot be what all cases have in common"},
		{Spec{Base: experiment.Spec{Timeout: new(time.Second)}}, "--timeout: cannot be what all cases have in common"},
	} {
		if got := event.Render(tc.spec.Validate().Err(), flags); !strings.Contains(got, tc.says) {
			t.Errorf("%+v: %q, want something about %q", tc.spec, got, tc.says)
		}
		if _, err := NewPlan(t.Context(), newWorld().System, tc.spec); err == nil {
			t.Errorf("%+v can be planned", tc.spec)
		}
	}
}

// TestContradiction holds that faults which cannot all act are no case.
func TestContradiction(t *testing.T) {
	cases, err := ReadCases(strings.NewReader("\nreset:at=syn,reset:at=fin\n"), "F")
	if err != nil {
		t.Fatal(err)
	}
	s := Spec{Base: experiment.Spec{Command: []string{"true"}}, Cases: cases, PlanFile: "F"}
	if got := event.Render(s.Validate().Err(), flags); !strings.HasPrefix(got, "--plan F: line 2: these faults contradict each other: ") {
		t.Errorf("%q", got)
	}
}

func TestCommandLine(t *testing.T) {
	for _, tc := range []struct {
		spec Spec
		want string
	}{
		{spec(t, "", "true"), "faultctl verify --seed 42 -- true"},
		{spec(t, "seed 7 faults reset,refuse faults stall to !10.0.0.7:80 new-only true queues 2", "echo", "a b"),
			"faultctl verify --to '!10.0.0.7:80' --new-only --queues 2 --faults reset,refuse --faults stall --seed 7 -- echo 'a b'"},
		{spec(t, "faults reset timeout 90s repeat 3 allow-idle true report x.html pcap y metrics :1", "true"),
			"faultctl verify --faults reset --timeout 1m30s --repeat 3 --allow-idle --seed 42 -- true"},
		{spec(t, "faults reset timeout 0", "go", "test", "./..."), "faultctl verify --faults reset --timeout 0s --seed 42 -- go test -count=1 ./..."},
		{Spec{Base: experiment.Spec{Command: []string{"true"}}, Cases: []Case{{Faults: []faults.Spec{{Name: "reset"}, {Name: "delay", Knobs: [][2]string{{"by", "1s"}}}}}}},
			`printf '%s\n' reset:at=request,delay:by=1s | faultctl verify --plan - --seed 42 -- true`},
	} {
		p, err := NewPlan(t.Context(), newWorld().System, tc.spec)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.CommandLine(); got != tc.want {
			t.Errorf("%s\nwant %s", got, tc.want)
		}
	}
}

// TestDryRun holds that a plan touches nothing, and says what it would try.
func TestDryRun(t *testing.T) {
	w := newWorld()
	p, err := NewPlan(t.Context(), w.System, spec(t, "faults refuse,reset", "true"))
	if err != nil {
		t.Fatal(err)
	}
	all := p.DryRun()
	if len(all) != 2 || all[1].Case != "reset:at=request" || !slices.Equal(all[1].Faults, []string{"reset:at=request"}) {
		t.Errorf("%+v", all)
	}
	if len(w.cages)+len(w.started) > 0 {
		t.Error("something was touched")
	}
}
