package injector

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
)

// Errors about a single connection.
var (
	// ErrNoConnection says that the run has seen no packet of the connection, or has
	// forgotten it, or that it does not belong to the target.
	ErrNoConnection = errors.New("the run knows no such connection")

	// ErrNotJudging says that the run is paused, or is over.
	ErrNotJudging = errors.New("the run judges no packets now")
)

// When says when a fault acts on a connection that Strike was called for.
type When uint8

// The moments.
const (
	AtNextPacket When = iota // at its next packet, of either end
	AsSet                    // from its next packet on, as the settings of the fault say
	Already                  // it has acted before; nothing has changed
)

func (w When) String() string {
	return [...]string{"next packet", "as set", "already"}[min(w, Already)]
}

// Strike has the faults of the rule with that ordinal strike one connection, whether it
// was chosen or not. A fault that waits for a moment of the connection (faults.Prompter)
// acts at its next packet; the others act as their settings say. It counts as chosen from
// then on, beyond the limits of Pick. The error is ErrNoConnection or ErrNotJudging.
// Strike returns when the kernel hands the next packet over. Any goroutine may call it.
func (i *Injector) Strike(rule int, client, server netip.AddrPort) (when When, err error) {
	err = i.about(rule, flowKey{client, server}, func(w *worker, e *entry, o ordinal, done func()) { when = w.strike(rule, e, o, done) })
	return when, err
}

// Spare has the rule with that ordinal, and all others, leave one connection alone from
// then on until it ends or Strike is called for it. What was done to it stays done; packets
// of it that are held leave at once, in order. The error is that of Strike. Any goroutine
// may call it.
func (i *Injector) Spare(rule int, client, server netip.AddrPort) error {
	return i.about(rule, flowKey{client, server}, func(w *worker, e *entry, _ ordinal, done func()) { w.spare(e, done) })
}

// about has the worker that knows the connection do something about it, and waits until
// that has called done. o is what the rule has said of the connection.
func (i *Injector) about(rule int, key flowKey, do func(w *worker, e *entry, o ordinal, done func())) error {
	if rule < 0 || rule >= len(i.rules) {
		return fmt.Errorf("%w: there is no rule %d", ErrConfig, rule)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.team == nil || i.paused {
		return ErrNotJudging
	}
	known, done := false, make(chan struct{})
	i.team.each(func(w *worker) {
		e := w.lookUp(key)
		if known || e == nil {
			return
		}
		if o, asked := e.saidBy(rule); asked {
			known = true
			do(w, e, o, func() { close(done) })
			w.mayPark(e, w.clock())
		}
	})
	if !known {
		return ErrNoConnection
	}
	select {
	case <-done:
	case <-i.team.gone:
	}
	return nil
}

// lookUp returns the connection with these ends, or nil.
func (w *worker) lookUp(key flowKey) *entry {
	if e := w.flows.flows[key]; e != nil {
		return e
	}
	if i := w.parked.find(key.client, key.server); i != 0 {
		return w.unpark(i, w.clock())
	}
	return nil
}

// saidBy is what the rule has said of the connection, and false if it was not asked, or
// the connection is none of its target's.
func (e *entry) saidBy(rule int) (o ordinal, asked bool) {
	if o, asked = e.ordinalOf(rule); asked {
		return o, true
	}
	return ordinal{rule: rule, nth: e.nth, chosen: true}, e.chain != nil && e.rule == rule // it was parked
}

// strike is Injector.Strike for a connection of this worker.
func (w *worker) strike(rule int, e *entry, o ordinal, done func()) When {
	when, prompted := AsSet, false
	acted := e.chain != nil
	for n, c := range e.links {
		if e.chain == nil || c.rule != rule {
			continue
		}
		if e.fired&(1<<n) == 0 {
			acted = false
			prompted = e.chain.Prompt(n) || prompted
		}
	}
	switch {
	case acted:
		done()
		return Already
	case e.chain != nil && !prompted: // it is chosen, and acts in its own time
		done()
		return AsSet
	case e.chain == nil:
		for _, f := range w.rules[rule].settings.Load().instances {
			_, can := f.New().(faults.Prompter)
			prompted = prompted || can
		}
		if !o.chosen {
			o.chosen = true
			if !o.spared {
				w.rules[rule].chosen.Add(1)
			}
			w.tell(record{kind: Chosen, client: e.Client, server: e.Server, rule: rule, nth: o.nth, midstream: e.openBefore})
		}
		e.note(o)
		e.spared, e.prompted, e.askedAt = false, prompted, e.askedAt-1 // its next packet has the rules asked again
	}
	sig := ruleset.Forget
	if e.captured, e.released = prompted, false; prompted { // each packet of it is handed over
		sig, when = ruleset.Capture, AtNextPacket
	}
	w.change(e, sig, done)
	return when
}

// spare is Injector.Spare for a connection of this worker.
func (w *worker) spare(e *entry, done func()) {
	now := w.clock()
	for _, l := range w.timers.takeOf(e) {
		w.release(&l, now)
	}
	w.flush()
	w.flushCopies()
	for _, o := range e.asked {
		o.chosen, o.spared = false, o.chosen || o.spared
		e.note(o)
	}
	if e.chain != nil && len(e.asked) == 0 { // it was parked
		e.note(ordinal{rule: e.rule, nth: e.nth, spared: true})
	}
	e.due, e.spared, e.prompted = [2]time.Duration{}, true, false
	w.change(e, ruleset.Forget|w.leave(e, now), done)
}

// promptAll prompts the faults of a connection that Strike was called for.
func (e *entry) promptAll() {
	for n := range e.links {
		e.chain.Prompt(n)
	}
	e.prompted = false
}

// mostLooks bounds how many connections a worker looks at for a list, because packets
// wait meanwhile: it takes about a millisecond.
const mostLooks = 20_000

// Unchosen lists connections that belong to the target of the rule with that ordinal and
// were not chosen, at most limit of them, of each worker those first that were seen last.
// Among them are some that have ended: what the kernel lets pass is not seen. Any
// goroutine may call it.
func (i *Injector) Unchosen(rule, limit int) (all []Flow) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.team == nil || rule < 0 || rule >= len(i.rules) {
		return nil
	}
	i.team.each(func(w *worker) {
		room, looks := limit-len(all), mostLooks
		for _, stands := range [...]standing{underway, opening} {
			seen := &w.flows.seen[stands]
			for e := seen.Newest(); e != nil && room > 0 && looks > 0; e, looks = seen.Older(e), looks-1 {
				if o, asked := e.ordinalOf(rule); asked && !o.chosen && e.chain == nil {
					all, room = append(all, Flow{e.Client.String(), e.Server.String()}), room-1
				}
			}
		}
		for n := w.parked.seen.Newest(); n != 0 && room > 0 && looks > 0; n, looks = w.parked.seen.Older(n), looks-1 {
			if r := w.parked.at(n); r.attributes.has(isAsked) && !r.attributes.has(wasChosen) && int(r.rule) == rule {
				client, server := r.addrs()
				all, room = append(all, Flow{client.String(), server.String()}), room-1
			}
		}
	})
	return all
}
