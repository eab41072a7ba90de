package injector

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// fakeModel diverts what it is told to and never acts.
type fakeModel struct{ d faults.Diversion }

func (m fakeModel) Validate() error                                         { return nil }
func (m fakeModel) Diverts() faults.Diversion                               { return m.d }
func (m fakeModel) Start() faults.Instance                                  { return faults.PerFlow(func() faults.Fault { return m }) }
func (m fakeModel) OnSegment(*faults.Event, *faults.Effects) faults.Verdict { return faults.Pass }

func fake(d faults.Diversion) []NamedModel { return []NamedModel{{"fake", fakeModel{d}}} }

// manyEnds are more than are compared one by one, of two ports in IPv4 and of many
// in IPv6, and some that are no single ones.
func manyEnds() []target.Endpoint {
	es := []target.Endpoint{endpoint("10.0.0.0/24", 80, 80), endpoint("", 9000, 9100)}
	for i := range uint16(fewEnds + 1) {
		es = append(es, endpoint(fmt.Sprintf("10.0.1.%d/32", i), 5432+i%2, 5432+i%2), endpoint(fmt.Sprintf("fd00::%d/128", i), 6000+i, 6000+i))
	}
	return append(es, es[2]) // one of them twice
}

func endpoint(prefix string, low, high uint16) target.Endpoint {
	e := target.Endpoint{LowPort: low, HighPort: high}
	if prefix != "" {
		e.Prefix = netip.MustParsePrefix(prefix)
	}
	return e
}

