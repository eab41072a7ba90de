package injector

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/nft"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

// setWriter changes and reads the kernel's sets from user space, when there is no
// packet whose verdict could do it. Its calls may wait for other users of nftables.
type setWriter interface {
	// setFlow changes the flow in the set of that kind of each rule.
	setFlow(op ruleset.SetOp, kind ruleset.SetKind, f flowKey) error

	// idle returns how long the kernel has seen no packet that keeps the flow
	// alive, for a flow in the idle set of that rule. If the flow has expired, the
	// true time may be longer. Zero means that the rule does not watch for idle
	// flows, or that it is not known.
	idle(rule int, f flowKey) time.Duration

	// owned reports whether the kernel has learned that the flow belongs to the owner of
	// the rule with that ordinal.
	owned(rule int, f flowKey) bool
}

// tableSets is the setWriter of a real run.
type tableSets struct {
	write *nft.Table
	read  setReader // on a connection of its own, because it must not wait
	rules []*ruleState
}

// setReader is what tableSets asks of an nft.Table.
type setReader interface {
	Remaining(set ruleset.SetName, client, server netip.AddrPort) (left time.Duration, in bool, err error)
}

func (t *tableSets) setFlow(op ruleset.SetOp, kind ruleset.SetKind, f flowKey) error {
	for i := range t.rules {
		if err := t.write.SetFlow(op, f.set(kind, i), f.client, f.server); err != nil {
			return err
		}
	}
	return nil
}

func (t *tableSets) idle(rule int, f flowKey) time.Duration {
	after := t.rules[rule].settings.Load().diverts.Idle
	if after == 0 {
		return 0
	}
	left, _, err := t.read.Remaining(f.set(ruleset.Live, rule), f.client, f.server)
	if err != nil {
		return 0 // unknown, and a busy flow must not count as idle
	}
	return after - left
}

func (t *tableSets) owned(rule int, f flowKey) bool {
	set := f.set(ruleset.Owned, rule)
	_, in, _ := t.read.Remaining(set, f.client, f.server)
	if !in {
		_, in, _ = t.read.Remaining(set, f.server, f.client)
	}
	return in
}

// set returns the set of that kind and rule that can hold the flow, if the
// rule has one.
func (f flowKey) set(kind ruleset.SetKind, rule int) ruleset.SetName {
	return ruleset.SetOf(kind, rule, ruleset.FamilyOf(f.server.Addr()))
}

// answerBySet answers a packet on kernels that do not understand the signal of a
// verdict: it changes the sets first, and the packet waits for that.
func (w *worker) answerBySet(v nfqueue.Verdict, f *entry) {
	out := v
	out.Signal, out.Bytes = 0, append([]byte(nil), v.Bytes...)
	if v.Bytes == nil {
		out.Bytes = nil
	}
	w.change(f, ruleset.Signal(v.Signal), func() { w.queue.Verdict(out) })
}

// change makes the setWriter carry out the signals on another goroutine, and then runs
// done on the worker.
func (w *worker) change(f *entry, sig ruleset.Signal, done func()) {
	key := flowKey{f.Client, f.Server}
	w.changing++
	go func() {
		for _, s := range []struct {
			sig ruleset.Signal
			op  ruleset.SetOp
			set ruleset.SetKind
		}{
			{ruleset.Forget, ruleset.Delete, ruleset.Captured}, {ruleset.Forget, ruleset.Delete, ruleset.Released}, {ruleset.Forget, ruleset.Delete, ruleset.Live},
			{ruleset.Admit, ruleset.Add, ruleset.Live}, {ruleset.Release, ruleset.Add, ruleset.Released},
			{ruleset.Capture, ruleset.Add, ruleset.Captured}, {ruleset.Capture, ruleset.Delete, ruleset.Released},
		} {
			if sig&s.sig == 0 {
				continue
			}
			err := w.sets.setFlow(s.op, s.set, key)
			switch {
			case errors.Is(err, syscall.ENFILE):
				w.totals.noRoom(s.set, 1)
			case err != nil:
				w.log.Warn("kernel set not changed", "error", err)
			}
		}
		w.post(func() {
			w.changing--
			done()
		})
	}()
}
