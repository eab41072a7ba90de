package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestTooFewFiles holds that a process that may open too few files says so, rather
// than end with a fatal error of Go.
func TestTooFewFiles(t *testing.T) {
	for limit, code := range map[string]int{"4": 5, "6": 5, "12": 5, "64": 0} {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-c", `ulimit -n "$1"; exec "$0" -test.run '^$'`, exe, limit)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != code || strings.Contains(string(out), "ulimit -n 1024") != (code != 0) {
			t.Errorf("ulimit -n %s: exit %d, want %d\n%.300s", limit, cmd.ProcessState.ExitCode(), code, out)
		}
	}
}
