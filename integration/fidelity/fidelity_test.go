package fidelity

import (
	"cmp"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/lab"
)

var (
	full   = flag.Bool("full", false, "every cause from every vantage, not only from the router and one other")
	update = flag.Bool("update", false, "write docs/FIDELITY.md; implies -full")
)

// bystandEnv makes the test binary a process that does nothing, with whatever
// connection it was handed.
const bystandEnv = "FAULTCTL_TEST_BYSTAND"

func TestMain(m *testing.M) {
	if os.Getenv(bystandEnv) != "" {
		time.Sleep(time.Minute)
		return
	}
	flag.Parse()
	*full = *full || *update
	if f := flag.Lookup("test.parallel"); f.Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		f.Value.Set("12") // the causes wait for time to pass, not for a processor
	}
	os.Exit(lab.Main(m.Run))
}

// causes are all causes, in the order of the page.
var causes = slices.Concat(closeCauses, peerCauses, listenCauses, pathCauses, farCauses, haproxyCauses, proxyCauses, pawsCauses, forgedCauses)

// cell is one cause over one family from one vantage.
type cell struct {
	cause *cause
	v6    bool
	at    vantage

	genuine, injected []record // of the ends watched
	differences       []string // those that are not allowed
	notes             []int    // allowances that applied
	tells             []tell
	missing           string // why there is nothing to compare
	wrong             string // how the genuine lane is not what was measured

	// noise says that the lanes differ in what a timer of TCP did, or in how
	// long a call took: on a busy machine that may be the machine. Such a cell is
	// played again, a few times at most.
	noise bool
}

func family(v6 bool) string { return pick(v6, "IPv6", "IPv4") }

func (c *cell) name() string { return c.cause.name + "/" + family(c.v6) + "/" + string(c.at) }

