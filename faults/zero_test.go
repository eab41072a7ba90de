package faults_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/internal/trace"
)

// needed are the settings that have no default.
var needed = map[string]string{
	"idle-expire": "after=1s", "loss": "chance=50%", "delay": "by=1ms", "duplicate": "chance=50%",
	"reorder": "chance=50%", "corrupt": "chance=50%", "throttle": "rate=1mbit",
}

// spelled are the settings of a fault as a trace has them: what it needs, and
// each default spelled out.
func spelled(t *testing.T, k faults.Kind) (words []string) {
	need := needed[k.Name]
	if need != "" {
		words = append(words, need)
	}
	knob, _, _ := strings.Cut(need, "=")
	for _, n := range faults.Knobs(k.New()) {
		if n.Name == knob || n.Default == "" {
			continue
		}
		words = append(words, n.Name+"="+n.Default)
	}
	return words
}

var faultLine = regexp.MustCompile(`(?m)^fault .*`)

// TestZeroMeansDefault holds that a model's zero fields mean what help shows as
// their defaults: with these spelled out it diverts the same, and every
// conversation with the fault plays the same.
func TestZeroMeansDefault(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.trace")
	for _, k := range faults.Catalog {
		zero, full := complete(t, k), complete(t, k)
		words := spelled(t, k)
		for _, w := range words {
			knob, value, _ := strings.Cut(w, "=")
			if err := faults.Set(full, knob, value); err != nil {
				t.Fatalf("%s: the default cannot be typed: %v", k.Name, err)
			}
		}
		if err := full.Validate(); err != nil {
			t.Errorf("%s %s: %v", k.Name, words, err)
		}
		if zero.Diverts() != full.Diverts() {
			t.Errorf("%s: zero diverts %+v, with the defaults %+v", k.Name, zero.Diverts(), full.Diverts())
		}
		played := 0
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains("\n"+string(text), "\nfault "+k.Name) {
				continue
			}
			with := func(settings string) string {
				lines := strings.Split(string(text), "\n")
				for i, l := range lines {
					if words := strings.Fields(l); len(words) > 1 && words[0] == "fault" && words[1] == k.Name {
						lines[i] = strings.TrimSpace("fault " + k.Name + " " + settings)
					}
				}
				got, err := trace.Play(strings.Join(lines, "\n"), false)
				if err != nil {
					t.Fatalf("%s with %q: %v", file, settings, err)
				}
				return faultLine.ReplaceAllString(got, "")
			}
			played++
			if a, b := with(needed[k.Name]), with(strings.Join(words, " ")); a != b {
				t.Errorf("%s: zero values play\n%s\nand defaults\n%s", file, a, b)
			}
		}
		if played == 0 {
			t.Errorf("%s: no conversation was played", k.Name)
		}
	}
}

// TestGoValues holds that models are of use as they are, without the catalogue.
func TestGoValues(t *testing.T) {
	for _, m := range []faults.Model{
		&faults.Reset{}, &faults.SYNDrop{}, &faults.IdleExpire{After: 2 * time.Second}, &faults.HalfOpen{},
		&faults.ClosedSocket{}, &faults.LingerReset{}, &faults.UnreadClose{}, &faults.RSTClose{}, &faults.AcceptOverflow{},
		&faults.Refuse{}, &faults.Unreachable{}, &faults.ConnectStall{}, &faults.PAWSReject{}, &faults.KeepaliveDrop{},
		&faults.BadSeq{}, &faults.Stall{}, &faults.Observe{}, &faults.Loss{Chance: faults.ChanceOf(0.5)},
		&faults.Delay{By: time.Second}, &faults.Duplicate{Chance: faults.ChanceOf(1)}, &faults.Reorder{Chance: faults.ChanceOf(0)},
		&faults.Corrupt{Chance: faults.ChanceOf(1)}, &faults.Throttle{Rate: 1e6}, &faults.MTUHole{}, &faults.Partition{}, &faults.Slice{},
		&faults.HalfCloseIntolerant{}, &faults.SYNChallenge{}, &faults.NATLeak{}, &faults.Hang{},
	} {
		if err := m.Validate(); err != nil {
			t.Errorf("%T: %v", m, err)
		}
		if !m.Diverts().SYN {
			t.Errorf("%T does not see connections begin", m)
		}
		play(t, faults.NewChain([]faults.Instance{m.Start()}))
	}
	if d := (&faults.IdleExpire{After: 2 * time.Second}).Diverts().Idle; d != 2*time.Second {
		t.Errorf("idle-expire diverts flows that were idle for %v", d)
	}
}

// TestNoneCanBeSaid holds that a probability of zero is one, and means never.
func TestNoneCanBeSaid(t *testing.T) {
	for _, spec := range []string{"loss chance=0%", "duplicate chance=0", "reorder chance=0%", "corrupt chance=0%", "reset chance=0%"} {
		draws(t, spec, 10_000, func(v faults.Verdict, out *faults.Effects) {
			if v != faults.Pass || len(out.Notes) > 0 {
				t.Fatalf("%s strikes: %v", spec, v)
			}
		})
	}
	for _, m := range []faults.Model{&faults.Loss{}, &faults.Duplicate{}, &faults.Reorder{}, &faults.Corrupt{}} {
		if m.Validate() == nil {
			t.Errorf("%T: no probability at all is taken for one", m)
		}
	}
	if m := (&faults.ClosedSocket{FINTimeout: faults.TimeoutOf(0)}); m.Validate() != nil {
		t.Error("closed-socket has no FIN timeout of zero")
	} else if got, _ := faults.Get(m, "fin-timeout"); got != "0s" {
		t.Errorf("a FIN timeout of zero is shown as %q", got)
	}
}
