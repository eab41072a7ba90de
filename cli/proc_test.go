package cli

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/injector/target"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// conn is a line of /proc/net/tcp for an established connection.
func conn(local, remote, inode string) string {
	return fmt.Sprintf("   0: %s %s 01 00000000:00000000 00:00000000 00000000     0        0 %s 1 0 20 4 30 10 -1\n",
		procAddr(local), procAddr(remote), inode)
}

func procAddr(s string) string {
	ap := netip.MustParseAddrPort(s)
	b := ap.Addr().AsSlice()
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	return strings.ToUpper(hex.EncodeToString(b)) + fmt.Sprintf(":%04X", ap.Port())
}

// procNet writes the lines into the net/tcp and net/tcp6 of a process.
func procNet(t *testing.T, proc, pid string, lines ...string) {
	t.Helper()
	text := map[string]string{"tcp": "  sl  local_address rem_address   st\n", "tcp6": "  sl\n"}
	for _, l := range lines {
		name := "tcp"
		if len(strings.Fields(l)[1]) > len("0100007F:1538") {
			name = "tcp6"
		}
		text[name] += l
	}
	dir := filepath.Join(proc, pid, "net")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, s := range text {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// process writes what /proc says of a process.
func process(t *testing.T, proc, pid string, parent, session int, inodes ...string) {
	t.Helper()
	dir := filepath.Join(proc, pid)
	if err := os.MkdirAll(filepath.Join(dir, "fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	stat := fmt.Sprintf("%s (a) b) ) S %d 9 %d 0 -1\n", pid, parent, session)
	if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, inode := range inodes {
		if err := os.Symlink("socket:["+inode+"]", filepath.Join(dir, "fd", fmt.Sprint(i+3))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProtected(t *testing.T) {
	tuple := func(a, b string) target.Conn {
		return target.Conn{A: netip.MustParseAddrPort(a), B: netip.MustParseAddrPort(b)}
	}
	w := newWorld(t)
	procNet(t, w.proc, "self",
		conn("10.0.0.2:22", "10.0.0.1:4000", "100"),
		conn("10.0.0.2:4001", "10.0.0.5:5432", "101"),
		conn("[fd00::2]:22", "[fd00::1]:4002", "102"),
		conn("[::ffff:10.0.0.2]:22", "[::ffff:10.0.0.1]:4003", "103"),
	)
	process(t, w.proc, "self", 30, 20)
	process(t, w.proc, "30", 20, 20, "101")               // a test program that runs faultctl
	process(t, w.proc, "20", 10, 20)                      // the shell
	process(t, w.proc, "10", 1, 10, "102", "103", "9999") // sshd
	process(t, w.proc, "1", 0, 1)
	t.Setenv("SSH_CONNECTION", "10.0.0.1 4000 10.0.0.2 22")
	ssh := []target.Conn{
		tuple("10.0.0.1:4000", "10.0.0.2:22"),
		tuple("[fd00::2]:22", "[fd00::1]:4002"),
		tuple("10.0.0.2:22", "10.0.0.1:4003"),
	}
	same := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(ssh, w.protected(false), same); diff != "" {
		t.Errorf("with a target (-want +got):\n%s", diff)
	}
	all := []target.Conn{ssh[0], tuple("10.0.0.2:4001", "10.0.0.5:5432"), ssh[1], ssh[2]}
	if diff := cmp.Diff(all, w.protected(true), same); diff != "" {
		t.Errorf("without a target (-want +got):\n%s", diff)
	}
	t.Setenv("SSH_CONNECTION", "nonsense 4000 10.0.0.2 22")
	if got := w.protected(false); len(got) != 2 {
		t.Errorf("with a bad SSH_CONNECTION: %v", got)
	}
}

// The own process's /proc is read as the fake one.
func TestOwnLineage(t *testing.T) {
	h := &host{proc: "/proc", getenv: os.Getenv}
	parent, session := h.lineage("self")
	// A session that began outside of this PID namespace has the number 0 in it.
	sid, err := unix.Getsid(0)
	if err != nil || parent != os.Getppid() || session != sid {
		t.Errorf("parent %d, session %d; want parent %d, session %d, %v", parent, session, os.Getppid(), sid, err)
	}
	if _, err := sockets("/proc/self/net"); err != nil {
		t.Error(err)
	}
}

func TestNetns(t *testing.T) {
	w := newWorld(t)
	if err := os.Symlink("/proc/self/ns/net", filepath.Join(w.netnsDirs[1], "blue")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(w.proc, "7", "ns"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc/self/ns/net", filepath.Join(w.proc, "7", "ns", "net")); err != nil {
		t.Fatal(err)
	}
	for flags, name := range map[string]string{"--netns blue": "blue", "--netns /proc/self/ns/net": "/proc/self/ns/net", "--pid 7": "that of process 7"} {
		w.out.Reset()
		if code := w.faultctl("inject reset --duration 1s -o json " + flags); code != exitOK || w.cfg.NetNS == nil {
			t.Errorf("%s: exit %d, namespace %v\n%s", flags, code, w.cfg.NetNS, &w.err)
		}
		if want := `"netns":"` + name + `"`; !strings.Contains(w.out.String(), want) {
			t.Errorf("%s: no %s in\n%s", flags, want, &w.out)
		}
	}
	if code := w.faultctl("inject reset --netns bleu"); code != exitUsage || !strings.Contains(w.err.String(), `did you mean "blue"?`) {
		t.Errorf("exit %d: %s", code, &w.err)
	}
}