// TestFidelity plays every cause in both lanes and compares them.
func TestFidelity(t *testing.T) {
	var mu sync.Mutex
	var cells []*cell
	t.Run("causes", func(t *testing.T) {
		for n := range causes {
			c := &causes[n]
			for _, v6 := range []bool{false, true} {
				t.Run(strings.ReplaceAll(c.name, " ", "-")+"/"+family(v6), func(t *testing.T) {
					t.Parallel()
					lanes := &genuineLanes{}
					for _, at := range vantages {
						if !*full && at != atRouter && at != vantages[:len(vantages)-1][n%3] && at != loopback {
							continue
						}
						if !*full && at == loopback && n%3 != 2 {
							continue
						}
						cl := &cell{cause: c, v6: v6, at: at}
						t.Run(strings.ReplaceAll(string(at), " ", "-"), func(t *testing.T) { cl.play(t, lanes) })
						mu.Lock()
						cells = append(cells, cl)
						mu.Unlock()
					}
				})
			}
		}
	})
	slices.SortFunc(cells, func(a, b *cell) int { return cmp.Compare(a.name(), b.name()) })
	if *full && !t.Failed() && flag.Lookup("test.run").Value.String() == "" {
		checkAllowances(t, cells)
	}
	if *update && !t.Failed() {
		if err := os.WriteFile("../../docs/FIDELITY.md", []byte(page(cells)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// checkAllowances holds that each allowance is still needed.
func checkAllowances(t *testing.T, cells []*cell) {
	t.Helper()
	for n, a := range allowances {
		if !slices.ContainsFunc(cells, func(c *cell) bool { return slices.Contains(c.notes, n+1) }) {
			t.Errorf("allowance %d is not needed any more: %s", n+1, a.what)
		}
	}
}

// genuineLanes are the genuine lanes of a cause over one family: one over the
// wire, whatever the vantage, and one over loopback.
type genuineLanes struct{ wire, loop []record }

// tries is how often a cell is played at most.
const tries = 5

// play plays what is to be compared and compares it.
func (c *cell) play(t *testing.T, lanes *genuineLanes) {
	if c.missing = c.cause.notOn[c.at]; c.missing != "" {
		t.Log(c.missing)
		return
	}
	kept := pick(c.at == loopback, &lanes.loop, &lanes.wire)
	defer func() {
		if why, ok := lacking.Load(c.cause); ok {
			c.missing = why.(string)
		}
	}()
	for try := range tries {
		c.compare(t, kept)
		if _, known := unfaithful[c.name()]; known || t.Failed() || !c.noise || try == tries-1 {
			break
		}
		t.Logf("played again: %s%s", c.wrong, strings.Join(c.differences, "; "))
		*kept = nil
	}
	if c.wrong != "" {
		t.Fatal(c.wrong)
	}
	c.judge(t)
}

// compare plays the lanes, the genuine one unless that was done, and lists where
// they differ.
func (c *cell) compare(t *testing.T, kept *[]record) {
	t.Helper()
	if *kept == nil {
		p := begin(t, c.cause, genuine, pick(c.at == loopback, loopback, atRouter), c.v6)
		*kept = p.perform(nil)
		c.wrong = cmp.Or(p.vain, p.checkGenuine(*kept))
		p.end()
		if c.noise = c.wrong != ""; c.noise { // if it stays wrong, it is none
			return
		}
	}
	c.genuine = *kept
	p := begin(t, c.cause, injected, c.at, c.v6)
	c.injected = p.perform(c.genuine)
	p.end()
	c.wrong = p.vain
	c.differences, c.notes, c.tells, c.noise = nil, nil, nil, c.wrong != ""
	for n, g := range c.genuine {
		i := c.injected[n]
		for _, d := range compare(g, i) {
			if a := c.allowed(d); a != 0 {
				c.notes = append(c.notes, a)
				continue
			}
			c.differences = append(c.differences, d.String())
			c.noise = c.noise || c.timed(d)
		}
		if i.own {
			c.tells = append(c.tells, tellsOf(i)...)
		}
	}
	c.notes, c.tells = sorted(c.notes), sorted(c.tells)
}

// perform plays the script and returns what was recorded, once no more comes.
// Where the other lane is known, as much as it had is waited for.
func (p *play) perform(other []record) []record {
	p.t.Helper()
	p.cause.run(p)
	p.settle(other)
	var out []record
	for _, e := range p.watched {
		r := record{side: e.side, own: p.own(e), door: p.lines(e, p.door(e)), wire: p.lines(e, p.wire(e)), from: p.acted[e.side]}
		if a := p.app(e.side); a != nil {
			r.calls = a.Calls()
		}
		if p.cause.sums != nil {
			r.door, r.wire, r.calls = nil, nil, append(r.calls, p.sums()...)
		}
		out = append(out, r)
	}
	return out
}

// calm is how long nothing must arrive until a conversation counts as over. It
// is only about segments too many: those that must come are waited for.
const calm = 60 * time.Millisecond

func (p *play) settle(other []record) {
	if p.cause.sums != nil {
		return
	}
	if _, known := unfaithful[(&cell{cause: p.cause, v6: p.v6, at: p.at}).name()]; known {
		other = nil // as much will not come
	}
	lab.Eventually(func() bool {
		if p.cause.unlike && p.lane == injected {
			return true // who knows what comes
		}
		for n, e := range p.watched {
			lines := p.lines(e, p.door(e))
			if other == nil && n == 0 && holds(lines, p.cause.shows, p.v6) != "" || other != nil && p.awaited(e, lines) < p.awaited(e, other[n].door) {
				return false
			}
			// Two witnesses that must agree: each has seen it all.
			if !p.own(e) && len(p.lines(e, p.wire(e))) != len(lines) {
				return false
			}
		}
		return true
	})
	last, since := -1, time.Now()
	lab.Eventually(func() bool {
		n := 0
		for _, e := range p.watched {
			n += len(p.door(e)) + len(p.wire(e))
		}
		if n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) <= calm {
			return false
		}
		p.flush()
		since = time.Now()
		for _, e := range p.watched {
			n -= len(p.door(e)) + len(p.wire(e))
		}
		return n == 0
	})
}

// flush waits until the doors have told all that they have seen: what has
// crossed them before a segment of its own is recorded before it.
func (p *play) flush() {
	const nobody = 9 // discard
	for _, e := range p.watched {
		seen := len(e.door.Segments(nobody))
		c, err := e.node.Client(p.service.Addr())
		p.must(err, c.Nonblock())
		c.Connect(netip.AddrPortFrom(pick(p.v6, netip.IPv6Loopback(), netip.MustParseAddr("127.0.0.1")), nobody))
		e.door.Wait(nobody, func(segs []lab.Captured) bool { return len(segs) > seen })
		c.Close()
	}
}

// awaited counts the lines that both lanes have. A firewall on loopback shows
// its RSTs in the host's output in one of them only.
func (p *play) awaited(e *end, lines []line) (n int) {
	for _, l := range lines {
		if p.at != loopback || !p.cause.device || l.Flags != "R" || l.Way != outward(e.side) {
			n++
		}
	}
	return n
}

// outward is the way of what an end sends.
func outward(s side) string { return pick(s == faults.Client, "C>S", "S>C") }

// checkGenuine holds the genuine lane to what was measured.
// It returns what is wrong with it.
func (p *play) checkGenuine(records []record) string {
	r := records[0]
	if miss := holds(r.door, p.cause.shows, p.v6); miss != "" {
		return fmt.Sprintf("the genuine lane lacks %q:\n%s", miss, text(r.door))
	}
	if n := p.counter(); p.cause.counts != "" && n == p.counters {
		return fmt.Sprintf("in the genuine lane the %s's kernel counts no %s", p.cause.counted, p.cause.counts)
	}
	for _, r := range records {
		var got []string
		for _, c := range r.calls[r.from:] {
			got = append(got, c.String())
		}
		measured := p.cause.calls(r.side, p.v6)
		if len(measured) > 0 && strings.Join(got, "; ") != strings.Join(measured, "; ") {
			return fmt.Sprintf("in the genuine lane the %s's calls are %q, measured was %q", r.side, got, measured)
		}
	}
	return ""
}

// timed reports whether a difference may be the work of a timer, or of two
// segments that cross.
func (c *cell) timed(d difference) bool {
	ack := func(l line) bool {
		return (c.cause.lazy || c.cause.far) && l.Flags == "." && l.Len == 0
	}
	if c.cause.asks && d.side == faults.Server {
		return true // faultctl asks again when no answer comes in time
	}
	return d.what == "time" || d.genuine.Again || d.injected.Again || ack(d.genuine) || ack(d.injected) ||
		d.what == "round trip" || c.cause.rerolls && d.what == "flow label"
}

// judge says whether the cell is what it is known to be.
func (c *cell) judge(t *testing.T) {
	t.Helper()
	why, known := unfaithful[c.name()]
	switch {
	case len(c.differences) > 0 && !known:
		t.Errorf("not the real thing:\n  %s\n%s", strings.Join(c.differences, "\n  "), c.traces())
	case len(c.differences) == 0 && known:
		t.Errorf("equal by now: take it out of the table (%s)", why)
	}
}

// traces writes what both lanes recorded.
func (c *cell) traces() string {
	var b strings.Builder
	for n, g := range c.genuine {
		i := c.injected[n]
		fmt.Fprintf(&b, "%s, genuine: %v\n%s%s, injected: %v\n%s", g.side, g.calls, text(g.door), i.side, i.calls, text(i.door))
		if !i.own {
			fmt.Fprintf(&b, "wire, genuine:\n%swire, injected:\n%s", text(g.wire), text(i.wire))
		}
	}
	return b.String()
}
