package nft

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/internal/ruleset/rulesettest"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/procid"
	"github.com/google/nftables"
)

// TestCleanup leaves tables behind as a kernel does that knows no owners:
// traffic flows, and Cleanup takes out those of instances that are gone, and no
// other table.
func TestCleanup(t *testing.T) {
	ns := kerneltest.NetNS(t)
	gone := exec.Command("/proc/self/exe", "-test.run", "^$")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	can, err := Probe(ns)
	if err != nil {
		t.Fatal(err)
	}
	leave := func(table string, owned bool) *Table {
		a, err := Open(ns)
		if err != nil {
			t.Fatal(err)
		}
		a.nftQueue, a.owned = can.NFTQueue, owned
		in := rulesettest.Of(target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}, faults.Diversion{All: true})
		rs := rulesettest.Compile(in)
		rs.Table = table
		if err := a.apply(rs); err != nil {
			t.Fatal(err)
		}
		return a
	}
	dead, dead2 := tableName(procid.Of(gone.Process.Pid), 0), tableName(procid.Of(gone.Process.Pid), 1)
	alive := tableName(procid.Of(1), 0)
	foreign, owned := fmt.Sprintf("my%s", dead), tableName(procid.Of(gone.Process.Pid), 2)
	for _, table := range []string{dead, dead2, alive, foreign} {
		leave(table, false).Close()
	}
	keeper := leave(owned, true)
	defer keeper.Close()

	connects(t, "127.0.0.1:5432") // the rules are there, and nobody reads

	removed, err := Cleanup()
	slices.Sort(removed)
	if want := []string{dead, dead2}; err != nil || !slices.Equal(removed, want) {
		t.Errorf("removed %v, %v, want %v", removed, err, want)
	}
	left := kerneltest.Tables(t, ns)
	slices.Sort(left)
	want := []string{alive, foreign}
	if can.TableOwner {
		want = append(want, owned)
	}
	slices.Sort(want)
	if !slices.Equal(left, want) {
		t.Errorf("left %v, want %v", left, want)
	}
	if removed, err := Cleanup(); err != nil || len(removed) > 0 {
		t.Errorf("a second time: %v, %v", removed, err)
	}
	for _, table := range []string{alive, foreign} {
		c, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
		if err != nil {
			t.Fatal(err)
		}
		c.DelTable(&nftables.Table{Name: table, Family: nftables.TableFamilyINet})
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
	}
}

// connects opens a connection to itself.
func connects(t *testing.T, at string) {
	t.Helper()
	ln, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.DialTimeout("tcp", at, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
