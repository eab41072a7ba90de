package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestFrozen holds that a faultctl in a cgroup v2 that is frozen, as a container
// that is paused, opens the way: the dead man's timer reaches it there too.
func TestFrozen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, atServer, false)
	talk := w.chatter(4)
	p := w.start("faultctl", everySegment...)
	p.wait("ready")
	talk.flows()
	own, err := cgroupOfOurs()
	if err != nil {
		if os.Getenv("FAULTCTL_REQUIRE") == "1" && os.Getenv("FAULTCTL_INSIDE") == "" {
			t.Fatalf("cgroup v2 is needed: %v", err)
		}
		t.Skipf("no cgroup v2 can be made here: %v", err) // in a user namespace nobody may
	}
	group, err := os.MkdirTemp(own, "faultctl-frozen-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(group) }) // empty: its only process has been waited for
	for _, set := range [][2]string{{"cgroup.procs", fmt.Sprint(p.cmd.Process.Pid)}, {"cgroup.freeze", "1"}} {
		if err := os.WriteFile(filepath.Join(group, set[0]), []byte(set[1]), 0); err != nil {
			t.Fatal(err)
		}
	}
	p.end()
	if s := p.cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
		t.Errorf("ended by %v", s.Signal())
	}
	gone(t, w.node())
	worst := talk.flows()
	t.Logf("the longest exchange took %v", worst)
	if worst > 4*time.Second {
		t.Errorf("the longest exchange took %v, want 4s at most", worst)
	}
}
