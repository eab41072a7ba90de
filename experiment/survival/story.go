package survival

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/explain/capture"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/words"
)

// A story is what the connections of one run went through, in the words of explain.
// It sees the packets that the run judges: of connections that were chosen, and as the
// client sees them.
type story struct {
	mu      sync.Mutex
	parser  capture.Parser
	table   *explain.Table
	found   []explain.Finding
	frames  int
	later   []leaving // packets that have yet to leave, by their time
	touched map[ends]time.Time
}

type ends struct{ client, server netip.AddrPort }

// leaving is a packet that leaves later than it was told of.
type leaving struct {
	at   time.Time
	data []byte
}

// Of a run so much is kept.
const (
	mostFindings = 10_000
	mostTouched  = 100_000
	mostLines    = 5 // that a story has
)

func newStory() *story {
	s := &story{touched: map[ends]time.Time{}}
	s.table = explain.New(func(f explain.Finding) {
		if len(s.found) < mostFindings {
			s.found = append(s.found, f)
		}
	})
	return s
}

// packet has the form of injector.Config.OnPacket.
func (s *story) packet(p injector.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(p.Time)
	switch {
	case p.Fate == injector.Passed:
		s.add(p.Time, p.Bytes, explain.Seen)
	case p.Fate.Came():
		s.touch(p)
		s.add(p.Time, p.Bytes, explain.Withheld)
	default:
		s.touch(p)
		at := len(s.later)
		for at > 0 && s.later[at-1].at.After(p.Time) {
			at--
		}
		s.later = slices.Insert(s.later, at, leaving{p.Time, slices.Clone(p.Bytes)})
	}
}

// leave adds the packets that have left by now.
func (s *story) leave(now time.Time) {
	n := 0
	for n < len(s.later) && !s.later[n].at.After(now) {
		s.add(s.later[n].at, s.later[n].data, explain.Put)
		n++
	}
	s.later = slices.Delete(s.later, 0, n)
}

func (s *story) add(at time.Time, data []byte, fate explain.Fate) {
	p, ok := s.parser.Parse(data)
	if !ok {
		return
	}
	s.frames++
	p.At, p.Frame, p.Fate = at, s.frames, fate
	s.table.Add(p)
}

// touch notes that a fault acts on a connection.
func (s *story) touch(p injector.Packet) {
	q, ok := s.parser.Parse(p.Bytes)
	if !ok || len(s.touched) >= mostTouched {
		return
	}
	e := ends{q.SrcAddrPort(), q.DstAddrPort()}
	if p.FromServer != (q.ICMP != 0) { // an ICMP error quotes a packet of the other way
		e.client, e.server = e.server, e.client
	}
	if _, known := s.touched[e]; !known {
		s.touched[e] = p.Time
	}
}

// end says what the connections went through: ours are those that a fault acted on,
// others are those that something else struck.
func (s *story) end() (ours, others []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.later) > 0 {
		s.leave(s.later[len(s.later)-1].at)
	}
	s.table.End(time.Time{})
	explain.Sort(s.found)
	var a, b []explain.Finding
	for _, f := range s.found {
		switch at, touched := s.touched[ends{f.Client, f.Server}]; {
		case touched && !f.At.Before(at):
			a = append(a, f)
		case struck(f):
			b = append(b, f)
		}
	}
	return lines(a), lines(b)
}

// struck reports whether something happened to the client: a RST or an ICMP error. Its
// own RST is its own doing.
func struck(f explain.Finding) bool {
	return f.Facts.Author == faults.Reply && f.Facts.Yes&clue.Of(clue.Reset, clue.Unreachable) != 0
}

// lines are findings in words, a line for those that are alike.
func lines(fs []explain.Finding) (out []string) {
	for _, g := range explain.Groups(fs) {
		if len(out) == mostLines {
			return append(out, "and others")
		}
		out = append(out, fmt.Sprintf("%s to %s: %s: %s", words.Plural(uint64(len(g.Findings)), "connection"), g.Server, g.Verdict, strings.Join(g.Findings[0].Words(), "; ")))
	}
	return out
}
