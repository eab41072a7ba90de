package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/cli"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/lab"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// roleEnvVar makes the test binary another program: faultctl, or an injector
// whose worker is stuck.
const roleEnvVar = "FAULTCTL_TEST_PLAY"

// runRole runs that program, if roleEnvVar is set. It is called before any test.
func runRole() {
	if hosts, ok := strings.CutPrefix(os.Getenv(roleEnvVar), hostsRole); ok {
		fmt.Fprintln(os.Stderr, withHosts(hosts)) // it returns only if it fails
		os.Exit(1)
	}
	switch role := os.Getenv(roleEnvVar); role {
	case clone3Refused, cgroupHidden, twoCapabilities:
		fmt.Fprintln(os.Stderr, role+":", confine(role)) // it returns only if it fails
		os.Exit(1)
	case "faultctl":
		follow()
		os.Exit(cli.Main(os.Args))
	case "pair":
		playPair(4)
	case "ask":
		if err := ask(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "sandboxed":
		follow()
		playSandboxed()
	case "stuck":
		follow()
		inj, err := injector.Start(context.Background(), injector.Config{
			Rules:  []injector.Rule{{Match: target.Matcher{}, Faults: []injector.NamedModel{{Name: "stuck", Model: stuck{}}}}},
			Queues: 2, // one worker is enough
		})
		if err == nil {
			fmt.Println(`{"event":"ready"}`)
			err = inj.Wait()
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// starterEnv names the test process that started this one.
const starterEnv = "FAULTCTL_TEST_STARTER"

// roleEnv returns the environment of a process with that role, which ends with
// this process.
func roleEnv(role string, more ...string) []string {
	return slices.Concat(os.Environ(), more, []string{roleEnvVar + "=" + role, fmt.Sprintf("%s=%d", starterEnv, os.Getpid())})
}

// follow makes this process end with the test process. If the test process is
// killed, or ended by its time limit, it cleans nothing up, and what it leaves
// would run forever and hold inherited files open, such as a lock that others
// wait for. faultctl itself takes care of what it starts.
func follow() {
	mine := func() bool { return strconv.Itoa(os.Getppid()) == os.Getenv(starterEnv) }
	if !mine() {
		return
	}
	go func() {
		for mine() {
			time.Sleep(time.Second)
		}
		unix.Kill(os.Getpid(), unix.SIGKILL)
	}()
}

// stuck is a fault that never returns.
type stuck struct{}

func (stuck) Validate() error                                         { return nil }
func (stuck) Diverts() faults.Diversion                               { return faults.Diversion{SYN: true, All: true} }
func (stuck) Start() faults.Instance                                  { return faults.PerFlow(func() faults.Fault { return stuck{} }) }
func (stuck) OnSegment(*faults.Event, *faults.Effects) faults.Verdict { select {} }

// process is a faultctl in a process of its own.
type process struct {
	t      *testing.T
	node   *lab.Node
	cmd    *exec.Cmd
	events chan map[string]any // closed at the end of its output
	stderr strings.Builder
	ended  chan struct{} // closed when it has ended
}

// start starts faultctl where the testbed's vantage says, and returns at once.
func (w *testbed) start(role string, args ...string) *process {
	w.t.Helper()
	p := &process{t: w.t, node: w.node(), events: make(chan map[string]any, 1000), ended: make(chan struct{})}
	p.cmd = exec.Command("/proc/self/exe", args...)
	p.cmd.Args[0] = "faultctl"
	p.cmd.Env = roleEnv(role, w.env...)
	out, in := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = in, &p.stderr
	p.cmd.WaitDelay, p.cmd.SysProcAttr = patience, w.attr
	if err := p.node.Do(p.cmd.Start); err != nil { // a child starts in the namespace of its parent's thread
		w.t.Fatal(err)
	}
	overdue := expose(p.cmd)
	go func() {
		p.cmd.Wait()
		overdue.Stop()
		in.Close()
	}()
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var ev map[string]any
			if json.Unmarshal(lines.Bytes(), &ev) == nil {
				p.events <- ev
			}
		}
		out.Close() // after a line that is too long, the process gets a broken pipe
		close(p.events)
		close(p.ended)
	}()
	w.t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.end()
	})
	return p
}

// patience is how long the output of a process that has ended may be held open by
// processes that it left behind. After that the test says so.
const patience = 20 * time.Second

// expose makes a process that hangs print its stacks, and end.
func expose(cmd *exec.Cmd) *time.Timer {
	return time.AfterFunc(4*time.Minute, func() {
		cmd.Process.Signal(syscall.SIGABRT) // the runtime writes every stack
		time.Sleep(patience)
		cmd.Process.Kill() // a stopped or frozen process reacts to nothing else
	})
}

// wait waits for an event.
func (p *process) wait(event string) map[string]any {
	p.t.Helper()
	for ev := range p.events {
		if ev["event"] == event {
			return ev
		}
	}
	<-p.ended
	p.t.Fatalf("no event %q; exit %v\n%s", event, p.cmd.ProcessState, p.stderr.String())
	return nil
}

// end waits for the end of the process and returns its exit code, or -1 if a
// signal ended it.
func (p *process) end() int {
	for range p.events {
	}
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// tables lists faultctl's nftables tables on the host.
func tables(t *testing.T, n *lab.Node) []string {
	t.Helper()
	return tablesIn(t, n.NS)
}

// tablesIn lists faultctl's nftables tables in a network namespace.
func tablesIn(t *testing.T, ns *os.File) []string {
	t.Helper()
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	list, err := conn.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	var ours []string
	for _, table := range list {
		if strings.HasPrefix(table.Name, "faultctl") {
			ours = append(ours, table.Name)
		}
	}
	return ours
}

// gone waits until nothing of faultctl is left on the host, and returns how long
// that took.
func gone(t *testing.T, n *lab.Node) time.Duration {
	t.Helper()
	start := time.Now()
	if !lab.Eventually(func() bool { return len(tables(t, n)) == 0 }) {
		t.Fatalf("left behind: %v", tables(t, n))
	}
	return time.Since(start)
}
