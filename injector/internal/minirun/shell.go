package minirun

import (
	"os"
	"os/exec"
	"testing"
)

// Shell runs a command line in the namespace, and ends or skips the test if that
// fails: the command may not be installed.
func Shell(t testing.TB, ns *os.File, line string) {
	t.Helper()
	err := In(ns, func() error {
		out, err := exec.Command("sh", "-c", line).CombinedOutput()
		if err != nil {
			t.Logf("%s: %s", line, out)
		}
		return err
	})
	if exit, ok := err.(*exec.ExitError); ok && exit.ExitCode() == 127 {
		t.Skipf("%s: not installed", line)
	}
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
}
