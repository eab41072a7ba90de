package injector

// verdicts gathers the answers of one queue into messages that leave together.
//
// A run of packets that simply go on takes one message: it answers all packets
// up to an id (NFQNL_MSG_VERDICT_BATCH). That is right only while nothing older
// waits in the queue, so runs are made only while the answers come in the order
// of the packets, and stop where one is held back until all are answered.
type verdicts struct {
	queue uint16
	out   []byte // messages complete

	asked   []uint32 // the packets of the last batch
	next    int      // of asked: whose answer comes next
	waiting int      // packets not answered yet
	inOrder bool     // so far, of this batch, and nothing older waits

	run    int    // how many answers at the end are a run
	lastID uint32 // its last
}

// expect notes which packets have come in.
func (v *verdicts) expect(pkts []packetIn) {
	v.endRun()
	v.asked, v.next, v.inOrder = v.asked[:0], 0, v.waiting == 0
	for i := range pkts {
		v.asked = append(v.asked, pkts[i].id)
	}
	v.waiting += len(pkts)
}

// add answers a packet.
func (v *verdicts) add(o *verdictOut) {
	v.waiting--
	v.inOrder = v.inOrder && v.next < len(v.asked) && v.asked[v.next] == o.id
	v.next++
	if v.inOrder && !o.drop && o.signal == 0 && o.bytes == nil {
		v.run++
		v.lastID = o.id
		return
	}
	v.endRun()
	v.out = appendVerdict(v.out, v.queue, o)
}

// endRun writes the run so far.
func (v *verdicts) endRun() {
	switch {
	case v.run == 1:
		v.out = appendVerdict(v.out, v.queue, &verdictOut{id: v.lastID})
	case v.run > 1:
		v.out = appendAcceptUpTo(v.out, v.queue, v.lastID)
	}
	v.run = 0
}

// take returns the messages to send. They are valid until the next add.
func (v *verdicts) take() []byte {
	v.endRun()
	msgs := v.out
	v.out = v.out[:0]
	return msgs
}
