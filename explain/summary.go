package explain

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/features"
)

// Group is all connections to one service that ended in the same way.
type Group struct {
	Verdict  Verdict
	Server   netip.AddrPort
	By       faults.Direction // whose end seems to do it
	Findings []Finding        // in the order of their time; at least one
}

// Groups puts together what looks the same and concerns the same service: the
// largest group first.
func Groups(fs []Finding) []Group {
	type key struct {
		cause, twins string
		certainty    Certainty
		server       netip.AddrPort
		by           faults.Direction
	}
	at := map[key]int{}
	var gs []Group
	for _, f := range fs {
		k := key{f.Verdict.Cause, strings.Join(f.Verdict.Twins, " "), f.Verdict.Certainty, f.Server, f.Facts.Author}
		i, ok := at[k]
		if !ok {
			i = len(gs)
			at[k] = i
			gs = append(gs, Group{Verdict: f.Verdict, Server: f.Server, By: f.Facts.Author})
		}
		gs[i].Findings = append(gs[i].Findings, f)
	}
	slices.SortStableFunc(gs, func(a, b Group) int {
		return cmp.Or(cmp.Compare(len(b.Findings), len(a.Findings)), a.Server.Compare(b.Server), cmp.Compare(a.Verdict.Cause, b.Verdict.Cause))
	})
	return gs
}

// Idle is the mean of the silences before, and their standard deviation.
func (g Group) Idle() (mean, spread time.Duration) {
	var sum, squares float64
	for _, f := range g.Findings {
		s := f.Facts.Idle.Seconds()
		sum, squares = sum+s, squares+s*s
	}
	n := float64(len(g.Findings))
	return seconds(sum / n), seconds(math.Sqrt(max(squares/n-sum/n*sum/n, 0)))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Ordinary says that connections end so without anything being wrong: empty if
// they do not.
func (g Group) Ordinary() string {
	f := g.Findings[0].Facts
	if g.By == faults.Original && f.Yes.Has(clue.ActiveRST) && !f.Yes.Has(clue.ProbesIgnored) {
		return "Many clients end their connections like this; browsers do when a page is left."
	}
	return ""
}

// Timer names what is known to wait about as long as the connections were silent:
// empty if nothing is, or if silence has nothing to do with it.
func (g Group) Timer() string {
	f := g.Findings[0].Facts
	if f.Yes&clue.Of(clue.Idle, clue.FINAfterIdle) == 0 {
		return ""
	}
	mean, _ := g.Idle()
	var names []string
	for _, p := range faults.Presets {
		// What comes after the silence shows it late, never early.
		if mean >= p.After && mean < p.After+p.After/20 {
			names = append(names, p.Name)
		}
	}
	return strings.Join(names, ", ")
}

// Comments are remarks on the frames that decided, by their numbers.
func (f Finding) Comments() map[int]string {
	out := map[int]string{}
	if f.Facts.Frame != 0 {
		out[f.Facts.Frame] = "explain: " + f.Verdict.String() + ": " + strings.Join(f.Words(), "; ")
	}
	if f.Facts.Answer != 0 {
		out[f.Facts.Answer] = fmt.Sprintf("explain: frame %d answers this", f.Facts.Frame)
	}
	return out
}

// Evidence says in words what was seen of a connection, with frame numbers.
func (f Finding) Evidence() []string { return f.evidence(true) }

// Words are the Evidence without the numbers of frames, for where there is no
// capture to look them up in.
func (f Finding) Words() []string { return f.evidence(false) }

func (f Finding) evidence(frames bool) []string {
	x := &f.Facts
	var out []string
	add := func(format string, args ...any) {
		if rest, ok := strings.CutPrefix(format, "frame %d: "); ok && !frames {
			format, args = rest, args[1:]
		}
		out = append(out, fmt.Sprintf(format, args...))
	}
	author, victim := "the server", "the client"
	if x.Author == faults.Original {
		author, victim = victim, author
	}
	switch {
	case x.Yes.Has(clue.Reset):
		add("frame %d: a RST in the name of %s: %s", x.Frame, author, shape(x.Yes))
		switch {
		case x.Answer != 0:
			add("frame %d: what it answers, %s before: %s", x.Answer, short(x.Delay), provoker(x.Yes))
		case x.Yes.Has(clue.Unprovoked):
			add("%s sent nothing that it could answer", victim)
		}
	case x.Yes.Has(clue.Silence):
		add("frame %d: %s sent this %d times, without an answer%s", x.Frame, victim, x.Tries, also(x.Yes.Has(clue.Recovered), "; then it went on"))
	case x.Yes.Has(clue.WindowShut):
		add("frame %d: the receive window of %s is zero, and does not open", x.Frame, author)
	case x.Yes.Has(clue.Unanswered):
		add("frame %d: %s acknowledged the data of %s, and has sent nothing for %s", x.Frame, author, victim, short(x.Delay))
	case x.Yes.Has(clue.HalfClosed):
		add("%s closed; %s sends keepalive probes and does not close", author, victim)
	case x.Yes.Has(clue.Unacceptable):
		add("frame %d: a segment in the name of %s with numbers that no TCP accepts", x.Frame, author)
	}
	if x.ICMP != 0 {
		add("ICMP error, type %d code %d", x.ICMP>>8, x.ICMP&0xff)
	}
	if x.Yes&clue.Of(clue.Idle, clue.FINAfterIdle) != 0 {
		add("silence of %s before", short(x.Idle))
	}
	if x.TTL[0] != 0 && x.TTL[1] != 0 {
		add("its TTL is %d, that of the other packets of %s %d%s", x.TTL[0], author, x.TTL[1],
			also(x.TTL[0] != x.TTL[1], ": something else on the path sent it"))
	}
	if x.Yes.Has(clue.TooSoon) {
		add("it came %s after what it answers; %s needs %s", short(x.Delay), author, short(x.RTT))
	}
	if f.Reason != "" {
		add("the kernel of this host sent it, and says why: %s", f.Reason)
	}
	for _, p := range [][2]string{{"client", f.ClientProcess}, {"server", f.ServerProcess}} {
		if p[1] != "" {
			add("the %s is the process %s", p[0], p[1])
		}
	}
	for _, c := range []clue.Clue{clue.AuthorFIN, clue.VictimFIN, clue.AwaitsAnswer, clue.ProbesIgnored, clue.SYNACKAgain, clue.LargeOnly, clue.OldTimestamp, clue.OthersLive} {
		if x.Yes.Has(c) {
			add("%v", c)
		}
	}
	return out
}

func also(yes bool, text string) string {
	if yes {
		return text
	}
	return ""
}

// shape describes the RST.
func shape(s clue.Set) string {
	switch {
	case s.Has(clue.ActiveRST):
		return "RST and ACK, as a socket sends that aborts"
	case s.Has(clue.RefusalRST):
		return "RST and ACK with sequence number 0, as a host answers a SYN to a port where nothing listens"
	}
	return "RST alone, as a host answers a segment of a connection that it does not know"
}

// provoker describes what a RST answers.
func provoker(s clue.Set) string {
	switch {
	case s.Has(clue.ToSYN):
		return features.SYN.String()
	case s.Has(clue.ToSYNACK):
		return "a SYN-ACK"
	case s.Has(clue.ToProbe):
		return features.Keepalive.String()
	case s.Has(clue.ToFIN) && s.Has(clue.ToData):
		return "a FIN with data"
	case s.Has(clue.ToFIN):
		return features.FIN.String()
	case s.Has(clue.ToData):
		return features.Data.String()
	}
	return features.ACK.String()
}

// short writes a time with two or three digits.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}
