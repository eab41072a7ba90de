package replay

import (
	"os"
	"strings"
	"testing"
)

// FuzzRead checks that no recording makes its reader panic, and that none has a command or
// a file in what it would repeat.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"events", "run", "scenario"} {
		text, err := os.ReadFile("../../cli/testdata/" + name + ".ndjson")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(`{"time":"2026-03-04T12:00:01Z","event":"started","faults":["reset"],"seed":1,"spec":{"fault":"reset","command":["sh"],"pcap":"/etc/x","while":"reboot"}}` + "\n")
	f.Add("{}\n{\"event\":\"fired\"}\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Read(strings.NewReader(text))
		if err == nil && (r.Spec.Command != nil || r.Spec.Pcap != "" || r.Spec.Reports != nil || r.Spec.Metrics != "") {
			t.Errorf("it would run or write something: %+v", r.Spec)
		}
	})
}
