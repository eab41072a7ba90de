package cli

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/injector"
)

// What is wrong with a command line is said, with the contract's exit code, and
// nothing was started.
func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		line string
		code int
		says string
	}{
		{"injet", 2, `unknown command "injet", did you mean "inject"?`},
		{"reset", 2, `did you mean faultctl inject reset?`},
		{"inject", 2, "which FAULT?"},
		{"inject rset", 2, `unknown fault "rset", did you mean "reset"?`},
		{"inject nothing-like-it", 2, "There are reset, "},
		{"inject idle-expire --after 300", 2, `"300" has no unit: did you mean 300s?`},
		{"inject idle-expire:after=300", 2, `"300" has no unit: did you mean 300s?`},
		{"inject idle-expire --aftr 300s", 2, `unknown flag --aftr, did you mean "after"?`},
		{"inject --aftr 300s idle-expire", 2, `unknown flag --aftr, did you mean "after"?`},
		{"inject idle-expire:aftr=3s", 2, `unknown setting "aftr", did you mean "after"?`},
		{"inject idle-expire:after=1s,then=nope", 2, "nope"},
		{"inject after=3s", 2, "no fault stands before it"},
		{"inject idle-expire", 2, "how long may a flow be idle?"},
		{"inject idle-expire --preset aws-nbl", 2, `did you mean "aws-nlb"?`},
		{"inject reset --after 3s", 2, "--after is a setting of idle-expire"},
		{"inject idle-expire --preset router", 2, "there are aws-nlb, "},
		{"inject reset --to 10.0.0.1:80 --from fd00::1", 2, "no connection has both"},
		{"inject reset --to :80 --to !:1-100", 2, "leaves out all that --to names"},
		{"inject reset --to 10.1.0.0/16:80 --to 10.0.0.1 --to !10.0.0.0/8", 2, "leaves out all that --to names"},
		{"inject reset --shape", 2, "--shape needs a value"},
		{"inject reset syn-drop", 2, "--fault syn-drop"},
		{"inject reset extra", 2, `unexpected argument "extra"`},
		{"inject reset -- extra", 2, `unexpected argument "extra"`},
		{"inject reset -- extra", 2, "use faultctl run or faultctl verify"},
		{"inject reset --at fin --chance 5%", 2, "give one"},
		{"inject reset --fault reset", 2, "contradict"},
		{"inject syn-drop --fault reset --to :80", 2, "contradict"},
		{"inject reset --fault nope", 2, "--fault nope: unknown fault"},
		{"inject reset --fault nope", 2, "There are reset, syn-drop, "},
		{"inject reset --to 5432", 2, "did you mean :5432?"},
		{"inject reset --to :99999", 2, `"99999" is not a port`},
		{"inject reset --to nowhere.internal:80", 2, "look up the host name"},
		{"inject reset --from 10.0.0.0/33", 2, `"10.0.0.0/33" is not a CIDR`},
		{"inject reset --percent 101", 2, "--percent 101: lies outside 0 to 100"},
		{"inject reset --percent ten", 2, "not a number"},
		{"inject reset --percent NaN", 2, "not a number"},
		{"inject reset --every 0", 2, "--every 0: not a whole number from 1 on"},
		{"inject reset --first -1", 2, "--first -1"},
		{"inject reset --max-connections x", 2, "--max-connections x"},
		{"inject reset --to :80 --duration 60", 2, `"60" has no unit: did you mean 60s?`},
		{"inject reset --to :80 --start-after 1x", 2, "--start-after"},
		{"inject reset --to :80 --seed -4", 2, "--seed -4"},
		{"inject reset --to :80 --queues 0", 2, "--queues 0"},
		{"inject reset --to :80 --queues 17", 2, "--queues 17: not a whole number from 1 to 16"},
		{"inject reset --to :80 --log-level wran", 2, `did you mean "warn"?`},
		{"inject reset --to :80 -o jsno", 2, `did you mean "json"?`},
		{"inject reset --netns nope", 2, "no such network namespace"},
		{"inject reset --netns /etc/passwd", 2, "not a network namespace"},
		{"inject reset --netns /proc/self/ns/mnt", 2, "not a network namespace"},
		{"inject reset --pid 0", 2, "not the number of a process"},
		{"inject reset --pid 77", 2, "there is no such process"},
		{"inject reset --pid 77 --netns x", 2, "give one"},
		{"faults rset", 2, `did you mean "reset"?`},
		{"faults reset syn-drop", 2, `unexpected argument "syn-drop"`},
		{"faults reset syn-drop", 2, "faultctl faults takes one FAULT, and flags that begin with --"},
		{"faults reset,syn-drop", 2, "it takes one fault at a time"},
		{"demo reset,syn-drop", 2, "it takes one fault at a time"},
		{"demo reset --fault refuse", 2, "unknown flag --fault"},
		{"replay events --to :80", 2, "unknown flag --to\n"},
		{"doctor now", 2, `unexpected argument "now"`},
		{"doctor --hlep", 2, "unknown flag --hlep"},
		{"cleanup all", 2, `unexpected argument "all"`},
		{"version -o yaml", 2, `--output "yaml" is neither text nor json`},
		{"completion bash zsh", 2, `unexpected argument "zsh"`},
		{"completion tcsh", 2, `unknown shell "tcsh"`},
		{"--bogus", 2, "faultctl: unknown flag --bogus"},
		{"inject reset --new-only=maybe", 2, "reset: --new-only=maybe: it is true or false"},
		{"inject reset --every=", 2, "--every is empty"},
		{"inject reset --to http://10.0.0.1:80/", 2, "did you mean 10.0.0.1:80?"},
		{"inject reset --to fd00::/64", 2, "did you mean [fd00::/64]?"},
		{"inject idle-expire:after=1s,then=rst-nxt", 2, `"rst-nxt" is none of rst-next, silent`},
		{"inject idle-expire:after=1s,foo=2", 2, "faultctl faults idle-expire explains every setting"},
		{"inject reset --at=", 2, "--at is empty"},
		{"completion", 2, "for which shell?"},
		{"help injet", 2, `did you mean "inject"?`},
		{"help inject rset", 2, `did you mean "reset"?`},
		{"help doctor reset", 2, `help doctor: unexpected argument "reset"`},
	} {
		t.Run(tc.line, func(t *testing.T) {
			w := newWorld(t)
			code := w.faultctl(tc.line)
			if code != tc.code || !strings.Contains(w.err.String(), tc.says) {
				t.Errorf("exit %d, want %d; stderr, which should say %q:\n%s", code, tc.code, tc.says, &w.err)
			}
			if w.cfg.Rules != nil {
				t.Error("a run was started")
			}
			if w.out.Len() > 0 {
				t.Errorf("stdout: %s", &w.out)
			}
			if !strings.HasPrefix(w.err.String(), "faultctl: ") {
				t.Errorf("stderr does not begin with faultctl: %q", &w.err)
			}
		})
	}
}

