package integration

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/integration/userns"
	"golang.org/x/sys/unix"
)

// ownNetns moves the test to a thread of its own in an empty network namespace,
// so that what is injected is out of everybody's way.
func ownNetns(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread goes with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	if err := userns.LoopbackUp(); err != nil {
		t.Fatal(err)
	}
}

// watched is a test whose end is looked at.
type watched struct {
	testing.TB
	errors   []string
	cleanups []func()
}

func (w *watched) Errorf(format string, args ...any) {
	w.errors = append(w.errors, fmt.Sprintf(format, args...))
}
func (w *watched) Fatalf(format string, args ...any) {
	w.Errorf(format, args...)
	panic(w)
}
func (w *watched) Logf(string, ...any) {}
func (w *watched) Cleanup(f func())    { w.cleanups = append(w.cleanups, f) }

// watch runs a test and returns of what it failed.
func watch(t *testing.T, test func(t testing.TB)) string {
	w := &watched{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != w {
				panic(r)
			}
		}()
		test(w)
	}()
	for i := len(w.cleanups) - 1; i >= 0; i-- {
		w.cleanups[i]()
	}
	return strings.Join(w.errors, "\n")
}

// TestInject holds that a fault is there when Inject returns, gone after the
// test, and that a test fails whose fault never fired.
func TestInject(t *testing.T) {
	ownNetns(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go serve(ln)
	addr := ln.Addr().String()
	_, port, _ := net.SplitHostPort(addr)

	if failed := watch(t, func(t testing.TB) {
		i := Inject(t, "reset:at=request", To(addr), Skip(1), Every(2))
		for n := range 4 {
			if err := ask(addr); (err != nil) != (n%2 == 1) {
				t.Errorf("connection %d: %v", n, err)
			}
		}
		if i.Fired() != 2 {
			t.Errorf("fired on %d connections, want 2", i.Fired())
		}
		i.Remove()
		if err := ask(addr); err != nil {
			t.Errorf("after Remove: %v", err)
		}
	}); failed != "" {
		t.Error(failed)
	}
	for what, tc := range map[string]struct {
		spec    string
		options []Option
		says    string
	}{
		"no match":   {"reset:at=request", []Option{To("127.0.0.1:1")}, "never fired: no connection matched"},
		"no moment":  {"idle-expire:after=1h", []Option{To(":" + port)}, "never fired: the moment"},
		"one of two": {"observe,idle-expire:after=1h", []Option{To("localhost:" + port)}, "idle-expire never fired"},
		"allowed":    {"idle-expire:after=1h", []Option{To("[::]:" + port), AllowIdle()}, ""},
		"nobody":     {"observe", []Option{To(addr), From("127.0.0.2")}, "no connection matched"},
		"everybody":  {"delay:by=1ms", []Option{To(addr), From("127.0.0.0/8")}, ""},
		"excepted":   {"observe", []Option{From("127.0.0.1"), Except(addr)}, "no connection matched"},
		"typo":       {"idle-expier", []Option{To(addr)}, `did you mean "idle-expire"?`},
		"no time":    {"idle-expire", []Option{To(addr)}, "how long may a flow be idle?"},
		"no port":    {"observe", []Option{To("127.0.0.1")}, "not HOST:PORT"},
		"bad client": {"observe", []Option{To(addr), From("somebody")}, "neither an IP address nor a CIDR"},
		"too many":   {"observe", []Option{To(addr), Percent(101)}, "outside 0 to 100"},
	} {
		failed := watch(t, func(t testing.TB) {
			Inject(t, tc.spec, tc.options...)
			if err := ask(addr); err != nil {
				t.Errorf("a healthy connection: %v", err)
			}
		})
		if !strings.Contains(failed, tc.says) || tc.says == "" && failed != "" {
			t.Errorf("%s: the test failed of %q, want something about %q", what, failed, tc.says)
		}
	}
	if !userns.Inside() {
		if failed := watch(t, func(t testing.TB) { Inject(t, "observe") }); !strings.Contains(failed, "name the service with To") {
			t.Errorf("without a target: %q", failed)
		}
	}
}
