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
	full   = flag.Bool("full", false, "play every cause in every placement of faultctl, not only on the router and in one other")
	update = flag.Bool("update", false, "write docs/FIDELITY.md; implies -full")
)

// bystandEnv makes the test binary a process that does nothing and holds the
// connection that it was given.
const bystandEnv = "FAULTCTL_TEST_BYSTAND"

func TestMain(m *testing.M) {
	if os.Getenv(bystandEnv) != "" {
		time.Sleep(time.Minute)
		return
	}
	if os.Getenv(answerEnv) != "" {
		answerInHalves()
		return
	}
	flag.Parse()
	*full = *full || *update
	if f := flag.Lookup("test.parallel"); f.Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		f.Value.Set("12") // the causes spend most of their time waiting
	}
	os.Exit(lab.Main(func() int {
		code := m.Run()
		if err := writePage(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}))
}

// compared has the cells of the matrix, if all are as they should be.
var compared []*comparison

// causes has all causes, in the order of the page.
var causes = slices.Concat(closeCauses, peerCauses, hangCauses, listenCauses, pathCauses, farCauses, haproxyCauses, proxyCauses, pawsCauses, reuseCauses, natCauses, forgedCauses)

// comparison is one cause over one address family in one placement: a cell of the
// matrix.
type comparison struct {
	cause *cause
	v6    bool
	at    placement

	genuine, injected []record // of the watched ends
	differences       []string // the differences that are not allowed
	notes             []int    // allowances that applied
	tells             []tell
	missing           string // why there is nothing to compare, or ""
	wrong             string // how the genuine lane differs from what was measured, or ""

	// noise says that the lanes differ in what one of TCP's timers did, or in how
	// long a call took. On a busy machine the machine may be the reason, so such a
	// comparison is played again, a few times at most.
	noise bool
}

func family(v6 bool) string { return pick(v6, "IPv6", "IPv4") }

func (c *comparison) name() string { return c.cause.name + "/" + family(c.v6) + "/" + string(c.at) }

// TestFidelity plays every cause in both lanes and compares them.
func TestFidelity(t *testing.T) {
	var mu sync.Mutex
	var cells []*comparison
	t.Run("causes", func(t *testing.T) {
		for n := range causes {
			c := &causes[n]
			for _, v6 := range []bool{false, true} {
				t.Run(strings.ReplaceAll(c.name, " ", "-")+"/"+family(v6), func(t *testing.T) {
					t.Parallel()
					lanes := &genuineLanes{}
					for _, at := range placements {
						if !*full && at != atRouter && at != placements[:len(placements)-1][n%3] && at != loopback {
							continue
						}
						if !*full && at == loopback && n%3 != 2 {
							continue
						}
						cl := &comparison{cause: c, v6: v6, at: at}
						t.Run(strings.ReplaceAll(string(at), " ", "-"), func(t *testing.T) { cl.play(t, lanes) })
						mu.Lock()
						cells = append(cells, cl)
						mu.Unlock()
					}
				})
			}
		}
	})
	slices.SortFunc(cells, func(a, b *comparison) int { return cmp.Compare(a.name(), b.name()) })
	if *full && !t.Failed() && flag.Lookup("test.run").Value.String() == "" {
		checkAllowances(t, cells)
	}
	if !t.Failed() {
		compared = cells
	}
}

// checkAllowances checks that each allowance is still needed.
func checkAllowances(t *testing.T, cells []*comparison) {
	t.Helper()
	for n, a := range allowances {
		if !slices.ContainsFunc(cells, func(c *comparison) bool { return slices.Contains(c.notes, n+1) }) {
			t.Errorf("allowance %d is no longer needed: %s", n+1, a.what)
		}
	}
}

// genuineLanes are the genuine lanes of a cause over one family: one over the
// wire, which serves every placement, and one over loopback.
type genuineLanes struct{ wire, loop []record }

// tries is how often a comparison is played at most.
const tries = 5