// The limit that --queues names is the one that a run holds to.
func TestMostQueues(t *testing.T) {
	w := newWorld(t)
	if code := w.faultctl("inject reset --to :80 --duration 1s --queues 16"); code != exitOK || w.cfg.Validate() != nil {
		t.Errorf("--queues 16: exit %d, %v", code, w.cfg.Validate())
	}
	if w.cfg.Queues++; w.cfg.Validate() == nil {
		t.Error("17 queues are fine too")
	}
}

// An empty shell variable must never mean every connection of the host.
func TestEmptyTargetIsRefused(t *testing.T) {
	for _, flag := range []string{"--to", "--from", "--netns", "--pid"} {
		w := newWorld(t)
		if code := w.run([]string{"faultctl", "inject", "reset", flag, ""}); code != exitUsage || w.cfg.Rules != nil {
			t.Errorf("%s '': exit %d, started %v", flag, code, w.cfg.Rules != nil)
		}
	}
}

// TestNameServerSilent holds that a name server which does not answer is no wrong
// use of a flag, and a name that it does not have is.
func TestNameServerSilent(t *testing.T) {
	for silent, want := range map[bool]int{false: exitUsage, true: exitFailure} {
		for _, flag := range []string{"--to db.internal:80", "--from db.internal"} {
			w := newWorld(t)
			w.sys.Lookup = func(context.Context, string) ([]netip.Addr, error) {
				return nil, &net.DNSError{Err: "server misbehaving", Name: "db.internal", IsNotFound: !silent}
			}
			if code := w.faultctl("inject reset " + flag); code != want || strings.Contains(w.err.String(), "/etc/hosts") != silent {
				t.Errorf("%s: exit %d, want %d\n%s", flag, code, want, &w.err)
			}
		}
	}
}

func TestRequireTarget(t *testing.T) {
	for line, want := range map[string]int{
		"inject reset":                   exitRefused,
		"inject reset --percent 1":       exitRefused, // a share of everything is no target
		"inject reset --to !:22":         exitRefused, // everything but one port is none either
		"inject reset --to :80":          exitOK,
		"inject reset --from 10.0.0.0/8": exitOK,
	} {
		w := newWorld(t)
		t.Setenv("FAULTCTL_REQUIRE_TARGET", "1")
		if got := w.faultctl(line + " --duration 1s"); got != want {
			t.Errorf("%s: exit %d, want %d\n%s", line, got, want, &w.err)
		}
	}
}

// Whatever does not clearly say no turns the safety rail on.
func TestRequireTargetSpelt(t *testing.T) {
	for value, want := range map[string]int{
		"": exitOK, "0": exitOK, "false": exitOK, "no": exitOK, "off": exitOK,
		"1": exitRefused, "true": exitRefused, "yes": exitRefused, "on": exitRefused, "2": exitRefused,
	} {
		w := newWorld(t)
		t.Setenv("FAULTCTL_REQUIRE_TARGET", value)
		if got := w.faultctl("inject reset --duration 1s"); got != want {
			t.Errorf("%q: exit %d, want %d", value, got, want)
		}
	}
}

