// Package proctest writes what a test wants to have in /proc.
package proctest

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Conn is a line of /proc/net/tcp for an established connection.
func Conn(local, remote, inode string) string {
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

// Net writes the lines into the net/tcp and net/tcp6 of a process.
func Net(t testing.TB, proc, pid string, lines ...string) {
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

// Process writes what /proc says of a process.
func Process(t testing.TB, proc, pid string, parent, session int, inodes ...string) {
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
