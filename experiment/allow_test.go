package experiment

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/policy"
)

// TestWideTargets checks when a plan gets a limit of connections.
func TestWideTargets(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Target)
		most   uint64
	}{
		"every connection":      {func(t *Target) {}, wideMost},
		"half of them":          {func(t *Target) { t.Percent = new(50.0) }, wideMost},
		"few of them":           {func(t *Target) { t.Percent = new(10.0) }, 0},
		"a limit":               {func(t *Target) { t.MaxConnections = 5000 }, 5000},
		"the first ones":        {func(t *Target) { t.First = 5 }, 0},
		"a service":             {func(t *Target) { t.To = []string{":5432"} }, 0},
		"a client":              {func(t *Target) { t.From = []string{"10.0.0.0/8"} }, 0},
		"all but one":           {func(t *Target) { t.To = []string{"!:22"} }, wideMost},
		"a container of others": {func(t *Target) { t.Container = "web" }, 0},
	} {
		w := newFakeSystem(t)
		w.runContainer(1)
		p, err := w.Plan(t.Context(), spec(func(s *Spec) { s.Target = Target{}; c.change(&s.Target) }))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := p.Pick().Max; got != c.most || p.Spec.Target.MaxConnections != c.most || (c.most == wideMost) != strings.Contains(p.Note, "no more than 1000") {
			t.Errorf("%s: at most %d, %d; note %q; want %d", name, got, p.Spec.Target.MaxConnections, p.Note, c.most)
		}
		p.Close()
	}
}

// TestPolicy checks whom a policy binds: whoever called sudo and whoever asks through the
// API, when a run is planned and when it is changed; and that each is written down.
func TestPolicy(t *testing.T) {
	rules, err := policy.Parse("p", []byte("rules: [{users: ['1000'], to: [':5432', '10.0.0.0/8:6432'], duration: 10m}]"))
	if err != nil {
		t.Fatal(err)
	}
	w := newFakeSystem(t)
	var lines []string
	w.Audit = func(line string) { lines = append(lines, line) }
	w.Policy = func() (*policy.Policy, error) { return rules, nil }
	sudo := "1000"
	w.Getenv = func(name string) string {
		if name == "SUDO_UID" {
			return sudo
		}
		return ""
	}
	fits := func(s *Spec) { s.Duration = new(10 * time.Minute) }
	refused := func(err error) bool {
		var e *event.Error
		return errors.As(err, &e) && e.Code == event.CodeRefused && strings.Contains(e.Error(), "policy of this host")
	}
	r := w.begin(t, spec(fits))
	for name, change := range map[string]func(*Spec){
		"a port":  func(s *Spec) { s.Target.To = []string{":80"} },
		"all":     func(s *Spec) { s.Target.To = nil },
		"clients": func(s *Spec) { s.Target.To, s.Target.From = nil, []string{"10.0.0.1"} },
		"a flag":  func(s *Spec) { s.Pcap = "/x" },
		"longer":  func(s *Spec) { s.Duration = new(time.Hour) },
	} {
		if _, err := w.Plan(t.Context(), spec(fits, change)); !refused(err) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
		next := r.Spec()
		if change(&next); len(next.Pcap) > 0 || *next.Duration == time.Hour {
			continue // a run keeps these
		}
		if err := r.Update(t.Context(), next); !refused(err) {
			t.Errorf("a change to %s: %v, want a refusal", name, err)
		}
	}
	next := r.Spec()
	next.Target.To = []string{"10.2.3.4:6432"}
	if err := r.UpdateBy(t.Context(), &event.Actor{UID: 2000}, next); !refused(err) {
		t.Errorf("a change by another user: %v", err)
	}
	if err := r.Update(t.Context(), next); err != nil {
		t.Errorf("a change that is allowed: %v", err)
	}
	w.By = &event.Actor{UID: 2000, PID: 7}
	if _, err := w.Plan(t.Context(), spec(fits)); !refused(err) {
		t.Errorf("somebody asks through the API: %v", err)
	}
	w.By = &event.Actor{UID: 0}
	if p, err := w.Plan(t.Context(), spec()); err != nil {
		t.Errorf("root asks through the API: %v", err)
	} else {
		p.Close()
	}
	w.By = nil
	w.Policy = func() (*policy.Policy, error) { return nil, errors.New("line 1 is wrong") }
	if _, err := w.Plan(t.Context(), spec(fits)); !refused(err) {
		t.Errorf("a policy that cannot be read: %v", err)
	}
	r.Stop()
	all := strings.Join(lines, "\n")
	for _, want := range []string{"began for uid=1000", `faults="idle-expire:after=5m"`, `lasts="10m0s"`, "refused for uid=1000", "refused for uid=2000", "by-pid=7", "ended for uid=1000", `why="stopped"`} {
		if !strings.Contains(all, want) {
			t.Errorf("no line says %s:\n%s", want, all)
		}
	}
	if strings.Contains(fmt.Sprint(lines), "uid=0") {
		t.Errorf("a plan of root's that was never started is in the log:\n%s", all)
	}
}