// rulesets are the configurations whose rules are held by golden files and put
// into a real kernel.
var rulesets = map[string]Config{
	"syn": {Rules: []Rule{{
		Match:  target.Matcher{To: []target.Endpoint{endpoint("", 5432, 5432)}},
		Faults: fake(faults.Diversion{SYN: true}),
	}}},
	"idle": {Rules: []Rule{{
		Match:  target.Matcher{To: []target.Endpoint{endpoint("10.0.0.0/8", 80, 80), endpoint("fd00::5/128", 8000, 8100)}, From: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/16")}},
		Faults: fake(faults.Diversion{Idle: 300 * time.Second}),
	}}},
	"idle-data-of-client": {Rules: []Rule{{
		Match:  target.Matcher{To: []target.Endpoint{endpoint("10.0.0.5/32", 0, 0)}},
		Faults: fake(faults.Diversion{Idle: 1500 * time.Millisecond, Refresh: faults.Refresh{From: faults.Client, MinPayload: 2}}),
	}}},
	"all-untargeted": {
		Rules:   []Rule{{Faults: fake(faults.Diversion{All: true})}},
		Protect: []target.Conn{{A: netip.MustParseAddrPort("10.0.0.1:22"), B: netip.MustParseAddrPort("10.0.0.2:40000")}},
	},
	"many-ends": {Rules: []Rule{{
		Match:  target.Matcher{To: manyEnds(), From: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/16")}},
		Faults: fake(faults.Diversion{SYN: true, NoCapture: true}),
	}}},
	"held": {
		Rules: []Rule{{
			Match:  target.Matcher{To: []target.Endpoint{endpoint("10.0.0.5/32", 5432, 5432)}},
			Faults: fake(faults.Diversion{SYN: true, All: true, Whole: true, Holds: true}),
		}},
		Queues: 2,
	},
	"two-rules": {Rules: []Rule{
		{
			Match:  target.Matcher{To: []target.Endpoint{endpoint("", 80, 90)}, Except: []target.Endpoint{endpoint("10.0.0.9/32", 85, 85)}},
			Faults: fake(faults.Diversion{FIN: true, RST: true, SYNACK: true}),
		},
		{Match: target.Matcher{To: []target.Endpoint{endpoint("::/0", 443, 443)}}, Faults: fake(faults.Diversion{Small: true})},
	}},
	"owner-cgroup": {Rules: []Rule{{
		Match:  target.Matcher{Owner: target.Owner{Cgroup: &target.Cgroup{Path: "faultctl/run", ID: 42, Level: 2}}},
		Faults: fake(faults.Diversion{SYN: true}),
	}}},
	"owner-user": {Rules: []Rule{
		{Match: target.Matcher{To: []target.Endpoint{endpoint("", 80, 80)}}, Faults: fake(faults.Diversion{SYN: true})},
		{
			Match:  target.Matcher{To: []target.Endpoint{endpoint("10.0.0.5/32", 5432, 5432)}, Owner: target.Owner{UID: new(uint32(1000)), Cgroup: &target.Cgroup{Path: "app", ID: 7, Level: 1}}},
			Faults: fake(faults.Diversion{Idle: time.Second}),
		},
	}},
}

// uncutOf is the number of the queue for what comes uncut, if there is to be one.
func uncutOf(cfg *Config) uint16 {
	if copies(cfg).SeparateGSO {
		return nfqueue.FirstGSO
	}
	return 0
}

func TestRulesetText(t *testing.T) {
	for name, cfg := range rulesets {
		t.Run(name, func(t *testing.T) {
			got := newRuleset(&cfg, "faultctl_1", 61440, uncutOf(&cfg)).String()
			file := filepath.Join("testdata", name+".nft")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("rules differ from %s (-want +got); go test -update writes it anew:\n%s", file, d)
			}
		})
	}
}

// TestRulesetInvariants holds what must be true of the rules of any Config.
func TestRulesetInvariants(t *testing.T) {
	for name, cfg := range rulesets {
		t.Run(name, func(t *testing.T) {
			rs := newRuleset(&cfg, "faultctl_1", 61440, uncutOf(&cfg))
			chains := map[string]*chain{}
			for i, c := range rs.chains {
				chains[c.name] = &rs.chains[i]
				for _, r := range c.rules {
					last := r[len(r)-1].nft()
					if strings.HasPrefix(last, "queue") && !strings.Contains(last, "bypass") {
						t.Errorf("chain %s queues without bypass", c.name)
					}
					if strings.HasPrefix(c.name, "learn_") && (last == "accept" || strings.HasPrefix(last, "queue")) {
						t.Errorf("chain %s decides something", c.name)
					}
					if last == "drop" && !strings.HasPrefix(c.name, "later") {
						t.Errorf("chain %s drops what never was queued", c.name)
					}
				}
			}
			if _, ok := chains["marked"].rules[0][0].(priorityIs); !ok {
				t.Errorf("chain marked does not accept our own packets: %s", chains["marked"].rules[0][0].nft())
			}
			queues := 0
			for _, c := range rs.chains {
				if c.hook != "" {
					queues += followed(t, chains, &c, c.hook != "output", false)
				}
			}
			if queues == 0 {
				t.Error("no chain queues")
			}
		})
	}
}

// followed follows a packet on all ways through the chains, and returns on how
// many of them it is queued: never before it was asked whether it is one of ours,
// and in output not before it is known that it does not leave by loopback.
func followed(t *testing.T, chains map[string]*chain, c *chain, foreign, asked bool) (queued int) {
	for _, r := range c.rules {
		here := foreign
		for _, s := range r {
			here = here || s == oifForeign{}
		}
		last := r[len(r)-1].nft()
		word, to, _ := strings.Cut(last, " ")
		switch {
		case strings.HasPrefix(last, "queue"):
			queued++
			if !asked || !here {
				t.Errorf("chain %s queues a packet that may be our own (asked: %v), or crosses loopback (asked: %v)", c.name, asked, here)
			}
		case last == "jump marked":
			asked = asked || len(r) == 2 && r[0] == prioritySet{}
		case word == "goto" || word == "jump":
			next := chains[to]
			if next == nil {
				t.Fatalf("chain %s leads to %s, which is not there", c.name, to)
			}
			queued += followed(t, chains, next, here, asked)
		case last == "accept":
			foreign = foreign || r[0] == oifLoopback{}
		}
	}
	return queued
}

// TestOwnSign holds that no chain takes a packet of ours for one with a signal.
func TestOwnSign(t *testing.T) {
	if OwnSign&uint32(sigAll) != 0 {
		t.Errorf("the sign %#x has bits of the signals, %#x", OwnSign, uint32(sigAll))
	}
}
