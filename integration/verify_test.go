package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestVerifyAtOnce checks that concurrent verify commands do not disturb each
// other, in one network namespace and with one user: each finds what it finds
// alone, and leaves nothing behind.
func TestVerifyAtOnce(t *testing.T) {
	bin := program(t)
	for _, m := range cageKinds(t) {
		if m.shared() {
			continue // each strikes the connections of all
		}
		t.Run(m.name, func(t *testing.T) { // one kind after the other: the watchdog ends who gets no processor
			n := newTestbed(t, loopback, false).node()
			var all sync.WaitGroup
			for i := range 4 {
				all.Go(func() {
					faults, every, want := "reset,refuse,delay:by=1ms", "1", 3
					if i%2 == 1 {
						faults, every, want = "observe,delay:by=1ms", "2", 0
					}
					code, out := m.run(t, n, "", "verify", "--faults", faults, "--every", every, "--", "sh", "-c", fmt.Sprintf("%s=pair %s", roleEnvVar, bin))
					failed := strings.Count(out, "FAILED  ")
					if code != want || failed != want-want/3 || strings.Contains(out, "never fired  ") {
						t.Errorf("%s: exit code %d, want %d\n%s", faults, code, want, out)
					}
				})
			}
			all.Wait()
			m.nothingLeft(t, n, 0, "")
		})
	}
}

// TestVerifyJobs checks that cases which run side by side find what they find alone,
// that a cage which is emptied leaves the others alone, and that nothing is left of
// what the commands leave running.
func TestVerifyJobs(t *testing.T) {
	bin := program(t)
	for _, m := range cageKinds(t) {
		t.Run(m.name, func(t *testing.T) { // one kind after the other: the watchdog ends who gets no processor
			n := newTestbed(t, loopback, false).node()
			code, out := m.run(t, n, "", "verify", "--jobs", "4", "--faults", "reset,observe,delay:by=1ms,refuse,observe,reset:at=fin", "--every", "1", "--allow-idle", "--",
				"sh", "-c", fmt.Sprintf("sleep 600 & %s=pair %s", roleEnvVar, bin))
			var got []string
			for line := range strings.Lines(out) {
				if words := strings.Fields(line); len(words) > 1 && strings.HasPrefix(line, "  ") {
					if word := words[1]; word == "FAILED" || word == "survived" {
						got = append(got, words[0]+" "+word)
					}
				}
			}
			want := "reset:at=request FAILED, delay:by=1ms survived, refuse FAILED"
			if code != 3 || !strings.Contains(strings.Join(got, ", "), want) || strings.Contains(out, "one at a time") != m.shared() {
				t.Errorf("exit code %d, %q; want %q\n%s", code, got, want, out)
			}
			m.nothingLeft(t, n, 0, "")
		})
	}
}

// TestNeverFired checks that a fault that matches nothing does not count as a
// pass, and that every form of a report says so.
func TestNeverFired(t *testing.T) {
	t.Parallel()
	n := newTestbed(t, loopback, false).node()
	m := cageKind{name: "isolated", flags: []string{"--isolate"}}
	for _, form := range []string{"xml", "html", "json", "md"} {
		for verb, want := range map[string]int{"run": 124, "verify": 4} {
			file := filepath.Join(t.TempDir(), "report."+form)
			args := []string{"reset:at=request", "--report", file, "--", "true"}
			if verb == "verify" {
				args = append([]string{"--faults"}, args...)
			}
			code, out := m.run(t, n, "", verb, args...)
			text, err := os.ReadFile(file)
			if err != nil || code != want || !strings.Contains(strings.ToLower(string(text)), "never fired") || !strings.Contains(out, "never fired") {
				t.Errorf("%s --report %s: exit code %d, want %d; %v\n%s\n%s", verb, form, code, want, err, out, text)
			}
		}
	}
}
