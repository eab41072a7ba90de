package cage

import (
	"os/exec"
	"testing"
)

// TestChildren holds that processes which were waited for are forgotten, and that
// one which somebody waits for is not reaped.
func TestChildren(t *testing.T) {
	for range 3 {
		cmd := exec.Command("true")
		if err := startChild(cmd, cmd.Start); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	last := exec.Command("true")
	if err := startChild(last, last.Start); err != nil {
		t.Fatal(err)
	}
	children.Lock()
	noted := len(children.waited)
	children.Unlock()
	for range 200 {
		reapOrphans()
	}
	if err := last.Wait(); err != nil {
		t.Errorf("it was reaped by another: %v", err)
	}
	forgetChild(last)
	if noted > 2 { // this one, and what TestCleanup leaves
		t.Errorf("%d processes are noted", noted)
	}
}
