package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/demo"
	"github.com/faultctl/faultctl/faults"
)

// fakeDemo gives a host a story to tell.
func fakeDemo(w *world, story *demo.Story) *faults.Spec {
	var played faults.Spec
	w.mustEnter = func() bool { return false }
	w.play = func(_ context.Context, m faults.Spec) (*demo.Story, error) {
		played = m
		return story, nil
	}
	return &played
}

func TestDemo(t *testing.T) {
	w := newWorld(t)
	played := fakeDemo(w, &demo.Story{
		Fired: true,
		Calls: []demo.Call{
			{At: time.Second, Who: "client", Text: `send("SELECT 2")`, Result: "8"},
			{At: 1002 * time.Millisecond, Who: "client", Text: "recv()", Result: "ECONNRESET", Failed: true},
		},
		Packets: []demo.Packet{
			{At: time.Second, Text: "client > server [P.] seq 9:17 ack 6 win 63", Fate: demo.Dropped},
			{At: 1001 * time.Millisecond, Text: "server > client [R] seq 6 win 0", Fate: demo.Injected},
		},
	})
	if code := w.run([]string{"faultctl", "demo"}); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &w.err)
	}
	golden(t, "demo.txt", w.out.String())
	if played.Name != "idle-expire" {
		t.Errorf("played %s", played.Name)
	}
}

func TestDemoKnobs(t *testing.T) {
	w := newWorld(t)
	played := fakeDemo(w, &demo.Story{})
	if code := w.run([]string{"faultctl", "demo", "half-open", "--peer", "crashed"}); code != exitNotFired {
		t.Errorf("exit code %d for a fault that did not act", code)
	}
	if played.Name != "half-open" || !strings.Contains(w.out.String(), "half-open:peer=crashed") {
		t.Errorf("played %+v\n%s", played, &w.out)
	}
	for _, args := range [][]string{{"demo", "half-opne"}, {"demo", "loss", "--chance", "200%"}, {"demo", "reset", "now"}} {
		if code := newWorld(t).run(append([]string{"faultctl"}, args...)); code != exitUsage {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}

// Without root the demo runs again in namespaces of its own, and its exit code
// is that of the other process.
func TestDemoEnters(t *testing.T) {
	for _, c := range []struct {
		code, want int
		err        error
	}{{0, exitOK, nil}, {4, exitNotFired, nil}, {1, exitPreflight, errors.New("user namespaces are forbidden")}} {
		w := newWorld(t)
		w.mustEnter = func() bool { return true }
		w.enter = func() (int, error) { return c.code, c.err }
		if code := w.run([]string{"faultctl", "demo"}); code != c.want {
			t.Errorf("entered with %d, %v: exit code %d, want %d", c.code, c.err, code, c.want)
		}
	}
}
