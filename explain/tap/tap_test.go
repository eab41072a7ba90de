package tap

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/explain/capture"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

// only gives up the capabilities of the calling thread but these.
func only(caps []uint) error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	for _, c := range caps {
		sets[c/32].Effective |= 1 << (c % 32)
		sets[c/32].Permitted |= 1 << (c % 32)
	}
	return os.NewSyscallError("capset", unix.Capset(&h, &sets[0]))
}

// listened is what a tap heard of two connections to the server: one that is closed
// while data is unread, and one with SO_LINGER 0.
func listened(t *testing.T, caps []uint) (found []explain.Finding, totals capture.Totals, err error) {
	t.Helper()
	l, e := lab.New()
	if e != nil {
		t.Fatal(e)
	}
	defer l.Close()
	listener, at, e := l.Server.Listen(netip.AddrPortFrom(l.Server.V4, 0), 8)
	if e != nil {
		t.Fatal(e)
	}
	defer listener.Close()
	e = l.Server.Do(func() error { // on a thread that is thrown away
		if caps != nil {
			if err := only(caps); err != nil {
				return err
			}
		}
		var tap *Tap
		if tap, err = Listen(target.Matcher{}, "/proc"); err != nil {
			return nil
		}
		defer tap.Close()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer cancel()
			for _, unread := range []bool{true, false} {
				client, e := l.Client.Client(at.Addr())
				if e != nil {
					t.Error(e)
					return
				}
				client.Connect(at)
				server, e := listener.Accept()
				if e != nil {
					t.Error(e)
					return
				}
				client.Send("hello")
				server.Recv()
				server.Send("answer")
				client.Recv()
				if unread {
					client.Send("even more")
				}
				lab.Eventually(func() bool { i, e := client.Info(); return e == nil && i.Unacked == 0 })
				if !unread {
					server.Linger()
				}
				server.Close()
				client.Recv()
				client.Close()
			}
		}()
		totals, err = tap.Run(ctx, func(f explain.Finding) { found = append(found, f) })
		<-done
		return nil
	})
	if e != nil {
		t.Fatal(e)
	}
	explain.Sort(found)
	return found, totals, err
}

// TestLive holds that listening at the server tells a close with unread data from one
// with SO_LINGER 0 where the kernel tells, and who closed; and says so where it does not.
func TestLive(t *testing.T) {
	found, totals, err := listened(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || totals.Lost != 0 {
		t.Fatalf("%+v\n%+v", found, totals)
	}
	reasons := !slices.ContainsFunc(totals.Unseen, func(s string) bool { return strings.Contains(s, "reasons for resets") })
	if !reasons {
		if os.Getenv("FAULTCTL_REQUIRE") == "1" && os.Getenv("FAULTCTL_INSIDE") == "" {
			t.Error(totals.Unseen)
		}
		if v := found[0].Verdict; v.Certainty != explain.CannotTell || len(v.Twins) < 2 {
			t.Errorf("without the kernel's reasons: %v", v)
		}
		return
	}
	if found[0].Reason == "" {
		t.Skip("this kernel has no reasons")
	}
	unread, linger := found[0], found[1]
	if v := unread.Verdict; v.Certainty != explain.Sure || v.Cause != "unread-close" || unread.Reason != "TCP_ABORT_ON_CLOSE" {
		t.Errorf("unread data: %v, %s", v, unread.Reason)
	}
	if v := linger.Verdict; v.Certainty != explain.CannotTell || slices.Contains(append(v.Twins, v.Cause), "unread-close") || linger.Reason != "TCP_STATE" {
		t.Errorf("SO_LINGER: %v, %s", v, linger.Reason)
	}
	name, _ := os.ReadFile("/proc/self/comm")
	if want := strings.TrimSpace(string(name)) + " ("; !strings.HasPrefix(unread.ServerProcess, want) || !strings.HasPrefix(linger.ServerProcess, want) {
		t.Errorf("held by %q and %q, not by %s", unread.ServerProcess, linger.ServerProcess, want)
	}
	if k := strings.Join(totals.Kernel, "\n"); !strings.Contains(k, "1 connections were reset because data was unread at the close (TCPAbortOnClose)") || !strings.Contains(k, "(TCPAbortOnData)") {
		t.Errorf("counters: %s", k)
	}
}

// TestRights holds that with less than all rights it says what it cannot see.
func TestRights(t *testing.T) {
	for name, c := range map[string]struct {
		caps   []uint
		err    error
		unseen string
	}{
		"no rights":     {[]uint{}, ErrPrivilege, ""},
		"CAP_NET_ADMIN": {[]uint{unix.CAP_NET_ADMIN}, ErrPrivilege, ""},
		"CAP_PERFMON":   {[]uint{unix.CAP_PERFMON, unix.CAP_BPF}, ErrPrivilege, ""},
		"CAP_NET_RAW":   {[]uint{unix.CAP_NET_RAW}, nil, "the kernel's reasons for resets and drops could not be seen, which takes root, or CAP_PERFMON and a tracefs that can be read"},
	} {
		t.Run(name, func(t *testing.T) {
			found, totals, err := listened(t, c.caps)
			if err != c.err {
				t.Fatalf("%v, want %v", err, c.err)
			}
			if said := strings.Join(totals.Unseen, "\n"); !strings.Contains(said, c.unseen) {
				t.Errorf("it says only %q", said)
			}
			if err == nil && (len(found) != 2 || found[0].Verdict.Certainty != explain.CannotTell) {
				t.Errorf("%+v", found)
			}
		})
	}
}
