package experiment

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/target"
)

// TestSharedNetNS holds what a plan does where the command's connections cannot be
// told from those of others: it says so, and leaves alone what was open before the
// command began.
func TestSharedNetNS(t *testing.T) {
	w := newFakeSystem(t)
	w.Shares = func(*os.File) error { return errors.New("cgroup v2 is mounted read-only") }
	w.Foreseen = func() target.Owner { return target.Owner{Cgroup: &target.Cgroup{Path: "none", Level: 1}} }
	spec := Spec{Faults: []faults.Spec{{Name: "reset"}}, Command: []string{"true"}}
	p, err := w.Plan(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if !strings.HasPrefix(p.Note, "cgroup v2 is mounted read-only, so") || p.Scope() != "every TCP connection of this network namespace" {
		t.Errorf("note %q, scope %q", p.Note, p.Scope())
	}
	rule := p.Config().Rules[0]
	if !rule.Pick.NewOnly || !rule.Match.Owner.Any() || p.Duration() != 0 {
		t.Errorf("pick %+v, owner %+v, duration %v", rule.Pick, rule.Match.Owner, p.Duration())
	}
	v, err := p.Variant("case", func(*Spec) {})
	if err != nil || !v.Pick().NewOnly {
		t.Errorf("of a case: %+v, %v", v.Pick(), err)
	}

	later := spec
	later.StartAfter = time.Second
	p, err = w.Plan(context.Background(), later)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Pick().NewOnly {
		t.Error("with start-after the command's own connections are open before the faults begin")
	}

	w.Getenv = func(name string) string { return map[string]string{"FAULTCTL_REQUIRE_TARGET": "1"}[name] }
	if _, err := w.Plan(context.Background(), spec); CodeOf(err) != event.CodeRefused {
		t.Errorf("where a target is demanded: %v", err)
	}
	spec.Target.To = []string{":5432"}
	if p, err = w.Plan(context.Background(), spec); err != nil {
		t.Fatal(err)
	}
	p.Close()
}
