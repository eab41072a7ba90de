package features

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// Silent returns the longest silence up to the given time, that which lasts
// included unless a side has closed.
func (f *Flow) Silent(at time.Duration) Silence {
	if d := at - f.Last; f.closer == NotPrevented && d > f.Longest.For {
		return Silence{For: d}
	}
	return f.Longest
}

// SilentOfData returns the longest time without payload, up to the given time.
func (f *Flow) SilentOfData(at time.Duration) Silence {
	if d := at - f.lastData; f.closer == NotPrevented && d > f.LongestData.For {
		return Silence{For: d}
	}
	return f.LongestData
}

// Learn says whose payload travelled last, where that is known from elsewhere
// although it passed unseen.
func (f *Flow) Learn(turn Turn) { f.Turn, f.Unseen = turn, false }

// Forged takes a segment into account that none of the ends sent, and that
// travels in direction dir: its numbers are not taken for something unseen when
// the other side acknowledges them.
func (f *Flow) Forged(dir faults.Direction, s packet.Segment) {
	h := &f.Half[dir]
	if s.Flags().Has(packet.RST) || s.SeqLen() == 0 || !h.Seen {
		return
	}
	end := s.End()
	if d := end.Sub(h.Next); d < -farAway || d > farAway {
		return // a probe, from outside of any window
	}
	h.Next = packet.Max(h.Next, end)
	h.pass(end)
}

// Connected reports whether the client's connect() has returned, as far as can
// be seen: a SYN-ACK went on to it, or the connection was open before it was
// seen.
func (f *Flow) Connected() bool {
	return !f.Half[faults.Original].SYN || f.Half[faults.Reply].HasPass
}

// Accepted reports whether the connection is complete for the server too: the
// client acknowledged its SYN-ACK, or one of them sent payload.
func (f *Flow) Accepted() bool {
	c, s := &f.Half[faults.Original], &f.Half[faults.Reply]
	return !c.SYN || s.HasAck || s.Bytes > 0 || c.Bytes > 0
}

// Closed reports whether nothing is left of the connection: a RST went on, or
// both sides sent a FIN and had it acknowledged.
func (f *Flow) Closed() bool {
	c, s := &f.Half[faults.Original], &f.Half[faults.Reply]
	return c.RST || s.RST || c.FIN && s.FIN && !c.Unacked() && !s.Unacked()
}

// Finished reports whether both sides have closed, and the FINs of both went on. The last
// acknowledgment may be under way, or have passed unseen.
func (f *Flow) Finished() bool {
	c, s := &f.Half[faults.Original], &f.Half[faults.Reply]
	return c.FIN && s.FIN && !c.Swallowed() && !s.Swallowed()
}

// Awaits reports whether the client awaits an answer: it sent last. It reports
// false for known if payload passed unseen, so that it cannot be told.
func (f *Flow) Awaits() (awaits, known bool) {
	switch {
	case f.Turn == ClientSent:
		return true, true
	case f.Turn == ServerSent:
		return false, true
	}
	return false, !f.Unseen && f.Half[0].Bytes == 0 && f.Half[1].Bytes == 0 && f.Half[0].SYN
}

// AnswerOver reports whether what the server sent last is taken to be complete
// at the given time: it has paused, or closed.
func (f *Flow) AnswerOver(at time.Duration) bool {
	s := &f.Half[faults.Reply]
	return s.FIN || at-s.LastData >= Pause
}

// Delivered reports whether the client's last request reached the service
// whole: all its payload went on, or was acknowledged.
func (f *Flow) Delivered() bool {
	c := &f.Half[faults.Original]
	return c.Bytes > 0 && !c.Cut()
}

// AnswerLost reports whether the client's last request reached the service whole
// and the answer to it did not, or not whole, reach the client. A client that
// sends such a request again has it carried out twice.
func (f *Flow) AnswerLost() bool {
	s := &f.Half[faults.Reply]
	switch {
	case !f.Delivered():
		return false
	case f.Turn == ClientSent:
		return true
	case f.Turn == ServerSent:
		return s.Cut()
	}
	return false
}