// play plays both lanes, compares them and reports the result.
func (c *comparison) play(t *testing.T, lanes *genuineLanes) {
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

// compare plays the lanes (the genuine one only if kept is empty) and lists where
// they differ.
func (c *comparison) compare(t *testing.T, kept *[]record) {
	t.Helper()
	if *kept == nil {
		p := begin(t, c.cause, genuine, pick(c.at == loopback, loopback, atRouter), c.v6)
		*kept = p.perform(nil)
		c.wrong = cmp.Or(p.vain, p.checkGenuine(*kept))
		p.end()
		if c.noise = c.wrong != ""; c.noise { // if all tries are wrong, it is not noise
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

// perform plays the script and returns what was recorded, once nothing more
// arrives. If the other lane is known, it waits for as many segments as that had.
func (p *play) perform(other []record) []record {
	p.t.Helper()
	p.cause.run(p)
	p.settle(other)
	var out []record
	for _, e := range p.watched {
		r := record{side: e.side, own: p.own(e), stack: p.lines(e, p.stack(e)), wire: p.lines(e, p.wire(e)), from: p.acted[e.side]}
		if a := p.app(e.side); a != nil {
			r.calls = a.Calls()
		}
		if p.cause.sums != nil {
			r.stack, r.wire, r.calls = nil, nil, append(r.calls, p.sums()...)
		}
		out = append(out, r)
	}
	return out
}

// quietTime is how long nothing must arrive before a conversation counts as over.
// It serves to notice extra segments only: those that must come are waited for.
const quietTime = 60 * time.Millisecond

func (p *play) settle(other []record) {
	if p.cause.sums != nil {
		return
	}
	if _, known := unfaithful[(&comparison{cause: p.cause, v6: p.v6, at: p.at}).name()]; known {
		other = nil // it will not have as many segments
	}
	lab.Eventually(func() bool {
		if p.cause.unlike && p.lane == injected {
			return true // nothing is known of what arrives
		}
		for n, e := range p.watched {
			lines := p.lines(e, p.stack(e))
			if other == nil && n == 0 && holds(lines, p.cause.shows, p.v6) != "" || other != nil && p.awaited(e, lines) < p.awaited(e, other[n].stack) {
				return false
			}
			// The two captures must agree, so that each has seen everything.
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
			n += len(p.stack(e)) + len(p.wire(e))
		}
		if n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) <= quietTime {
			return false
		}
		p.flush()
		since = time.Now()
		for _, e := range p.watched {
			n -= len(p.stack(e)) + len(p.wire(e))
		}
		return n == 0
	})
}

// flush waits until the stack captures have recorded everything up to now: it
// sends a segment of its own, and what came before it is recorded before it.
func (p *play) flush() {
	const nobody = 9 // discard
	for _, e := range p.watched {
		seen := len(e.stack.Segments(nobody))
		c, err := e.node.Client(p.service.Addr())
		p.must(err, c.Nonblock())
		c.Connect(netip.AddrPortFrom(pick(p.v6, netip.IPv6Loopback(), netip.MustParseAddr("127.0.0.1")), nobody))
		e.stack.Wait(nobody, func(segs []lab.Captured) bool { return len(segs) > seen })
		c.Close()
	}
}

// awaited counts the lines that both lanes have. On loopback, a firewall's RSTs
// appear in the host's output in the genuine lane only.
func (p *play) awaited(e *end, lines []line) (n int) {
	for _, l := range lines {
		if p.at != loopback || !p.cause.device || l.Flags != "R" || l.Way != outward(e.side) {
			n++
		}
	}
	return n
}

// outward is the direction of what an end sends.
func outward(s side) string { return pick(s == faults.Client, "C>S", "S>C") }

// checkGenuine compares the genuine lane with what was measured, and returns what
// is wrong with it, or "".
func (p *play) checkGenuine(records []record) string {
	r := records[0]
	if miss := holds(r.stack, p.cause.shows, p.v6); miss != "" {
		return fmt.Sprintf("the genuine lane lacks %q:\n%s", miss, text(r.stack))
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

// timed reports whether a difference may be due to a timer, or to two segments
// that cross.
func (c *comparison) timed(d difference) bool {
	ack := func(l line) bool {
		return (c.cause.lazy || c.cause.far) && l.Flags == "." && l.Len == 0
	}
	if c.cause.asks && d.side == faults.Server {
		return true // faultctl probes again when no answer arrives in time
	}
	return d.what == "time" || d.genuine.Again || d.injected.Again || ack(d.genuine) || ack(d.injected) ||
		d.what == "round trip" || c.cause.rerolls && d.what == "flow label"
}

// judge fails the test if the comparison is not what it is known to be.
func (c *comparison) judge(t *testing.T) {
	t.Helper()
	why, known := unfaithful[c.name()]
	switch {
	case len(c.differences) > 0 && !known:
		t.Errorf("not the real thing:\n  %s\n%s", strings.Join(c.differences, "\n  "), c.traces())
	case len(c.differences) == 0 && known:
		t.Errorf("it is equal now: remove it from the table (%s)", why)
	}
}

// traces returns what both lanes recorded.
func (c *comparison) traces() string {
	var b strings.Builder
	for n, g := range c.genuine {
		i := c.injected[n]
		fmt.Fprintf(&b, "%s, genuine: %v\n%s%s, injected: %v\n%s", g.side, g.calls, text(g.stack), i.side, i.calls, text(i.stack))
		if !i.own {
			fmt.Fprintf(&b, "wire, genuine:\n%swire, injected:\n%s", text(g.wire), text(i.wire))
		}
	}
	return b.String()
}
