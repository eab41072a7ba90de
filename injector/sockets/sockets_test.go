package sockets

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

// TestHolders holds that a process is found by the socket that it holds, in both
// families, and until one look after it has closed it.
func TestHolders(t *testing.T) {
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var h *Holders
	if err := l.Client.Do(func() (err error) { h, err = FindHolders("/proc"); return err }); err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	now := time.Now()
	for _, to := range []netip.Addr{l.Server.V4, l.Server.V6} {
		if !to.IsValid() {
			continue
		}
		listener, at, err := l.Server.Listen(netip.AddrPortFrom(to, 0), 8)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		client, err := l.Client.Client(to)
		if err != nil {
			t.Fatal(err)
		}
		client.Connect(at)
		local := client.Local()
		look := func() {
			t.Helper()
			now = now.Add(time.Hour) // it is always time
			if err := h.Look(now); err != nil {
				t.Fatal(err)
			}
		}
		look()
		p, ok := h.Of(local, at)
		if !ok || p.PID != os.Getpid() || p.Name == "" || !strings.HasPrefix(p.String(), p.Name+" (") {
			t.Errorf("%s: %+v, %v", to, p, ok)
		}
		if _, ok := h.Of(at, local); ok {
			t.Error("a socket of another namespace is known")
		}
		client.Close()
		look()
		if _, ok := h.Of(local, at); !ok {
			t.Error("it is forgotten at once")
		}
		look()
		if _, ok := h.Of(local, at); ok {
			t.Error("it is never forgotten")
		}
	}
}

// TestShare holds that looking takes no more than its share of the time.
func TestShare(t *testing.T) {
	h := &Holders{next: time.Unix(100, 0)}
	if h.Look(time.Unix(99, 0)) != nil || h.of != nil {
		t.Error("it looks before its time")
	}
}

// TestCounters holds how the kernel's tables of counters are read.
func TestCounters(t *testing.T) {
	proc := t.TempDir()
	dir := filepath.Join(proc, "thread-self", "net")
	write := func(overflows, resets string) Counters {
		t.Helper()
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{
			"netstat": "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 7 " + overflows + "\nIpExt: InOctets\nIpExt: 5\n",
			"snmp":    "Ip: Forwarding\nIp: 1\nTcp: ActiveOpens EstabResets\nTcp: 9 " + resets + "\n",
		} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c, err := ReadCounters(proc)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := write("3", "10")
	got := write("5", "10").Since(before)
	if want := []string{"2 connections found an accept queue full (ListenOverflows)"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if _, err := ReadCounters(t.TempDir()); err == nil {
		t.Error("no error without the files")
	}
}

// TestTold holds that what the kernel told first of a connection is kept, once.
func TestTold(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:2")
	var told Told
	now := time.Unix(1, 0)
	told.Add(now, Reset{Local: a, Remote: b})
	if _, ok := told.Take(a, b); ok {
		t.Error("a RST that was received is taken for one that was sent")
	}
	told.Add(now, Reset{Sent: true, Local: a, Remote: b, Reason: "first"})
	told.Add(now, Reset{Sent: true, Local: a, Remote: b, Reason: "second"})
	if _, ok := told.Take(b, a); ok {
		t.Error("it is told of the other end")
	}
	if r, ok := told.Take(a, b); !ok || r.Reason != "first" {
		t.Errorf("%+v, %v", r, ok)
	}
	if _, ok := told.Take(a, b); ok {
		t.Error("it is not forgotten")
	}
}
