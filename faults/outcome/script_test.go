package outcome

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/packet"
)

// script plays a connection written in lines:
//
//	0.010 C>S P len 5 dropped      a segment of an end; seq, ack, win, fate as given,
//	                               else what its side has come to, and passed
//	0.010 S>C R forged             a segment of ours
//	0.010 S>C R. replaced          it went on in place of the segment before
//	0.010 strike rst client        the note of a fault
//	0.010 waited 600ms             how long the segments that follow may have waited
//	0.010 fail client              the raw socket refused
//	0.010 kernel client gone       evidence from outside
//	9.000 end                      when the outcome is asked for
//
// Numbers are relative to what each side started with. An end's ack covers what
// went on to it.
type script struct {
	t     *testing.T
	tr    Tracker
	next  [2]uint32 // of each side, by what it sent
	got   [2]uint32 // of each side's stream, by what went on to its peer
	until time.Duration
}

var starts = [2]uint32{1<<32 - 3, 5000} // the client's numbers wrap

var evidenceNames = map[string]Evidence{
	"left": LeftHost, "eaten": Eaten, "gone": SocketGone, "alive": SocketAlive, "none": NoSocket,
	"reset": ReceivedReset, "orphan": Orphaned, "owned": Owned, "told": ToldByCall,
}

func play(t *testing.T, text string) *script {
	t.Helper()
	s := &script{t: t}
	for line := range strings.Lines(text) {
		if line, _, _ = strings.Cut(line, "#"); strings.TrimSpace(line) != "" {
			s.line(strings.Fields(line))
		}
	}
	return s
}

func (s *script) line(w []string) {
	s.t.Helper()
	n, err := strconv.ParseFloat(w[0], 64)
	if err != nil {
		s.t.Fatal(err)
	}
	at := seconds(n)
	s.until = at
	switch w[1] {
	case "end":
	case "waited":
		s.tr.Waited, _ = time.ParseDuration(w[2])
	case "strike":
		for a := faults.Dropped; a <= faults.Held; a++ {
			if a.String() == w[2] {
				s.tr.Strike(at, a, s.side(w[3]))
				return
			}
		}
		s.t.Fatalf("no action %q", w[2])
	case "fail":
		s.tr.SendFailed(at, s.side(w[2]))
	case "kernel":
		s.tr.Kernel(at, s.side(w[2]), evidenceNames[w[3]])
	case "C>S":
		s.segment(at, faults.Original, w[2], w[3:])
	case "S>C":
		s.segment(at, faults.Reply, w[2], w[3:])
	default:
		s.t.Fatalf("line %q", w)
	}
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

func (s *script) side(name string) (side faults.Side) {
	if err := side.UnmarshalText([]byte(name)); err != nil {
		s.t.Fatal(err)
	}
	return side
}

func (s *script) segment(at time.Duration, dir faults.Direction, flags string, w []string) {
	s.t.Helper()
	f := packet.Fields{
		Src: netip.MustParseAddrPort("10.0.0.1:40000"), Dst: netip.MustParseAddrPort("10.0.0.2:80"),
		TTL: 64, DF: true, Window: 500,
	}
	if dir == faults.Reply {
		f.Src, f.Dst = f.Dst, f.Src
	}
	var err error
	if f.Flags, err = packet.ParseFlags(flags); err != nil {
		s.t.Fatal(err)
	}
	if f.Flags.Has(packet.PSH) {
		f.Flags |= packet.ACK
	}
	if f.Flags.Has(packet.FIN) {
		f.Flags |= packet.ACK
	}
	peer := dir.Flip()
	seq, ack, length, fate, what := s.next[dir], s.got[peer], 0, features.Passed, ""
	for i := 0; i < len(w); i++ {
		switch w[i] {
		case "dropped":
			fate = features.Dropped
		case "held":
			fate = features.Held
		case "rewritten":
			fate = features.Rewritten
		case "forged", "replaced":
			what = w[i]
		default:
			n, err := strconv.Atoi(w[i+1])
			if err != nil {
				s.t.Fatal(err)
			}
			switch w[i] {
			case "seq":
				seq = uint32(n)
			case "ack":
				ack = uint32(n)
			case "len":
				length = n
			case "win":
				f.Window = uint16(n)
			}
			i++
		}
	}
	f.Seq = packet.Seq(starts[dir] + seq)
	if f.Flags.Has(packet.ACK) {
		f.Ack = packet.Seq(starts[peer] + ack)
	}
	payload := []byte(strings.Repeat("x", length))
	seg, err := packet.Parse(f.Append(nil, payload))
	if err != nil {
		s.t.Fatal(err)
	}
	end := seq + seg.SeqLen()
	switch what {
	case "forged":
		s.tr.Segment(at, dir, seg, features.Forged)
		if seg.SeqLen() > 0 { // a RST is no reason to acknowledge anything
			s.got[dir] = max(s.got[dir], end)
		}
		return
	case "replaced":
		s.tr.Replaced(at, dir, seg)
		s.got[dir] = max(s.got[dir], end)
		return
	}
	s.tr.Segment(at, dir, seg, fate)
	s.next[dir] = max(s.next[dir], end)
	if fate == features.Passed || fate == features.Held {
		s.got[dir] = max(s.got[dir], end)
	}
}

func (o Outcome) text() string {
	if !o.Struck {
		return o.Why.String()
	}
	return fmt.Sprintf("sent %s (%s); accepted %s (%s); felt %s (%s)",
		o.Sent.Answer, o.Sent.Evidence, o.Accepted.Answer, o.Accepted.Evidence, o.Felt.Answer, o.Felt.Evidence)
}

const opened = `
0.000 C>S S
0.001 S>C S.
0.002 C>S .
`
const asked = opened + `
0.010 C>S P len 5
0.011 S>C .
0.020 S>C P len 8
0.021 C>S .
`
