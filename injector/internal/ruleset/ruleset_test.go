package ruleset_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/injector/internal/ruleset/rulesettest"
	"github.com/faultctl/faultctl/injector/internal/sign"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestRulesetText(t *testing.T) {
	for name, in := range rulesettest.Inputs {
		t.Run(name, func(t *testing.T) {
			got := rulesettest.Compile(in).String()
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

// TestRulesetInvariants checks what must be true of the rules of any Input.
func TestRulesetInvariants(t *testing.T) {
	for name, in := range rulesettest.Inputs {
		t.Run(name, func(t *testing.T) {
			rs := rulesettest.Compile(in)
			chains := map[string]*ruleset.Chain{}
			for i, c := range rs.Chains {
				chains[string(c.Name)] = &rs.Chains[i]
				for _, r := range c.Rules {
					words := ruleset.Words(r)
					last := words[len(words)-1]
					queues := strings.HasPrefix(last, "queue")
					if queues != r.Queues() {
						t.Errorf("chain %s queues with %q: %v", c.Name, last, r.Queues())
					}
					if queues && !strings.Contains(last, "bypass") {
						t.Errorf("chain %s queues without bypass", c.Name)
					}
					if strings.HasPrefix(string(c.Name), "learn_") && (last == "accept" || queues) {
						t.Errorf("chain %s decides something", c.Name)
					}
					if last == "drop" && !strings.HasPrefix(string(c.Name), "later") {
						t.Errorf("chain %s drops what never was queued", c.Name)
					}
				}
			}
			first := ruleset.Words(chains["marked"].Rules[0])
			if want := []string{fmt.Sprintf("meta priority & %#x == %#x", sign.Mask, rulesettest.Tag.Of(0)), "accept"}; !slices.Equal(first, want) {
				t.Errorf("chain marked does not accept our own packets: %s", first)
			}
			queues := 0
			for _, c := range rs.Chains {
				if c.Hook != "" {
					queues += followed(t, chains, &c, c.Hook != ruleset.OutputHook, false)
				}
			}
			if queues == 0 {
				t.Error("no chain queues")
			}
			for i, c := range rs.Disarmed().Chains {
				if c.Hook == "" {
					if c.String() != rs.Chains[i].String() {
						t.Errorf("disarmed, chain %s is another one", c.Name)
					}
					continue
				}
				if c.Only != ruleset.EitherFamily && strings.HasPrefix(string(c.Name), "untracked") {
					continue // what is sent meanwhile goes through it
				}
				for _, r := range c.Rules {
					if to := ruleset.Words(r); !strings.HasPrefix(to[0], "meta priority & ") || to[1] != "goto later" {
						t.Errorf("disarmed, chain %s has %s", c.Name, to)
					}
				}
			}
		})
	}
}

// followed follows a packet on all ways through the chains, and returns on how
// many of them it is queued: never before it was asked whether it is one of ours,
// and in output not before it is known that it does not leave by loopback.
func followed(t *testing.T, chains map[string]*ruleset.Chain, c *ruleset.Chain, foreign, asked bool) (queued int) {
	for _, r := range c.Rules {
		words := ruleset.Words(r)
		here := foreign || slices.Contains(words, "meta oiftype != loopback") || strings.HasPrefix(words[len(words)-1], "goto named_") // flagged ones do not
		last := words[len(words)-1]
		word, to, _ := strings.Cut(last, " ")
		switch {
		case strings.HasPrefix(last, "queue"):
			queued++
			if !asked || !here {
				t.Errorf("chain %s queues a packet that may be our own (asked: %v), or crosses loopback (asked: %v)", c.Name, asked, here)
			}
		case last == "jump marked":
			asked = asked || len(words) == 2 && words[0] == "meta priority != 0"
		case word == "goto" || word == "jump":
			next := chains[to]
			if next == nil {
				t.Fatalf("chain %s leads to %s, which is not there", c.Name, to)
			}
			queued += followed(t, chains, next, here, asked)
		case last == "accept":
			foreign = foreign || words[0] == "meta oiftype loopback"
		}
	}
	return queued
}

// TestSignBits checks that no chain takes a packet of ours for one with a signal.
func TestSignBits(t *testing.T) {
	for _, tag := range []sign.Tag{0, rulesettest.Tag, 1<<19 - 1} {
		if s := tag.Of(sign.Levels - 1); s&uint32(ruleset.AllSignals) != 0 {
			t.Errorf("the sign %#x has bits of the signals, %#x", s, uint32(ruleset.AllSignals))
		}
	}
}

// TestLevels checks that a run lets pass what carries its own level or a higher one.
func TestLevels(t *testing.T) {
	ours := fmt.Sprintf("meta priority & 0xffffffe0 == %#x", rulesettest.Tag.Of(0))
	for level, want := range map[int][]string{
		0:  {ours, "accept"},
		1:  {ours, "meta priority & 0x1f >= 1", "accept"},
		23: {ours, "meta priority & 0x1f >= 23", "accept"},
	} {
		in := rulesettest.Inputs["owner-cgroup"]
		in.Tag, in.Level = rulesettest.Tag, level
		for _, c := range ruleset.Compile(&in).Chains {
			if c.Name == "marked" && !slices.Equal(ruleset.Words(c.Rules[0]), want) {
				t.Errorf("level %d lets pass %s, want %s", level, ruleset.Words(c.Rules[0]), want)
			}
			if first := ruleset.Words; c.Name == "learn_output" && !slices.Equal(first(c.Rules[0]), []string{ours, "return"}) {
				t.Errorf("level %d learns from what runs sent: %s", level, first(c.Rules[0]))
			}
		}
	}
}

// TestSignalsTogether checks which of two signals stands that contradict each other.
func TestSignalsTogether(t *testing.T) {
	for _, c := range []struct{ first, then, want ruleset.Signal }{
		{0, ruleset.Admit, ruleset.Admit},
		{ruleset.Forget, ruleset.Release, ruleset.Forget | ruleset.Release},
		{ruleset.Forget | ruleset.Capture, ruleset.Release, ruleset.Forget | ruleset.Release},
		{ruleset.Release, ruleset.Capture | ruleset.Admit, ruleset.Capture | ruleset.Admit},
	} {
		if got := c.first.And(c.then); got != c.want {
			t.Errorf("%#x and then %#x: %#x, want %#x", c.first, c.then, got, c.want)
		}
	}
}
