package injector

import (
	"time"

	"github.com/faultctl/faultctl/faults"
)

// sendForged sends what the faults forged, at once or when it is due, and never before
// packets of its direction that are held. dir and delay are those of the segment that
// caused it: what leaves after that segment, or in its place, waits for it. If collect
// is not nil, it gets what should leave at once.
func (w *worker) sendForged(f *entry, dir faults.Direction, delay, now time.Duration, collect *[]timer) {
	if len(w.out.Forged) > 0 {
		w.separate(f, dir)
	}
	for i := range w.out.Forged {
		forged := &w.out.Forged[i]
		to := faults.Original
		if forged.Fields.Dst == f.Client {
			to = faults.Reply
		}
		after, turn := w.forgedAfter(f, forged, to, to == dir, delay, now)
		w.buf = w.buf[:0]
		if forged.Raw {
			w.buf = append(w.buf, w.out.Payload(forged)...)
		} else {
			w.buf = forged.Fields.Append(w.buf, w.out.Payload(forged))
		}
		if w.tap != nil {
			w.tap.forged(f, now, after, w.buf)
		}
		w.rename(f, w.buf)
		mark := f.markTo(forged.Fields.Dst)
		if after == 0 && !turn && collect == nil {
			w.flush() // earlier packets leave first
			w.flushCopies()
			w.transmitNow(f, to, w.buf, mark, f.iface)
			continue
		}
		l := timer{at: now + after, kind: sendPacket, forged: true, flow: f, reply: to == faults.Reply, pkt: w.copyOf(w.buf), mark: mark, iface: f.iface}
		if turn {
			l.inOrder = true
			f.turns[to]++
		}
		if after > 0 || turn {
			w.timers.add(l)
		} else {
			*collect = append(*collect, l)
		}
	}
}

// bury sends what closes the sockets that faults have left open of a flow whose place a
// new connection takes. It leaves before the SYN of that connection.
func (w *worker) bury(f *entry, now time.Duration) {
	if f.chain == nil || !f.captured {
		return
	}
	w.out.Reset()
	w.ev = faults.Event{At: now, Flow: &f.Flow, Rand: f.rng}
	f.chain.Bury(&w.ev, &w.out)
	w.sendForged(f, faults.Original, 0, now, nil)
}

// forgedAfter returns how long a forged packet to that end waits, and whether later
// packets in its direction wait for it. along says that it travels in the direction of
// the segment that caused it.
func (w *worker) forgedAfter(f *entry, forged *faults.Forged, to faults.Direction, along bool, delay, now time.Duration) (after time.Duration, turn bool) {
	after = forged.After
	if forged.Answer {
		after = max(after, f.RTT)
	}
	switch {
	case along && forged.Along && w.out.Overtakes():
		return after + delay, false
	case along && forged.Along && (delay > 0 || f.turns[to] > 0):
		after += delay
		f.due[to] = max(f.due[to], now+after)
		return after, true
	case along && after > 0:
		after += delay
	}
	after = max(after, f.due[to]-now)
	return after, after == 0 && f.turns[to] > 0
}
