package faultctl_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	faultctl "github.com/faultctl/faultctl/clients/go"
)

// TestMain runs the tests where integration does: with a faultctl to start, in a network
// namespace of their own.
func TestMain(m *testing.M) {
	if os.Getenv("FAULTCTL_BIN") == "" {
		fmt.Println("without FAULTCTL_BIN there is no faultctl to ask: TestLanguages of integration runs these tests")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// echo starts a service that returns what it is sent.
func echo(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

// struck reports whether a connection is reset.
func struck(t *testing.T, addr string) bool {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintln(c, "hello")
	_, err = bufio.NewReader(c).ReadString('\n')
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	return err != nil
}

func until(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come")
		}
	}
}

// TestInject holds that a fault is in force until Stop or the end of a test, can be
// changed, and leaves nothing.
func TestInject(t *testing.T) {
	addr := echo(t)
	t.Run("fault", func(t *testing.T) {
		i := faultctl.Inject(t, "reset", faultctl.To(addr), faultctl.Lease(6*time.Second))
		if !struck(t, addr) {
			t.Error("the connection is not struck")
		}
		i.Pause()
		if struck(t, addr) {
			t.Error("it is struck in a pause")
		}
		i.Resume()
		until(t, func() bool { return i.Fired() == 1 })
		i.Update(map[string]any{"target": map[string]any{"percent": 0}})
		if struck(t, addr) {
			t.Error("it is struck with a share of 0")
		}
		i.Update(map[string]any{"target": map[string]any{"percent": 100}})
		server, err := faultctl.Default()
		if err != nil {
			t.Fatal(err)
		}
		ends := func() time.Time {
			p, err := server.Process(t.Context())
			if err != nil || len(p.Experiments) != 1 || p.Experiments[0].Lease == nil {
				t.Fatal(p, err)
			}
			return *p.Experiments[0].Lease
		}
		first := ends()
		until(t, func() bool { return ends().After(first) }) // it is renewed
		if !struck(t, addr) {
			t.Error("it is not struck any more")
		}
	})
	if struck(t, addr) {
		t.Error("it is struck behind the test")
	}
	i := faultctl.Inject(t, "reset", faultctl.To(addr), faultctl.And("delay:by=1ms"), faultctl.Target("first", 1), faultctl.AllowIdle())
	i.Stop()
	if struck(t, addr) || i.Fired() != 0 {
		t.Error("it is struck after Stop")
	}
}

// failing is a test that takes its failures down instead of failing.
type failing struct {
	testing.TB
	said     strings.Builder
	cleanups []func()
}

func (f *failing) Helper()                   {}
func (f *failing) Skipped() bool             { return false }
func (f *failing) Cleanup(do func())         { f.cleanups = append(f.cleanups, do) }
func (f *failing) Logf(string, ...any)       {}
func (f *failing) Errorf(s string, a ...any) { fmt.Fprintf(&f.said, s+"\n", a...) }
func (f *failing) Fatalf(s string, a ...any) { f.Errorf(s, a...); panic(f) }

// fails runs a test that is expected to fail, and returns what it says.
func fails(t *testing.T, test func(t testing.TB)) string {
	f := &failing{TB: t}
	func() {
		defer func() {
			if p := recover(); p != nil && p != any(f) {
				panic(p)
			}
		}()
		test(f)
	}()
	for _, do := range f.cleanups {
		do()
	}
	return f.said.String()
}

// TestFailures holds what makes a test fail, and what it says.
func TestFailures(t *testing.T) {
	addr := echo(t)
	for name, tc := range map[string]struct {
		test func(t testing.TB)
		says string
	}{
		"never fired": {func(t testing.TB) { faultctl.Inject(t, "reset", faultctl.To(addr)) }, "reset never fired"},
		"no target":   {func(t testing.TB) { faultctl.Inject(t, "reset") }, "Name the service"},
		"no fault":    {func(t testing.TB) { faultctl.Inject(t, "rset", faultctl.To(addr)) }, `did you mean "reset"`},
		"no lease":    {func(t testing.TB) { faultctl.Inject(t, "reset", faultctl.To(addr), faultctl.Lease(1)) }, "at least a second"},
		"files":       {func(t testing.TB) { faultctl.Inject(t, "reset", faultctl.To(addr), faultctl.Word("pcap", "/x")) }, "Leave it out"},
		"bad change": {func(t testing.TB) {
			faultctl.Inject(t, "reset", faultctl.To(addr)).Update(map[string]any{"target": map[string]any{"percent": 400}})
		}, "from 0 to 100"},
	} {
		if said := fails(t, tc.test); !strings.Contains(said, tc.says) {
			t.Errorf("%s: want %q in\n%s", name, tc.says, said)
		}
	}
	if struck(t, addr) {
		t.Error("it is struck")
	}
}

// childEnv has TestKilled hold a fault until it is killed: the service.
const childEnv = "FAULTCTL_TEST_CHILD"

// TestKilled holds that a test that is killed leaves no fault, neither with a faultctl
// of its own nor with one that goes on.
func TestKilled(t *testing.T) {
	if addr := os.Getenv(childEnv); addr != "" {
		faultctl.Inject(t, "reset", faultctl.To(addr), faultctl.Lease(4*time.Second))
		fmt.Println("in force")
		select {}
	}
	addr := echo(t)
	path := filepath.Join(t.TempDir(), "s")
	shared := exec.Command(os.Getenv("FAULTCTL_BIN"), "serve", "--socket", path)
	if err := shared.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		shared.Process.Signal(syscall.SIGTERM)
		shared.Wait()
	}()
	server, err := faultctl.Connect(path, "")
	if err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { _, err := server.Process(t.Context()); return err == nil })
	for _, socket := range []string{"", path} {
		child := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		child.Env = append(os.Environ(), childEnv+"="+addr, "FAULTCTL_SOCKET="+socket)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "in force"; {
		}
		if !struck(t, addr) {
			t.Error("the connection is not struck")
		}
		p, err := server.Process(t.Context())
		if err != nil || len(p.Experiments) != map[bool]int{true: 1}[socket != ""] {
			t.Errorf("%q: %v, %v", socket, p.Experiments, err)
		}
		child.Process.Kill()
		child.Wait()
		until(t, func() bool { return !struck(t, addr) })
	}
}

// TestNoFaultctl holds what is said where there is none.
func TestNoFaultctl(t *testing.T) {
	if _, err := faultctl.Start("/nowhere/faultctl"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	if _, err := faultctl.Start("/bin/false"); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Error(err)
	}
	if _, err := faultctl.Connect("https://127.0.0.1:1", ""); err == nil {
		t.Error("https is accepted")
	}
}
