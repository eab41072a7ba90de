package injector

import (
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/rawsock"
	"golang.org/x/sys/unix"
)

// depart lets go what was held, or sends what was copied or forged. Verdicts are
// kept back until flush, copies of what local senders sent until leave: a system
// call for many costs a fraction of one for each. None of them changes places with
// another of its direction, and forged segments with none at all. A copy may leave
// before the verdict on a packet that was met on its way in or through: that
// travels the other way.
func (w *worker) depart(l *later) {
	output := l.hook == unix.NF_INET_LOCAL_OUT
	dir := l.dir()
	if l.turn {
		l.flow.turns[dir]--
	}
	if l.kind == releasePacket {
		if output {
			w.leave()
			w.keptOutput = true
		}
		w.kept = true
		w.answer(nfqueue.Verdict{ID: l.id, Priority: l.prio, Signal: uint32(l.signal), Bytes: l.pkt}, l.flow, dir)
		w.spend(l.pkt)
		return
	}
	if w.keptOutput || w.kept && !output {
		w.flush()
	}
	if !output || len(w.leaving) == rawsock.BatchSize {
		w.leave()
	}
	w.leaving = append(w.leaving, rawsock.Packet{Bytes: l.pkt, Mark: l.mark, Iface: l.iface})
	if !output {
		w.leave()
	}
}

// put hands packets to the sender. What it cannot send is counted, and the first time
// logged: a route that is gone for a while would fill the log.
func (w *worker) put(pkts []rawsock.Packet) {
	n, err := w.sender.Send(pkts)
	if n > 0 && w.totals.unsent.Add(uint64(n)) == uint64(n) {
		w.log.Warn("packet not sent; more of them are only counted", "error", err)
	}
}

// leave sends the copies that depart has kept back.
func (w *worker) leave() {
	if len(w.leaving) == 0 {
		return
	}
	w.put(w.leaving)
	for i := range w.leaving {
		w.spend(w.leaving[i].Bytes)
	}
	w.leaving = w.leaving[:0]
}
