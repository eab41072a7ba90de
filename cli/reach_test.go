package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/faultctl/faultctl/experiment/control"
	"github.com/faultctl/faultctl/internal/words"
)

// reached is a world whose runs can be reached, and another one that sees those runs
// only: other processes of this host are not the tests' business.
func reached(t *testing.T) (w, other *world) {
	w, other = newWorld(t), newWorld(t)
	var ids []string
	w.timers = never
	w.interrupt = func() { w.signal <- syscall.SIGTERM }
	w.listen = func(g *control.Registry) (*net.UnixListener, error) {
		ids = append(ids, g.ID())
		return g.Listen()
	}
	other.find = func(ctx context.Context) ([]*control.Found, int, error) {
		all, _, err := control.Find(ctx)
		return slices.DeleteFunc(all, func(f *control.Found) bool { return !slices.Contains(ids, f.ID) }), 0, err
	}
	return w, other
}

// reach starts a command, and returns when its first run is ready, with what gets its
// exit code.
func reach(t *testing.T, w, other *world, line string) <-chan int {
	t.Helper()
	code := make(chan int, 1)
	go func() { code <- w.faultctl(line) }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if strings.Contains(w.out.String(), "ready") {
			return code
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not begin:\n%s%s", &w.out, &w.err)
		}
	}
}

// TestReach holds that a run is listed, changed, paused, resumed and stopped from
// another process.
func TestReach(t *testing.T) {
	w, other := reached(t)
	code := reach(t, w, other, "inject delay --by 50ms --to :5432")
	found, _, err := other.find(t.Context())
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	id := fmt.Sprint(found[0].Pid)
	say := func(line string, want int, says string) {
		t.Helper()
		other.out.Reset()
		other.err.Reset()
		if got, said := other.faultctl(line), other.out.String()+other.err.String(); got != want || !strings.Contains(strings.Join(strings.Fields(said), " "), says) {
			t.Errorf("%s: exit %d, want %d and %q in\n%s", line, got, want, says, said)
		}
	}
	say("ps", exitOK, id)
	say("ps", exitOK, "inject delay running")
	say("set "+id+" percent=20 by=80ms", exitOK, "changed "+id+" (inject delay): percent=20 by=80ms")
	say("set "+found[0].ID[:4]+"/delay delay.by=90ms to=:5432 to=:6379", exitOK, "changed")
	say("set "+id+" bye=1s", exitUsage, `no such setting, did you mean "by"?`)
	say("set "+id+" by=1", exitUsage, "did you mean 1s?")
	say("set "+id+" duration=1s", exitUsage, "cannot be changed while the run goes on")
	say("set "+id+" percent", exitUsage, "not NAME=VALUE")
	say("set "+id, exitUsage, "which run, and what?")
	say("pause "+id, exitOK, "paused "+id)
	say("ps", exitOK, "inject delay paused")
	say("resume "+id+"/delay", exitOK, "resumed "+id+" (inject delay)")
	say("pause "+id+"/nope", exitUsage, "has no run nope")
	say("stop 1", exitUsage, "no such run: 1 There are "+id)
	say("stop", exitUsage, "which run?")
	say("stop 1 --all", exitUsage, "give one")
	say("ps -o json", exitOK, `"delay:by=90ms"`)
	var list []processJSON
	if err := json.Unmarshal(other.out.Bytes(), &list); err != nil || len(list) != 1 || list[0].Experiments[0].Scope != "connections to :5432, :6379" {
		t.Errorf("%v: %s", err, &other.out)
	}
	say("stop --all", exitOK, "stopped "+id+" (inject delay)")
	if got := <-code; got != 143 {
		t.Errorf("exit %d", got)
	}
	for _, says := range []string{"changed percent=20, fault.by=80ms by process", "paused by process", "resumed by process", "stopped by process", "everything is as before"} {
		if !strings.Contains(w.out.String(), says) {
			t.Errorf("the run does not say %q:\n%s", says, &w.out)
		}
	}
	say("ps", exitOK, "no run is going on")
	say("stop --all", exitOK, "no run is going on")
	say("stop 1", exitUsage, "no run is going on that this user may control")
}

// TestReachForeign holds that what a process says of itself does not change the
// terminal of who lists it, and cannot be taken for something else.
func TestReachForeign(t *testing.T) {
	f := &control.Found{Process: control.Process{ID: hostile, Command: hostile, Experiments: []control.Experiment{{Name: hostile, State: hostile, Scope: hostile}}}}
	said := []string{one{Found: f}.String(), one{f, hostile}.String(), one{f, hostile}.label()}
	said = append(said, runRows([]*control.Found{f}, noon)[0].cells...)
	row := connRow{one{f, hostile}, control.Connection{Experiment: hostile, Client: hostile, Server: hostile, Fault: hostile, Action: hostile, Reason: hostile, State: hostile}}
	for _, col := range connColumns(200) {
		said = append(said, col.of(row, noon))
	}
	row.Outcome = hostile
	for _, col := range connColumns(200) {
		said = append(said, col.of(row, noon))
	}
	for _, s := range said {
		if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			t.Errorf("%q", s)
		}
	}
	if all := strings.Join(said, " "); strings.Count(all, words.Foreign(hostile)) < 18 {
		t.Errorf("not all is shown: %s", all)
	}
}
