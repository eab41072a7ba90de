package injector

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"testing"

	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/target"
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
	can, err := probeKernel(ns)
	if err != nil {
		t.Fatal(err)
	}
	leave := func(table string, owned bool) *applier {
		a, err := openNftables(ns)
		if err != nil {
			t.Fatal(err)
		}
		a.nftQueue, a.owned = can.nftQueue, owned
		cfg := Config{Rules: []Rule{{Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}, Faults: fake(faults.Diversion{All: true})}}}
		if err := a.apply(newRuleset(&cfg, table, nfqueue.First, 0)); err != nil {
			t.Fatal(err)
		}
		return a
	}
	dead, dead2 := tableName(gone.Process.Pid, 0), tableName(gone.Process.Pid, 1)
	alive := tableName(1, 0)
	foreign, owned := fmt.Sprintf("my%s", dead), tableName(gone.Process.Pid, 2)
	for _, table := range []string{dead, dead2, alive, foreign} {
		leave(table, false).close()
	}
	keeper := leave(owned, true)
	defer keeper.close()

	talk(t, netip.MustParseAddrPort("127.0.0.1:5432"), 3) // the rules are there, and nobody reads

	removed, err := Cleanup()
	slices.Sort(removed)
	if want := []string{dead, dead2}; err != nil || !slices.Equal(removed, want) {
		t.Errorf("removed %v, %v, want %v", removed, err, want)
	}
	left := kerneltest.Tables(t, ns)
	slices.Sort(left)
	want := []string{alive, foreign}
	if can.tableOwner {
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
