package place

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/internal/proctest"
)

// TestHoldersOf holds who is found to have connections to a service: the clients, by name
// where their process may be looked into or was before, and not the service itself.
func TestHoldersOf(t *testing.T) {
	h := &Host{Proc: t.TempDir()}
	closed := strings.Replace(proctest.Conn("10.0.0.2:4009", "10.0.0.9:9000", "0"), " 01 ", " 06 ", 1)
	proctest.Net(t, h.Proc, "self",
		proctest.Conn("10.0.0.2:4001", "10.0.0.9:9000", "101"),
		proctest.Conn("10.0.0.2:4002", "10.0.0.9:9000", "102"),
		proctest.Conn("10.0.0.2:4003", "10.0.0.9:9000", "103"), // of a process that has ended
		proctest.Conn("10.0.0.2:4004", "10.0.0.9:9000", "104"), // of one that cannot be looked into
		proctest.Conn("10.0.0.2:9000", "10.0.0.7:4005", "105"), // the service's end of another
		proctest.Conn("10.0.0.2:4006", "10.0.0.9:80", "106"),
		closed,
	)
	proctest.Process(t, h.Proc, "30", 1, 30, "101", "102", "106")
	if err := os.WriteFile(filepath.Join(h.Proc, "30", "comm"), []byte("nginx\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	to9000 := func(_, server netip.AddrPort) bool { return server.Port() == 9000 }
	now, owners := h.HoldersOf(filepath.Join(h.Proc, "self", "net"), to9000, Owners{"103": {PID: 29, Name: "haproxy"}})
	want := []Holder{{30, "nginx", 2}, {0, "user root", 1}, {29, "haproxy", 1}}
	if !slices.Equal(now.Holders, want) || now.Closed != 1 || len(owners) != 2 || owners["101"].PID != 30 {
		t.Errorf("%+v, %v", now, owners)
	}
	if now, _ := h.HoldersOf(filepath.Join(h.Proc, "self", "net"), func(_, _ netip.AddrPort) bool { return false }, nil); now.Any() {
		t.Errorf("%+v", now)
	}
}
