package place

import (
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/proctest"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestProtected(t *testing.T) {
	tuple := func(a, b string) target.Conn {
		return target.Conn{A: netip.MustParseAddrPort(a), B: netip.MustParseAddrPort(b)}
	}
	h := &Host{Proc: t.TempDir(), Getenv: os.Getenv}
	proctest.Net(t, h.Proc, "self",
		proctest.Conn("10.0.0.2:22", "10.0.0.1:4000", "100"),
		proctest.Conn("10.0.0.2:4001", "10.0.0.5:5432", "101"),
		proctest.Conn("[fd00::2]:22", "[fd00::1]:4002", "102"),
		proctest.Conn("[::ffff:10.0.0.2]:22", "[::ffff:10.0.0.1]:4003", "103"),
	)
	proctest.Process(t, h.Proc, "self", 30, 20)
	proctest.Process(t, h.Proc, "30", 20, 20, "101")               // a test program that runs faultctl
	proctest.Process(t, h.Proc, "20", 10, 20)                      // the shell
	proctest.Process(t, h.Proc, "10", 1, 10, "102", "103", "9999") // sshd
	proctest.Process(t, h.Proc, "1", 0, 1)
	t.Setenv("SSH_CONNECTION", "10.0.0.1 4000 10.0.0.2 22")
	ssh := []target.Conn{
		tuple("10.0.0.1:4000", "10.0.0.2:22"),
		tuple("[fd00::2]:22", "[fd00::1]:4002"),
		tuple("10.0.0.2:22", "10.0.0.1:4003"),
	}
	same := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(ssh, h.Protected(false), same); diff != "" {
		t.Errorf("with a target (-want +got):\n%s", diff)
	}
	all := []target.Conn{ssh[0], tuple("10.0.0.2:4001", "10.0.0.5:5432"), ssh[1], ssh[2]}
	if diff := cmp.Diff(all, h.Protected(true), same); diff != "" {
		t.Errorf("without a target (-want +got):\n%s", diff)
	}
	// It is gone: tmux was attached again, over another connection.
	t.Setenv("SSH_CONNECTION", "10.0.0.1 3999 10.0.0.2 22")
	again := h.Protected(false)
	for _, c := range []target.Conn{tuple("10.0.0.2:22", "10.0.0.1:4000"), tuple("[fd00::2]:22", "[fd00::1]:4002"), tuple("10.0.0.2:22", "10.0.0.1:4003")} {
		if !slices.Contains(again, c) {
			t.Errorf("the connection of SSH_CONNECTION is gone, and %v is not protected: %v", c, again)
		}
	}
	if slices.Contains(again, tuple("10.0.0.2:4001", "10.0.0.5:5432")) {
		t.Errorf("what is not of the SSH server is protected: %v", again)
	}
	t.Setenv("SSH_CONNECTION", "nonsense 4000 10.0.0.2 22")
	if got := h.Protected(false); len(got) != 2 {
		t.Errorf("with a bad SSH_CONNECTION: %v", got)
	}
}

// The own process's /proc is read as the fake one.
func TestOwnLineage(t *testing.T) {
	h := &Host{Proc: "/proc", Getenv: os.Getenv}
	parent, session := h.lineage("self")
	// A session that began outside of this PID namespace has the number 0 in it.
	sid, err := unix.Getsid(0)
	if err != nil || parent != os.Getppid() || session != sid {
		t.Errorf("parent %d, session %d; want parent %d, session %d, %v", parent, session, os.Getppid(), sid, err)
	}
	if _, err := Sockets("/proc/self/net"); err != nil {
		t.Error(err)
	}
}
