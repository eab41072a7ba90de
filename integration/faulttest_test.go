package integration

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faulttest"
	"github.com/faultctl/faultctl/internal/strike"
	"github.com/faultctl/faultctl/lab/userns"
	"golang.org/x/sys/unix"
)

// ownNetns moves the test to a new thread in an empty network namespace, so that
// its faults do not affect others. A test that hangs prints its stacks.
func ownNetns(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	if err := userns.LoopbackUp(); err != nil {
		t.Fatal(err)
	}
	hangs := time.AfterFunc(strike.Overdue, func() { panic(fmt.Sprintf("%s hangs:\n%s", t.Name(), strike.Stacks())) })
	t.Cleanup(func() { hangs.Stop() })
}

// echoes starts an echo service in the test's namespace.
func echoes(t *testing.T) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go serve(ln)
	return ln.Addr().String()
}

// watched is a testing.TB whose failures are recorded.
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

// watch runs a test and returns its failures.
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

// stranger has the only method that a Fault must have.
type stranger struct{}

func (stranger) Validate() error { return nil }

// TestInject checks that a fault is active when Inject returns and removed after
// the test, and that a test fails if its fault never fired.
func TestInject(t *testing.T) {
	ownNetns(t)
	addr := echoes(t)
	_, port, _ := net.SplitHostPort(addr)

	if failed := watch(t, func(t testing.TB) {
		i := faulttest.Inject(t, faulttest.Spec("reset:at=request"), faulttest.To(addr), faulttest.Skip(1), faulttest.Every(2))
		for n := range 4 {
			if err := ask(addr); (err != nil) != (n%2 == 1) {
				t.Errorf("connection %d: %v", n, err)
			}
		}
		if i.Fired() != 2 {
			t.Errorf("fired on %d connections, want 2", i.Fired())
		}
		i.Stop()
		if err := ask(addr); err != nil {
			t.Errorf("after Stop: %v", err)
		}
	}); failed != "" {
		t.Error(failed)
	}
	for what, tc := range map[string]struct {
		fault   faulttest.Fault
		options []faulttest.Option
		says    string
	}{
		"no match":   {faulttest.Spec("reset:at=request"), []faulttest.Option{faulttest.To("127.0.0.1:1")}, "never fired: no connection matched"},
		"no moment":  {faulttest.Spec("idle-expire:after=1h"), []faulttest.Option{faulttest.To(":" + port)}, "never fired: the moment"},
		"one of two": {faulttest.Spec("observe,idle-expire:after=1h"), []faulttest.Option{faulttest.To("localhost:" + port)}, "idle-expire never fired"},
		"allowed":    {faulttest.Spec("idle-expire:after=1h"), []faulttest.Option{faulttest.To("[::]:" + port), faulttest.MayNotFire()}, ""},
		"nobody":     {faulttest.Spec("observe"), []faulttest.Option{faulttest.To(addr), faulttest.From("127.0.0.2")}, "no connection matched"},
		"everybody":  {faulttest.Spec("delay:by=1ms"), []faulttest.Option{faulttest.To(addr), faulttest.From("127.0.0.0/8")}, ""},
		"excepted":   {faulttest.Spec("observe"), []faulttest.Option{faulttest.From("127.0.0.1"), faulttest.Except(addr)}, "no connection matched"},
		"typo":       {faulttest.Spec("idle-expier"), []faulttest.Option{faulttest.To(addr)}, `did you mean "idle-expire"?`},
		"no time":    {faulttest.Spec("idle-expire"), []faulttest.Option{faulttest.To(addr)}, "how long may a flow be idle?"},
		"no port":    {faulttest.Spec("observe"), []faulttest.Option{faulttest.To(port)}, "a port stands behind a colon"},
		"bad client": {faulttest.Spec("observe"), []faulttest.Option{faulttest.To(addr), faulttest.From("127.0.0.0/33")}, "is not a CIDR"},
		"too many":   {faulttest.Spec("observe"), []faulttest.Option{faulttest.To(addr), faulttest.Percent(101)}, "outside 0 to 100"},
		"typed":      {&faults.Delay{By: time.Millisecond}, []faulttest.Option{faulttest.To(addr), faulttest.And(&faults.Observe{})}, ""},
		"typed, two": {&faults.Observe{}, []faulttest.Option{faulttest.To(addr), faulttest.And(faulttest.Spec("idle-expire:after=1h"))}, "idle-expire never fired"},
		"untold":     {&faults.IdleExpire{}, []faulttest.Option{faulttest.To(addr)}, "how long may a flow be idle?"},
		"unsaid":     {&faults.Delay{By: -1}, []faulttest.Option{faulttest.To(addr)}, "by"},
		"opposites":  {&faults.SYNDrop{}, []faulttest.Option{faulttest.To(addr), faulttest.And(&faults.Observe{})}, "contradict"},
		"no fault":   {nil, []faulttest.Option{faulttest.To(addr)}, "neither a model"},
		"stranger":   {stranger{}, []faulttest.Option{faulttest.To(addr)}, "neither a model"},
		"any host":   {&faults.Observe{}, []faulttest.Option{faulttest.To("127.0.0.1"), faulttest.From("localhost")}, ""},
	} {
		failed := watch(t, func(t testing.TB) {
			faulttest.Inject(t, tc.fault, tc.options...)
			if err := ask(addr); err != nil {
				t.Errorf("a healthy connection: %v", err)
			}
		})
		if !strings.Contains(failed, tc.says) || tc.says == "" && failed != "" {
			t.Errorf("%s: the test failed of %q, want something about %q", what, failed, tc.says)
		}
	}
	if !userns.Inside() {
		if failed := watch(t, func(t testing.TB) { faulttest.Inject(t, faulttest.Spec("observe")) }); !strings.Contains(failed, "name the service with To") {
			t.Errorf("without a target: %q", failed)
		}
	}
}

