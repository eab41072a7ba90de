package outcomes

import (
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
)

// lostAnswers is the connections that were struck last.
type lostAnswers struct {
	conns [64]*Conn
	next  int
	any   bool
}

func (l *lostAnswers) add(c *Conn) {
	l.conns[l.next%len(l.conns)] = c
	l.next++
	l.any = true
}

// again is called after a segment was taken into account. If it completes a request, the
// request may be one whose answer was lost on another connection.
func (w *Watcher) again(c *Conn, dir faults.Direction) {
	if !w.lost.any || dir != faults.Original || c.Kind != features.Data {
		return
	}
	request := c.Request()
	if request == 0 {
		return
	}
	for _, l := range w.lost.conns {
		if l != nil && l != c && !l.again && l.Request() == request && l.AnswerLost() {
			l.again = true
			return
		}
	}
}
