package injector

import (
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/target"
	"golang.org/x/sys/unix"
)

// wishModel is a fault that wishes something of the kernel for each flow.
type wishModel struct {
	diverts faults.Diversion
	wish    func(*faults.Effects)
}

func (m wishModel) Validate() error           { return nil }
func (m wishModel) Diverts() faults.Diversion { return m.diverts }
func (m wishModel) Start() faults.Instance    { return faults.PerFlow(func() faults.Fault { return m }) }
func (m wishModel) OnSegment(_ *faults.Event, out *faults.Effects) faults.Verdict {
	m.wish(out)
	return faults.Pass
}

// TestFullSets holds that a flow which finds no room in one of the kernel's sets
// is counted, with the sets changed by verdicts and from user space, and that
// its packets arrive all the same.
func TestFullSets(t *testing.T) {
	whole := faults.Diversion{All: true}
	for name, tc := range map[string]struct {
		match   target.Matcher
		diverts faults.Diversion
		wish    func(*faults.Effects)
		count   func(Snapshot) uint64
		rules   bool // the rules alone know
	}{
		"captured": {target.Matcher{}, faults.Diversion{SYN: true}, (*faults.Effects).Capture, func(s Snapshot) uint64 { return s.CaptureFull }, false},
		"released": {target.Matcher{}, whole, (*faults.Effects).Release, func(s Snapshot) uint64 { return s.ReleaseFull }, false},
		"live":     {target.Matcher{}, faults.Diversion{Idle: time.Hour}, (*faults.Effects).Admit, func(s Snapshot) uint64 { return s.SetFull }, false},
		"owned": {target.Matcher{Owner: target.Owner{UID: new(uint32(os.Geteuid()))}}, whole, func(*faults.Effects) {},
			func(s Snapshot) uint64 { return s.OwnerFull }, true},
	} {
		for _, bySet := range []bool{false, true} {
			if bySet && tc.rules {
				continue
			}
			t.Run(name+map[bool]string{false: "/priority", true: "/netlink"}[bySet], func(t *testing.T) {
				ns := inKernel(t)
				for _, flows := range []int{1, 3} {
					ready := make(chan struct{})
					cfg := Config{NetNS: ns, OnEvent: func(ev Event) {
						if ev.Kind == Ready {
							close(ready)
						}
					}, Rules: []Rule{{Match: tc.match, Faults: []NamedModel{{"wish", wishModel{tc.diverts, tc.wish}}}}}}
					inj, stop := runInjectorWith(t, bySet, 1, cfg, ready)
					for n := range flows {
						talk(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(5432+n)), 3)
					}
					stop()
					if got := tc.count(inj.Stats()); (got > 0) != (flows > 1) {
						t.Errorf("%d counted of %d flows, and there is room for one", got, flows)
					}
				}
			})
		}
	}
}

// fullSocket is a socket that takes nothing more, as the kernel's does when it
// has no memory. read makes room, and returns how much was in it.
func fullSocket(t *testing.T) (fd int, read func() int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(fds[0])
		unix.Close(fds[1])
	})
	for err == nil {
		_, err = unix.Write(fds[0], []byte{0})
	}
	if !noMemory(err.(syscall.Errno)) {
		t.Fatal(err)
	}
	return fds[0], func() int {
		n, err := unix.Read(fds[1], make([]byte, 1<<10))
		if err != nil {
			return 0
		}
		return n
	}
}

// TestVerdictsAgain holds that verdicts for which the kernel has no memory are
// sent again, and given up, with an error, when it has none for long.
func TestVerdictsAgain(t *testing.T) {
	fd, read := fullSocket(t)
	waited := time.Duration(0)
	q := &nfqueue{fd: fd, number: 7, pause: func(d time.Duration) { waited += d }}
	q.verdict(verdictOut{id: 41, drop: true})
	if err := q.flush(); err == nil || waited < longestWait || waited > time.Second {
		t.Errorf("%v after %v; want an error after half a second", err, waited)
	}
	q.pause = func(d time.Duration) {
		if d > time.Millisecond {
			read()
		}
	}
	q.verdict(verdictOut{id: 41, drop: true})
	if err := q.flush(); err != nil {
		t.Fatalf("flush: %v", err)
	}
	n := 1
	for n == 1 { // what made it full
		n = read()
	}
	if n == 0 {
		t.Error("the verdict has not arrived")
	}
	q.fd, q.pause = -1, func(time.Duration) { t.Error("it waits for a socket that is closed") }
	q.verdict(verdictOut{id: 41, drop: true})
	if err := q.flush(); err == nil {
		t.Error("no error")
	}
}
