package nfqueue

// verdicts collects the verdicts of one worker's queues in messages that are sent
// together.
type verdicts struct {
	out []byte     // complete messages
	of  [2]answers // of the queue, and of the second one
}

// answers are the verdicts of one queue.
//
// A sequence of packets that are all accepted unchanged, or all dropped, takes one
// message: it answers all waiting packets that are not newer than the one it names. So
// a sequence can be used only while nothing older waits in its queue. A packet that a
// fault holds ends it, and then each packet is answered by itself until all are
// answered.
type answers struct {
	queue uint16

	asked   []uint32 // the packets of the last batch
	next    int      // of asked: whose answer comes next
	waiting int      // packets not answered yet
	inOrder bool     // so far, of this batch, and nothing older waits

	run    int    // how many answers at the end are a run
	lastID uint32 // its last
	drops  bool   // it drops them
}

// expect notes the packets that have come in.
func (v *verdicts) expect(pkts []Packet) {
	for i := range v.of {
		a := &v.of[i]
		v.endRun(a)
		a.asked, a.next, a.inOrder = a.asked[:0], 0, a.waiting == 0
	}
	for i := range pkts {
		a := &v.of[pkts[i].ID.index()]
		a.asked = append(a.asked, pkts[i].ID.Number())
		a.waiting++
	}
}

// add answers a packet.
func (v *verdicts) add(o *Verdict) {
	a, id := &v.of[o.ID.index()], o.ID.Number()
	a.waiting--
	a.inOrder = a.inOrder && a.next < len(a.asked) && a.asked[a.next] == id
	a.next++
	if a.run > 0 && a.drops != o.Drop {
		v.endRun(a)
	}
	if a.inOrder && !o.Again && o.Signal|o.Tag == 0 && o.Bytes == nil {
		a.run++
		a.lastID, a.drops = id, o.Drop
		return
	}
	v.endRun(a)
	v.out = appendVerdict(v.out, a.queue, v.of[0].queue, o)
}

// endRun writes the sequence so far.
func (v *verdicts) endRun(a *answers) {
	switch {
	case a.run == 1:
		v.out = appendVerdict(v.out, a.queue, 0, &Verdict{ID: ID(a.lastID), Drop: a.drops})
	case a.run > 1:
		v.out = appendUpTo(v.out, a.queue, a.lastID, a.drops)
	}
	a.run = 0
}

// take returns the messages to send. They are valid until the next add.
func (v *verdicts) take() []byte {
	for i := range v.of {
		v.endRun(&v.of[i])
	}
	msgs := v.out
	v.out = v.out[:0]
	return msgs
}
