package injector

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// fakeModel diverts what it is told to and never acts.
type fakeModel struct{ d faults.Diversion }

func (m fakeModel) Validate() error                                         { return nil }
func (m fakeModel) Diverts() faults.Diversion                               { return m.d }
func (m fakeModel) New() faults.Fault                                       { return m }
func (m fakeModel) OnSegment(*faults.Event, *faults.Effects) faults.Verdict { return faults.Pass }

func fake(d faults.Diversion) []NamedModel { return []NamedModel{{"fake", fakeModel{d}}} }

func endpoint(prefix string, low, high uint16) Endpoint {
	e := Endpoint{LowPort: low, HiPort: high}
	if prefix != "" {
		e.Prefix = netip.MustParsePrefix(prefix)
	}
	return e
}

// rulesets are the configurations whose rules are held by golden files and put
// into a real kernel.
var rulesets = map[string]Config{
	"syn": {Rules: []Rule{{
		Match:  Matcher{To: []Endpoint{endpoint("", 5432, 5432)}},
		Faults: fake(faults.Diversion{SYN: true}),
	}}},
	"idle": {Rules: []Rule{{
		Match:  Matcher{To: []Endpoint{endpoint("10.0.0.0/8", 80, 80), endpoint("fd00::5/128", 8000, 8100)}, From: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/16")}},
		Faults: fake(faults.Diversion{Idle: 300 * time.Second}),
	}}},
	"idle-data-of-client": {Rules: []Rule{{
		Match:  Matcher{To: []Endpoint{endpoint("10.0.0.5/32", 0, 0)}},
		Faults: fake(faults.Diversion{Idle: 1500 * time.Millisecond, Refresh: faults.Refresh{From: faults.Client, MinPayload: 2}}),
	}}},
	"all-untargeted": {
		Rules:   []Rule{{Faults: fake(faults.Diversion{All: true})}},
		Protect: []Tuple{{netip.MustParseAddrPort("10.0.0.1:22"), netip.MustParseAddrPort("10.0.0.2:40000")}},
	},
	"two-rules": {Rules: []Rule{
		{
			Match:  Matcher{To: []Endpoint{endpoint("", 80, 90)}, Except: []Endpoint{endpoint("10.0.0.9/32", 85, 85)}},
			Faults: fake(faults.Diversion{FIN: true, RST: true, SYNACK: true}),
		},
		{Match: Matcher{To: []Endpoint{endpoint("::/0", 443, 443)}}, Faults: fake(faults.Diversion{Small: true})},
	}},
}

func TestRulesetText(t *testing.T) {
	for name, cfg := range rulesets {
		t.Run(name, func(t *testing.T) {
			got := newRuleset(&cfg, "faultctl_1", 61440).String()
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
			rs := newRuleset(&cfg, "faultctl_1", 61440)
			for _, c := range rs.chains {
				if c.name == "judge" || c.name == "later" {
					if _, ok := c.rules[0][0].(priorityIs); !ok {
						t.Errorf("the first rule of %s does not accept our own packets: %s", c.name, c.rules[0][0].nft())
					}
				}
				for _, r := range c.rules {
					last := r[len(r)-1].nft()
					if strings.HasPrefix(last, "queue") && !strings.Contains(last, "bypass") {
						t.Errorf("chain %s queues without bypass", c.name)
					}
					if last == "drop" && !strings.HasPrefix(c.name, "later") {
						t.Errorf("chain %s drops what never was queued", c.name)
					}
				}
				if strings.HasSuffix(c.name, "_output") && c.rules[0][0] != (oifLoopback{}) {
					t.Errorf("chain %s judges loopback packets a second time", c.name)
				}
			}
		})
	}
}
