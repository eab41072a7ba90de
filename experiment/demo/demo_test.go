package demo_test

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/faultctl/faultctl/cli"
	"github.com/faultctl/faultctl/experiment/demo"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faulttest"
	"github.com/faultctl/faultctl/injector"
)

// playEnv makes the test binary faultctl.
const playEnv = "FAULTCTL_TEST_PLAY"

func TestMain(m *testing.M) {
	if os.Getenv(playEnv) != "" {
		os.Exit(cli.Main(os.Args))
	}
	os.Exit(faulttest.Main(m))
}

// TestEveryDemo holds that each fault of the catalogue shows within the demo's
// few calls: it acts, and something on the wire is marked as its work.
func TestEveryDemo(t *testing.T) {
	places := make(chan struct{}, 8) // they mostly wait
	var all sync.WaitGroup
	for _, kind := range faults.Catalog {
		all.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			cmd := exec.Command("/proc/self/exe", "demo", kind.Name)
			cmd.Args[0] = "faultctl"
			cmd.Env = append(os.Environ(), playEnv+"=faultctl")
			out, err := cmd.CombinedOutput()
			marks := strings.Count(string(out), "◀")
			if err != nil || (marks > 0) == (kind.Name == "observe") {
				t.Errorf("%s: %v, %d marks\n%s", kind.Name, err, marks, out)
			}
		})
	}
	all.Wait()
}

// TestMainJob holds what the demo shows of the main job: the write after the
// pause succeeds, its segment goes no further, a RST that nobody sent comes back,
// and the read after it fails.
func TestMainJob(t *testing.T) {
	s, err := demo.Play(t.Context(), faults.Spec{Name: "idle-expire", Knobs: [][2]string{{"after", "500ms"}}})
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	for _, c := range s.Calls {
		if c.Who == "client" {
			calls = append(calls, c.Text+" = "+c.Result)
		}
	}
	want := []string{
		"connect() = ok", `send("SELECT 1") = 8`, `recv() = "1 row"`,
		`send("SELECT 2") = 8`, "recv() = ECONNRESET", `send("SELECT 3") = EPIPE`,
	}
	if len(calls) != len(want) {
		t.Fatalf("calls %q", calls)
	}
	for i := range want {
		if calls[i] != want[i] {
			t.Errorf("call %d: %s, want %s", i, calls[i], want[i])
		}
	}
	fates := map[injector.Fate]int{}
	for _, p := range s.Packets {
		fates[p.Fate]++
	}
	if !s.Fired || fates[injector.Dropped] == 0 || fates[injector.Forged] == 0 || fates[injector.Replacement] != 0 || fates[injector.Passed] < 6 {
		t.Errorf("fired %t, packets %+v", s.Fired, s.Packets)
	}
}
