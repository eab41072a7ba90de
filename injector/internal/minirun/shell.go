package minirun

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Shell runs a command line in the namespace, and ends or skips the test if that
// fails: the command may not be installed.
func Shell(t testing.TB, ns *os.File, line string) {
	t.Helper()
	lock := filepath.Join(t.TempDir(), "xtables.lock")
	err := In(ns, func() error {
		cmd := exec.Command("sh", "-c", line)
		cmd.Env = append(os.Environ(), "XTABLES_LOCKFILE="+lock) // /run is not everybody's
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Logf("%s: %s", line, out)
		}
		return err
	})
	if exit, ok := err.(*exec.ExitError); ok && exit.ExitCode() == 127 && os.Getenv("FAULTCTL_REQUIRE") != "1" {
		t.Skipf("%s: not installed", line)
	}
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
}
