package injector

import (
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/rawsock"
	"golang.org/x/sys/unix"
)

// release lets go what was held, or sends what was copied or forged. Verdicts are
// kept back until flush, copies of what local senders sent until leave: a system
// call for many costs a fraction of one for each. None of them changes places with
// another of its direction, and forged segments with none at all. A copy may leave
// before the verdict on a packet that was met on its way in or through: that
// travels the other way.
func (w *worker) release(l *timer) {
	output := l.hook == unix.NF_INET_LOCAL_OUT
	dir := l.dir()
	if l.inOrder {
		l.flow.turns[dir]--
	}
	if l.kind == releasePacket {
		if output {
			w.flushCopies()
			w.outputKept = true
		}
		w.verdictsKept = true
		w.answer(nfqueue.Verdict{ID: l.id, Priority: l.prio, Signal: uint32(l.signal), Bytes: l.pkt}, l.flow, dir)
		w.recycle(l.pkt)
		return
	}
	if w.outputKept || w.verdictsKept && !output {
		w.flush()
	}
	if !output || len(w.copies) == rawsock.BatchSize {
		w.flushCopies()
	}
	w.copies = append(w.copies, rawsock.Packet{Bytes: l.pkt, Mark: l.mark, Iface: l.iface})
	if !output {
		w.flushCopies()
	}
}

// transmit hands packets to the sender. What it cannot send is counted, and the first time
// logged: a route that is gone for a while would fill the log.
func (w *worker) transmit(pkts []rawsock.Packet) {
	n, err := w.sender.Send(pkts)
	if n > 0 && w.totals.unsent.Add(uint64(n)) == uint64(n) {
		w.log.Warn("packet not sent; more of them are only counted", "error", err)
	}
}

// flushCopies sends the copies that depart has kept back.
func (w *worker) flushCopies() {
	if len(w.copies) == 0 {
		return
	}
	w.transmit(w.copies)
	for i := range w.copies {
		w.recycle(w.copies[i].Bytes)
	}
	w.copies = w.copies[:0]
}
