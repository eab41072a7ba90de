// Package kerneltest gives tests a kernel to try things on without touching the host: a
// network namespace of their own.
package kerneltest

import (
	"os"
	"runtime"
	"testing"

	"github.com/faultctl/faultctl/internal/netns"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NetNS runs the rest of the test on a thread of its own in an empty network
// namespace with loopback up, which ends with the test. A test may need a kernel but
// never touches the host's rules. The package's TestMain must have called lab.Main.
func NetNS(t testing.TB) *os.File {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread goes with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare a network namespace: %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatalf("bring lo up: %v", err)
	}
	ns, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// Tables lists the names of the nftables tables in the namespace.
func Tables(t testing.TB, ns *os.File) []string {
	t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	tables, err := c.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, t := range tables {
		names = append(names, t.Name)
	}
	return names
}
