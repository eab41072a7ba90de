package injector

import (
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/target"
)

// TestStrikeWhileParked checks that a connection that is parked can be struck and spared,
// and that it stays spared while it is parked.
func TestStrikeWhileParked(t *testing.T) {
	rule := ruleOf(model(t, "reset", "at", "bytes=1000000"))
	rule.Pick.Share = target.ShareOf(0)
	_, b := newControlled(t, rule)
	b.worker.sets = idleSets{} // which several goroutines may use
	key := flowKey{client, server}
	park := func() {
		t.Helper()
		b.now += time.Minute
		b.settleAll()
		if b.parked.n != 1 {
			t.Fatalf("%d are parked", b.parked.n)
		}
	}
	ask := func(do func(*entry, ordinal)) {
		t.Helper()
		e := b.lookUp(key)
		if e == nil {
			t.Fatal("it is not known")
		}
		o, asked := e.saidBy(0)
		if !asked {
			t.Fatal("the rule was not asked")
		}
		do(e, o)
		b.mayPark(e, b.now)
	}
	none := func() {}
	b.judge(t, forward, segment(faults.Original, packet.ACK, 1, 1, "x"))
	park()
	ask(func(e *entry, _ ordinal) { b.spare(e, none) })
	park()
	b.changes.Add(2) // all are asked again
	if v := b.judge(t, forward, segment(faults.Original, packet.ACK, 2, 1, "x")); v.Drop || b.flows.flows[key].chain != nil {
		t.Errorf("%+v although it is spared", v)
	}
	park()
	ask(func(e *entry, o ordinal) {
		if when := b.strike(0, e, o, none); when != AtNextPacket {
			t.Error(when)
		}
	})
	b.judge(t, forward, segment(faults.Original, packet.ACK, 3, 1, "x"))
	if e := b.flows.flows[key]; e.chain == nil || e.fired != 1 || len(b.s.pkts) == 0 || b.rules[0].chosen.Load() != 1 {
		t.Errorf("%+v", e)
	}
}

// TestSpareAndStrikeCountOnce checks that a connection that was chosen, then spared and
// then struck is counted as chosen once.
func TestSpareAndStrikeCountOnce(t *testing.T) {
	_, b := newControlled(t, ruleOf(model(t, "reset", "at", "bytes=1000000")))
	b.worker.sets = idleSets{} // which several goroutines may use
	none := func() {}
	b.judge(t, forward, segment(faults.Original, packet.ACK, 1, 1, "x"))
	e := b.lookUp(flowKey{client, server})
	b.spare(e, none)
	o, _ := e.saidBy(0)
	b.strike(0, e, o, none)
	if n := b.rules[0].chosen.Load(); n != 1 {
		t.Errorf("%d are chosen, want 1", n)
	}
}