// A toggle's variable with a value that is none is named.
func TestNotBool(t *testing.T) {
	w := newWorld(t)
	t.Setenv("FAULTCTL_NEW_ONLY", "maybe")
	if code := w.faultctl("inject reset"); code != exitUsage || !strings.Contains(w.err.String(), "FAULTCTL_NEW_ONLY=maybe: it is true or false") {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
}

func TestProtectedTargetIsRefused(t *testing.T) {
	for line, want := range map[string]int{
		"--to 10.0.0.2:22 --from 10.0.0.1":                  exitRefused,
		"--to 10.0.0.2:22 --from 10.0.0.9":                  exitOK,
		"--to 10.0.0.2:22":                                  exitOK, // protected, but others are meant as well
		"--to 10.0.0.2:22,80 --from 10.0.0.1":               exitRefused,
		"--to 10.0.0.2:20-30 --from 10.0.0.1":               exitOK,
		"--to 10.0.0.2:22 --from 10.0.0.0/24":               exitOK,
		"--to [::ffff:10.0.0.2]:22 --from 10.0.0.1/32":      exitRefused,
		"--to :80 --to 10.0.0.2:22 --from 10.0.0.1 -o json": exitRefused,
	} {
		w := newWorld(t)
		t.Setenv("SSH_CONNECTION", "10.0.0.1 4000 10.0.0.2 22")
		if got := w.faultctl("inject reset --duration 1s " + line); got != want {
			t.Errorf("%s: exit %d, want %d\n%s", line, got, want, &w.err)
		}
		if want == exitOK && len(w.cfg.Protect) != 1 {
			t.Errorf("%s: the SSH connection is not protected", line)
		}
	}
}

// What the injector reports becomes the contract's code.
func TestInjectorErrors(t *testing.T) {
	for _, tc := range []struct {
		err  error
		code int
		says string
	}{
		{fmt.Errorf("create an nftables table: %w", injector.ErrPermission), 5, "CAP_NET_ADMIN"},
		{fmt.Errorf("queue: %w", injector.ErrNotSupported), 5, "faultctl doctor"},
		{fmt.Errorf("x: %w", injector.ErrNoNamespace), 2, "x"},
		{fmt.Errorf("x: %w", injector.ErrConfig), 2, "x"},
		{syscall.EIO, 1, "input/output error"},
	} {
		w := newWorld(t)
		w.session.err = tc.err
		if code := w.faultctl("inject reset --to :80"); code != tc.code || !strings.Contains(w.err.String(), tc.says) {
			t.Errorf("%v: exit %d, want %d, saying %q:\n%s", tc.err, code, tc.code, tc.says, &w.err)
		}
		if strings.Contains(w.out.String(), "ended") {
			t.Errorf("a summary of nothing: %s", &w.out)
		}
	}
}

func TestErrorEvent(t *testing.T) {
	const want = `{"time":"2026-03-04T12:00:01.500000005Z","event":"error","code":2,"message":"--percent 101: lies outside 0 to 100","field":"percent"}` + "\n"
	for _, line := range []string{"inject reset -o json --percent 101", "inject --output=json --percent 101 reset"} {
		w := newWorld(t)
		if code := w.faultctl(line); code != exitUsage || w.out.String() != want {
			t.Errorf("%s: exit %d, stdout %s", line, code, &w.out)
		}
	}
	w := newWorld(t)
	t.Setenv("FAULTCTL_OUTPUT", "json")
	if w.faultctl("inject reset --percent 101"); w.out.String() != want {
		t.Errorf("FAULTCTL_OUTPUT=json: stdout %s", &w.out)
	}
}

func TestExpectFired(t *testing.T) {
	for _, tc := range []struct {
		flags string
		fires bool
		code  int
	}{
		{"", false, exitOK},
		{"--expect-fired", false, exitNotFired},
		{"--expect-fired", true, exitOK},
		{"--expect-fired --allow-idle", false, exitOK},
		{"--expect-fired --fault syn-drop:attempts=1", true, exitNotFired}, // each of them must
	} {
		w := newWorld(t)
		if tc.fires {
			oneFired(w, "reset")
			if strings.Contains(tc.flags, "syn-drop") {
				r := &w.session.stats.Rules[0]
				r.Faults = append(r.Faults, injector.FaultStats{Name: "syn-drop"})
			}
		}
		if code := w.faultctl("inject reset --to :80 --duration 1s " + tc.flags); code != tc.code {
			t.Errorf("%s, fires %v: exit %d, want %d", tc.flags, tc.fires, code, tc.code)
		}
	}
}

// TestNoMoreFiles holds that a limit that is used up is told with its name.
func TestNoMoreFiles(t *testing.T) {
	err := fmt.Errorf("find cgroup v2: %w", &os.PathError{Op: "open", Path: "/proc/self/mountinfo", Err: syscall.EMFILE})
	if a := experiment.AdviceOf(err); !strings.Contains(a, "ulimit -n") {
		t.Errorf("%v: %q does not say what to do", err, a)
	}
	if a := experiment.AdviceOf(fmt.Errorf("start ./job: %w", aboutFile(err))); !strings.Contains(a, "ulimit -n") {
		t.Errorf("%v: %q does not say what to do", err, a)
	}
}
