package procid

import (
	"os"
	"os/exec"
	"testing"
)

func TestNames(t *testing.T) {
	if got := name(7, initNS); got != "7" {
		t.Errorf("in the first PID namespace: %s", got)
	}
	if got := name(1, "4026532281"); got != "1_ns4026532281" || got == name(1, "4026532282") {
		t.Errorf("in a container: %s", got)
	}
}

func TestAlive(t *testing.T) {
	gone := exec.Command("/proc/self/exe", "-test.run", "^$")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for process, want := range map[string]bool{
		Self():               true,
		Of(os.Getppid()):     true,
		Of(gone.Process.Pid): false,
		"":                   false,
		"nobody":             false,
		"1_ns1":              own() != initNS, // only the first namespace sees all
	} {
		if got := Alive(process); got != want {
			t.Errorf("%q alive: %v, want %v", process, got, want)
		}
	}
}
