package netns_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/faultctl/faultctl/internal/netns"
	"github.com/faultctl/faultctl/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

// TestDo holds that a function runs in the namespace that it was given, that its
// error comes back, and that the caller's thread stays where it is.
func TestDo(t *testing.T) {
	ns, err := netns.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	here := at(t, "/proc/thread-self/ns/net")
	var there string
	failed := errors.New("failed")
	if err := netns.Do(ns, func() error {
		there = at(t, "/proc/thread-self/ns/net")
		return failed
	}); !errors.Is(err, failed) {
		t.Errorf("the function's error came back as %v", err)
	}
	if there == here {
		t.Error("the function ran in the caller's namespace")
	}
	if now := at(t, "/proc/thread-self/ns/net"); now != here {
		t.Errorf("the caller is in %s now, and was in %s", now, here)
	}
	if err := netns.Do(nil, func() error { there = at(t, "/proc/thread-self/ns/net"); return nil }); err != nil || there != here {
		t.Errorf("without a namespace it ran in %s, %v; want %s", there, err, here)
	}
}

// TestNew holds that what sets a namespace up runs in it, and that its error leaves
// none.
func TestNew(t *testing.T) {
	var set string
	ns, err := netns.New(func() error { set = at(t, "/proc/thread-self/ns/net"); return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := netns.Do(ns, func() error {
		if is := at(t, "/proc/thread-self/ns/net"); is != set {
			t.Errorf("it is %s, and %s was set up", is, set)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	failed := errors.New("failed")
	if ns, err := netns.New(func() error { return failed }); ns != nil || !errors.Is(err, failed) {
		t.Errorf("%v, %v", ns, err)
	}
}

// TestOpen holds that only a network namespace is taken for one.
func TestOpen(t *testing.T) {
	ns, err := netns.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	ns.Close()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		fifo:                netns.ErrNotNetNS, // and nobody waits for a writer
		"/proc/self/ns/mnt": netns.ErrNotNetNS,
		"/proc/self/status": netns.ErrNotNetNS,
		t.TempDir():         netns.ErrNotNetNS,
		"/proc/self/ns/no":  os.ErrNotExist,
	} {
		if f, err := netns.Open(path); f != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v, %v; want %v", path, f, err, want)
		}
	}
}

// at names the namespace behind a link of /proc.
func at(t *testing.T, link string) string {
	t.Helper()
	to, err := os.Readlink(link)
	if err != nil {
		t.Error(err)
	}
	return to
}