// TestInjectChooses checks which of eight connections each option strikes, and
// that NewOnly spares connections that were already open.
func TestInjectChooses(t *testing.T) {
	ownNetns(t)
	addr := echoes(t)
	chosen := func(options ...faulttest.Option) (which string) {
		if failed := watch(t, func(t testing.TB) {
			faulttest.Inject(t, faulttest.Spec("reset:at=request"), append(options, faulttest.To(addr), faulttest.MayNotFire())...)
			for range 8 {
				which += map[bool]string{true: "x", false: "."}[ask(addr) != nil]
			}
		}); failed != "" {
			t.Error(failed)
		}
		return which
	}
	for _, c := range []struct {
		what    string
		options []faulttest.Option
		want    string
	}{
		{"all", nil, "xxxxxxxx"},
		{"First(2)", []faulttest.Option{faulttest.First(2)}, "xx......"},
		{"Skip(1), First(2)", []faulttest.Option{faulttest.Skip(1), faulttest.First(2)}, ".xx....."},
		{"Every(3)", []faulttest.Option{faulttest.Every(3)}, "x..x..x."},
		{"Percent(100)", []faulttest.Option{faulttest.Percent(100)}, "xxxxxxxx"},
		{"Percent(0)", []faulttest.Option{faulttest.Percent(0)}, "........"},
	} {
		if got := chosen(c.options...); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	half, again, other := chosen(faulttest.Percent(50)), chosen(faulttest.Percent(50), faulttest.Seed(1)), chosen(faulttest.Percent(50), faulttest.Seed(2))
	if n := strings.Count(half, "x"); n == 0 || n == 8 || half != again || half == other {
		t.Errorf("Percent(50): %s, with the same seed %s, with another one %s", half, again, other)
	}

	for what, options := range map[string][]faulttest.Option{"open before": nil, "NewOnly": {faulttest.NewOnly()}} {
		open, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		if failed := watch(t, func(t testing.TB) {
			faulttest.Inject(t, faulttest.Spec("reset:at=request"), append(options, faulttest.To(addr))...)
			if err := echo(open); (err == nil) != (options != nil) {
				t.Errorf("%s: on the connection that was open: %v", what, err)
			}
			if err := ask(addr); err == nil {
				t.Errorf("%s: a new connection is left alone", what)
			}
		}); failed != "" {
			t.Error(failed)
		}
	}
}
