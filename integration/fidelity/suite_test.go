package fidelity

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults"
)

// TestSuiteSees checks that the comparison can fail: it compares a genuine cause
// with a fault that is nearly, but not quite, the same.
func TestSuiteSees(t *testing.T) {
	for _, c := range []struct{ cause, fault, sees string }{
		{"linger-reset", "reset:at=fin,hit=client,shape=b", "extra: S>C [R]"},
		{"closed-socket", "unread-close", "missing: S>C [F.]"},
		{"idle-expire", "idle-expire:after=1s,device-ttl=63", "TTL of S>C [R]"},
		{"half-open, writes under way", "half-open:peer=rebooted,rtt=0", "round trip of S>C [R]"},
		{"loss", "loss:chance=16%,dir=server", "share of the server's segments that is lost = 10 % ± 2.5 %; injected:"},
		{"refuse", "syn-drop", "connect() = ECONNREFUSED; injected: connect() = EINPROGRESS"},
		{"unreachable, host", "unreachable:code=port", "connect() = EHOSTUNREACH; injected: connect() = ECONNREFUSED"},
	} {
		t.Run(strings.ReplaceAll(c.cause, " ", "-"), func(t *testing.T) {
			t.Parallel()
			n := slices.IndexFunc(causes, func(o cause) bool { return o.name == c.cause })
			other := causes[n]
			other.fault, other.unlike = c.fault, true
			if c.fault == "syn-drop" {
				other.before = dialing(300e6)
			}
			cl := &comparison{cause: &other, at: atRouter}
			seen := false
			for n := 0; n < tries && !seen; n++ { // on a busy machine every answer is late
				var kept []record
				cl.compare(t, &kept)
				seen = strings.Contains(strings.Join(cl.differences, "\n"), c.sees)
			}
			if !seen {
				t.Errorf("seen was %q, want %q", cl.differences, c.sees)
			}
		})
	}
}

// TestExpectations checks that a genuine lane that differs from what was measured
// does not pass.
func TestExpectations(t *testing.T) {
	lines := []line{
		{Way: "C>S", Flags: "P.", Seq: 1, Ack: 1, Len: 5, Window: 64, Stamps: "TS", TTL: 64, ID: "+1", DF: true},
		{Way: "S>C", Flags: "R", Seq: 1, TTL: 63, ID: "0", DF: true},
	}
	for _, c := range []struct {
		pattern []string
		holds   bool
	}{
		{[]string{"C>S [P.] seq=1 ack=1 len=5 TS", "S>C [R] seq=1 win=0 !TS id=0 DF"}, true},
		{[]string{"S>C [R] seq=1", "C>S [P.]"}, false}, // the order
		{[]string{"S>C [R.] seq=1"}, false},
		{[]string{"S>C [R] seq=2"}, false},
		{[]string{"S>C [R] TS"}, false},
		{[]string{"C>S [P.] !TS"}, false},
		{[]string{"S>C [R] id=+1"}, false},
	} {
		if got := holds(lines, c.pattern, false) == ""; got != c.holds {
			t.Errorf("%q: %v, want %v", c.pattern, got, c.holds)
		}
	}
	for n := range causes {
		c := &causes[n]
		if len(c.shows)+len(c.measured) == 0 || c.genuine == "" {
			t.Errorf("%s: nothing checks its genuine lane", c.name)
		}
		for _, text := range c.then {
			if _, err := c.step(text, false); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if _, err := faults.Find(strings.SplitN(causes[n].fault, ":", 2)[0]); err != nil {
			t.Error(err)
		}
	}
}

// TestEveryResetCause checks that each reset cause of the catalogue is compared.
func TestEveryResetCause(t *testing.T) {
	for _, k := range faults.Catalog {
		if k.Group == "reset" && !slices.ContainsFunc(causes, func(c cause) bool {
			return strings.SplitN(c.fault, ":", 2)[0] == k.Name
		}) {
			t.Errorf("%s is compared with nothing", k.Name)
		}
	}
}

// TestPage checks that the page has these causes and allowances, and that the
// cells of its matrix are as expected.
func TestPage(t *testing.T) {
	if *update {
		return // it is written when all tests are over
	}
	b, err := os.ReadFile("../../docs/FIDELITY.md")
	if err != nil {
		t.Fatal(err)
	}
	got := string(b)
	stale := func(what string) { t.Errorf("docs/FIDELITY.md is out of date, run make fidelity: it lacks\n%s", what) }
	says := func(what string) {
		if !strings.Contains(got, what) {
			stale(what)
		}
	}
	says(pageHead)
	for n, a := range allowances {
		says(fmt.Sprintf("\n%d. %s: %s.\n", n+1, upper(a.what), a.why))
	}
	if n := strings.Count(got, "\n**Genuine:** "); n != len(causes) {
		t.Errorf("docs/FIDELITY.md is out of date, run make fidelity: it has %d causes, there are %d", n, len(causes))
	}
	for n := range causes {
		c := &causes[n]
		says(fmt.Sprintf("\n## %s\n\n**Genuine:** %s.\n**Injected:** `%s`.\n", c.name, c.genuine, c.fault))
		_, row, _ := strings.Cut(got, "\n| "+c.name+" |")
		row, _, _ = strings.Cut(row, "\n")
		cells := strings.Split(strings.TrimSuffix(row, "|"), "|")
		if len(cells) != 2*len(placements) {
			stale("| " + c.name + " | … |")
			continue
		}
		for i, text := range cells {
			cl := &comparison{cause: c, v6: i >= len(placements), at: placements[i%len(placements)]}
			want := "="
			if c.notOn[cl.at] != "" {
				want = "–"
			} else if _, known := unfaithful[cl.name()]; known {
				want = "**differs**"
			}
			if first, _, _ := strings.Cut(strings.TrimSpace(text), " "); first != want {
				t.Errorf("docs/FIDELITY.md: %s: %q, want %q", cl.name(), first, want)
			}
		}
	}
}
