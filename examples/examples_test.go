// Package examples has programs with one known weakness each, which a flag
// repairs, and checks what verify finds in them.
package examples

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/cli"
)

// roleEnvVar makes the test binary faultctl.
const roleEnvVar = "FAULTCTL_TEST_PLAY"

func TestMain(m *testing.M) {
	if os.Getenv(roleEnvVar) == "faultctl" {
		os.Exit(cli.Main(os.Args))
	}
	for _, v := range os.Environ() { // flags that the user has set for other runs
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "FAULTCTL_") && name != "FAULTCTL_REQUIRE" {
			os.Unsetenv(name)
		}
	}
	flag.Parse()
	flag.Set("test.parallel", "16") // these tests spend most of their time waiting
	code := m.Run()
	if programs != "" {
		os.RemoveAll(programs)
	}
	os.Exit(code)
}

// programs is where the example programs are built.
var programs string

// build builds the example programs, once.
func build(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "faultctl-examples-")
	if err != nil {
		t.Fatal(err)
	}
	programs = dir
	cmd := exec.Command("go", "build", "-o", dir, "./orders", "./pool", "./reader")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
}

// finding is what verify reports of one case.
type finding struct{ Case, Verdict, Exit, Reason, Output, Remedy string }

// verify runs faultctl verify with --isolate, which needs no root, and returns its
// exit code and what it found.
func verify(t *testing.T, flags []string, command ...string) (code int, found []finding) {
	t.Helper()
	args := slices.Concat([]string{"verify", "--isolate", "-o", "json"}, flags, []string{"--"}, command)
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "faultctl"
	cmd.Env = append(os.Environ(), roleEnvVar+"=faultctl", "GORACE=atexit_sleep_ms=0")
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	cmd.Run()
	for _, line := range bytes.Split(out.Bytes(), []byte("\n")) {
		var ev struct {
			Event string
			finding
		}
		if json.Unmarshal(line, &ev) == nil && ev.Event == "result" {
			found = append(found, ev.finding)
		}
	}
	if len(found) == 0 || stderr.Len() > 0 {
		t.Fatalf("faultctl %s: %v\n%s%s", strings.Join(args, " "), cmd.ProcessState, &out, &stderr)
	}
	return cmd.ProcessState.ExitCode(), found
}

// cases lists the names of the faults with that verdict.
func cases(found []finding, verdict string) []string {
	var names []string
	for _, f := range found {
		if f.Verdict == verdict {
			name, _, _ := strings.Cut(f.Case, ":")
			names = append(names, name)
		}
	}
	return names
}

// TestWeaknesses checks that verify finds exactly the weaknesses that were planted
// in the programs, under every reset cause, and none in the repaired programs.
func TestWeaknesses(t *testing.T) {
	build(t)
	for _, tc := range []struct {
		command string
		flags   []string
		fails   []string // the planted weaknesses
		idle    []string // faults that never fire: the program has no keepalive
	}{
		{"orders", []string{"--plan", "plan.txt"},
			[]string{"reset", "idle-expire", "half-open", "closed-socket", "refuse", "unreachable"}, nil},
		{"orders -retry -idempotent", []string{"--plan", "plan.txt"}, nil, nil},
		{"pool", []string{"--plan", "plan.txt"},
			[]string{"reset", "idle-expire", "half-open", "closed-socket", "unread-close"}, nil},
		{"pool -validate", []string{"--plan", "plan.txt"}, nil, nil},
		{"reader", []string{"--plan", "reader/plan.txt", "--timeout", "10s"},
			[]string{"idle-expire", "half-open"}, []string{"keepalive-drop"}},
		{"reader -keepalive", []string{"--plan", "reader/plan.txt"}, nil, nil},
	} {
		t.Run(tc.command, func(t *testing.T) {
			t.Parallel()
			words := strings.Fields(tc.command)
			words[0] = filepath.Join(programs, words[0])
			code, found := verify(t, tc.flags, words...)
			want := 0
			if len(tc.fails) > 0 {
				want = 3
			}
			failed, idle, survived := cases(found, "failed"), cases(found, "never fired"), cases(found, "survived")
			if code != want || !slices.Equal(failed, tc.fails) || !slices.Equal(idle, tc.idle) || len(survived) != 16-len(failed)-len(idle) {
				t.Errorf("exit code %d, want %d; failed %q, want %q; never fired %q, want %q; survived %q", code, want, failed, tc.fails, idle, tc.idle, survived)
			}
			for _, f := range found {
				if f.Verdict == "failed" && (f.Remedy == "" || f.Exit == "exit 0") {
					t.Errorf("%+v", f)
				}
				if t.Failed() {
					t.Logf("%s: %s, %s %s\n%s", f.Case, f.Verdict, f.Exit, f.Reason, f.Output)
				}
			}
		})
	}
	t.Run("doubled order", func(t *testing.T) {
		t.Parallel()
		for _, tc := range []struct{ flags, verdict, says string }{
			{"", "failed", "order 0:"},
			{"-retry", "failed", "4 orders were wanted and 6 were placed"}, // the article's warning
			{"-retry -idempotent", "survived", ""},
		} {
			command := append([]string{filepath.Join(programs, "orders")}, strings.Fields(tc.flags)...)
			_, found := verify(t, []string{"--faults", "reset:at=response,hit=client", "--every", "3"}, command...)
			if f := found[len(found)-1]; f.Verdict != tc.verdict || !strings.Contains(f.Output, tc.says) {
				t.Errorf("orders %s: %+v, want %s and something about %q", tc.flags, f, tc.verdict, tc.says)
			}
		}
	})
}

// TestRedis checks the same for a program that is not ours: redis-cli in a loop,
// with and without retries. redis-cli retries a refused connection by itself.
func TestRedis(t *testing.T) {
	for _, name := range []string{"redis-cli", "redis-server"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("FAULTCTL_REQUIRE") == "1" {
				t.Fatalf("%s is needed: %v", name, err)
			}
			t.Skipf("%s is not installed", name)
		}
	}
	t.Parallel()
	const plan = "reset,syn-drop,half-open,closed-socket,unread-close,refuse,unreachable,connect-stall,paws-reject,bad-seq"
	for _, tc := range []struct {
		ask   string // the command in the loop
		fails []string
	}{
		{`redis-cli -e -p 6400 incr n`, []string{"reset", "half-open", "closed-socket"}},
		{`again redis-cli -e -p 6400 incr n`, nil},
	} {
		_, found := verify(t, []string{"--faults", plan, "--to", ":6400"}, "sh", "-c", fmt.Sprintf(`
			redis-server --port 6400 --save "" --bind 127.0.0.1 --dir / >/dev/null &
			again() { "$@" || { sleep 0.1; "$@"; } || { sleep 0.1; "$@"; } || { sleep 0.1; "$@"; }; }
			i=0; until redis-cli -e -p 6400 ping >/dev/null 2>&1; do i=$((i+1)); [ $i -lt 200 ] || exit 9; sleep 0.05; done
			for k in 1 2 3 4; do %s || exit 1; done`, tc.ask))
		if failed := cases(found, "failed"); !slices.Equal(failed, tc.fails) {
			t.Errorf("%s: failed %q, want %q", tc.ask, failed, tc.fails)
		}
		for _, f := range found {
			t.Logf("%s: %s, %s %s %s", f.Case, f.Verdict, f.Exit, f.Reason, f.Output)
		}
	}
}
