package nft

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/injector/internal/ruleset/rulesettest"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

// install puts rules in as this kernel can, until the test is over.
func install(t testing.TB, ns *os.File, rs *ruleset.Ruleset) *Table {
	t.Helper()
	table, _, err := Install(ns, rs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

// compile makes the rules of one rule of any connection, which diverts that.
func compile(d faults.Diversion) *ruleset.Ruleset {
	return rulesettest.Compile(rulesettest.Of(target.Matcher{}, d))
}

// TestRulesetInKernel puts every golden ruleset into a kernel, whole.
func TestRulesetInKernel(t *testing.T) {
	for name, in := range rulesettest.Inputs {
		t.Run(name, func(t *testing.T) {
			ns := kerneltest.NetNS(t)
			rs := rulesettest.Compile(in)
			a := install(t, ns, rs)
			for _, c := range rs.Chains {
				rules, err := a.conn.GetRules(a.tables[c.Only], a.chains[c.Name])
				if err != nil {
					t.Fatal(err)
				}
				if len(rules) != len(c.Rules) {
					t.Errorf("chain %s has %d rules in the kernel, want %d", c.Name, len(rules), len(c.Rules))
				}
			}
			if err := a.Update(rs, rs.Disarmed()); err != nil {
				t.Error(err)
			}
			if err := a.Remove(); err != nil {
				t.Error(err)
			}
			if got := kerneltest.Tables(t, ns); len(got) != 0 {
				t.Errorf("tables left: %v", got)
			}
		})
	}
}

// TestManyFiles checks that a program with very many open files is told so, where
// the library below would panic.
func TestManyFiles(t *testing.T) {
	ns := kerneltest.NetNS(t)
	open := func() error {
		a, err := Open(ns)
		if err == nil {
			err = a.Close()
		}
		return err
	}
	if err := open(); err != nil {
		t.Error(err)
	}
	var had unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &had); err != nil {
		t.Fatal(err)
	}
	if had.Max <= fdSetSize {
		t.Skipf("this user may open %d files, and it is about what comes after %d", had.Max, fdSetSize)
	}
	more := unix.Rlimit{Cur: min(4*fdSetSize, had.Max), Max: had.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &more); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &had)
	for fd := 0; fd < fdSetSize; {
		var err error
		if fd, err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	if err := open(); err == nil || !strings.Contains(err.Error(), "more than 1024 files open") {
		t.Errorf("more than 1024 files are open: %v", err)
	}
}

// TestRemaining checks that a flow is told from one that is not in a set, and either
// from a kernel that cannot be asked.
func TestRemaining(t *testing.T) {
	ns := kerneltest.NetNS(t)
	a := install(t, ns, compile(faults.Diversion{Idle: time.Hour}))
	ask, err := Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	ask.Reads(a)
	live := ruleset.SetOf(ruleset.Live, 0, ruleset.IPv4)
	client, server := netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:5432")
	if left, there, err := ask.Remaining(live, client, server); left != 0 || there || err != nil {
		t.Errorf("of a flow that is not in the set: %v, %v, %v", left, there, err)
	}
	if err := a.SetFlow(ruleset.Add, live, client, server); err != nil {
		t.Fatal(err)
	}
	if left, there, err := ask.Remaining(live, client, server); left < 59*time.Minute || !there || err != nil {
		t.Errorf("of one that is: %v, %v, %v", left, there, err)
	}
	for range 2 { // a flow that is not there need not be
		if err := a.SetFlow(ruleset.Delete, live, client, server); err != nil {
			t.Error(err)
		}
	}
	if _, there, err := ask.Remaining(live, client, server); there || err != nil {
		t.Errorf("of one that was: %v, %v", there, err)
	}
	if err := ask.netlink.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ask.Remaining(live, client, server); err == nil {
		t.Error("nobody can be asked, and there was an answer")
	}
}

// TestRefusedChange checks that a change which the kernel refuses leaves the rules
// as they were, and does not spoil the next one.
func TestRefusedChange(t *testing.T) {
	to := func(addrs ...string) *ruleset.Ruleset {
		m := target.Matcher{}
		for _, addr := range addrs {
			m.To = append(m.To, target.Endpoint{Prefix: netip.MustParsePrefix(addr)})
		}
		return rulesettest.Compile(rulesettest.Of(m, faults.Diversion{Idle: time.Hour}))
	}
	before, after, wrong := to("10.0.0.1/32"), to("10.0.0.1/32", "fd00::1/128"), to("10.0.0.1/32", "fd00::1/128")
	a := install(t, kerneltest.NetNS(t), before)
	wrong.Chains = slices.DeleteFunc(wrong.Chains, func(c ruleset.Chain) bool { return c.Name == "queue0_ip6" })
	if err := a.Update(before, wrong); err == nil {
		t.Fatal("a jump to nowhere was taken")
	}
	if err := a.Update(before, after); err != nil {
		t.Errorf("the next change: %v", err)
	}
	for _, c := range after.Chains {
		if rules, err := a.conn.GetRules(a.tables[c.Only], a.chains[c.Name]); err != nil || len(rules) != len(c.Rules) {
			t.Errorf("chain %s has %d rules in the kernel, want %d: %v", c.Name, len(rules), len(c.Rules), err)
		}
	}
}
