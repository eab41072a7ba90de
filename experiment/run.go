package experiment

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/version"
)

// ErrTimeUp is why a run ended whose duration was over.
var ErrTimeUp = errors.New("the time is up")

// A Run is a Plan that is carried out. Any goroutine may call its methods.
type Run struct {
	plan *Plan
	sys  *System

	nat Translator // open since before the run; nil: the system is asked

	log  eventLog
	tell sync.Mutex // held while an event is told, so that all are told in one order

	ready *moment // when the rules were in for the first time
	fired firedOnce

	change sync.Mutex // held while the run is changed
	mu     sync.Mutex // guards what follows
	spec   Spec       // as it is now
	match  matchState
	engine Engine            // the current one, or the last one; nil before
	sum    injector.Snapshot // of those before it
	paused bool

	end    context.CancelCauseFunc
	done   chan struct{}
	result Result
	err    error
}

// A Result sums up a run that is over.
type Result struct {
	Stats injector.Snapshot
	Took  time.Duration // since the rules were in; zero if they never were

	// NAT says where NAT led the connections that the target was after, if none
	// belonged to the run and conntrack knows.
	NAT []injector.Translation

	// Held is who else had connections of the target, if the command had none.
	Held place.Holding

	// Cause is why it ended: ErrTimeUp, the cause of the context's end, or nil
	// for Stop.
	Cause error
}

// Idle reports whether nothing was learnt of a fault of a run with these counters,
// by outcome.Table: it struck nothing and nothing prevented it, or what it sent did
// not arrive.
func Idle(s injector.Snapshot) bool {
	return new(Spec).Judge(s, outcome.NoCommand).Verdict.Exit() != 0
}

// Start carries a plan out, and returns when its rules are in: the very next
// matching packet is judged. It waits for Spec.StartAfter before that. The run
// goes on until ctx is done, its duration is over, Stop is called, or it breaks;
// then everything is as it was before, and no packet is lost.
//
// If ctx is done before the rules are in, the Run that it returns is over and
// has done nothing. The error is of a run that did not begin.
func Start(ctx context.Context, p *Plan) (*Run, error) { return start(ctx, p, nil) }

// start is Start. first, if it is not nil, is called once it was told that the
// run has started and before the wait; if it fails nothing is touched.
func start(ctx context.Context, p *Plan, first func(*Run) error) (*Run, error) {
	r := &Run{plan: p, sys: p.sys, spec: p.Spec.Clone(), ready: newMoment(), done: make(chan struct{})}
	r.match = matchState{matcher: p.matcher(), pick: p.cfg.Rules[0].Pick, models: p.cfg.Rules[0].Faults}
	r.log.init()
	ctx, r.end = context.WithCancelCause(ctx)
	if err := p.check(); err != nil {
		r.end(nil)
		return nil, err
	}
	for _, o := range p.observers {
		if o.Stats != nil {
			o.Stats(r.Stats)
		}
	}
	if r.sys.Began != nil {
		r.sys.Began(r)
	}
	r.auditStart()
	r.emit(r.sys.Now(), p.started())
	if first != nil {
		if err := first(r); err != nil {
			return nil, r.abandon(err)
		}
	}
	if p.Spec.StartAfter > 0 {
		select {
		case <-r.sys.After(p.Spec.StartAfter):
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		r.finish(ctx, nil)
		return r, nil
	}
	if err := r.holdsBefore(ctx); err != nil {
		return nil, r.abandon(err)
	}
	if p.cfg.NetNS != nil && p.sys.Translator != nil {
		r.nat, _ = p.sys.Translator(p.cfg.NetNS) // else nothing is said of NAT
	}
	life, err := r.open(ctx)
	if err != nil && !r.ready.isSet() {
		r.closeNAT()
		return nil, r.abandon(err)
	}
	go r.supervise(ctx, life, err)
	return r, nil
}

// abandon ends a run that did not begin, for those whom System.Began told of it,
// and returns why.
func (r *Run) abandon(err error) error {
	r.end(nil)
	r.err = err
	r.auditEnd()
	r.log.close()
	close(r.done)
	return err
}

// closeNAT gives nat back.
func (r *Run) closeNAT() {
	if r.nat != nil {
		r.nat.Close()
	}
}

// check judges the plan as the injector does.
func (p *Plan) check() error {
	cfg := p.cfg
	return cfg.Validate()
}

// supervise waits for the end of the run. life lives in one network namespace
// after the other until ctx is done.
func (r *Run) supervise(ctx context.Context, life func(context.Context) error, err error) {
	defer context.AfterFunc(ctx, r.ending)()
	var beside sync.WaitGroup
	if d := r.plan.Duration(); d > 0 {
		up := r.sys.After(d)
		beside.Go(func() {
			select {
			case <-up:
				r.end(ErrTimeUp)
			case <-ctx.Done():
			}
		})
	}
	if every := r.plan.resolveEvery(); every > 0 {
		beside.Go(func() { r.followNames(ctx, every) })
	}
	beside.Go(func() { r.watchNetNS(ctx) })
	if r.plan.Spec.While != "" {
		beside.Go(func() { r.watchSteady(ctx) })
	}
	if err == nil {
		err = life(ctx)
	}
	cause := context.Cause(ctx)
	r.end(nil)
	beside.Wait()
	if cause != nil {
		r.result.Cause = cause
	}
	r.finish(ctx, err)
}

// finish sums the run up and closes done.
func (r *Run) finish(ctx context.Context, err error) {
	if r.result.Cause == nil && errors.Is(context.Cause(ctx), ErrTimeUp) {
		r.result.Cause = ErrTimeUp
	}
	r.result.Stats, r.result.Took, r.err = r.Stats(), r.ready.since(r.sys.Now()), err
	r.result.NAT = r.askNAT(r.result.Stats)
	for _, rule := range r.result.Stats.Rules {
		for _, f := range rule.Faults {
			r.emit(r.sys.Now(), event.Ended{Totals: TotalsOf(r.result.Stats, rule, f, r.result.Took)})
		}
	}
	r.end(nil)
	r.auditEnd()
	r.log.close()
	close(r.done)
}

// askNAT finds out whether a run to which nothing belonged was after a port that
// is published under another.
func (r *Run) askNAT(s injector.Snapshot) []injector.Translation {
	defer r.closeNAT()
	m := r.matcher()
	if len(m.To) == 0 || slices.ContainsFunc(s.Rules, func(r injector.RuleStats) bool { return r.Flows > 0 }) {
		return nil
	}
	if r.nat != nil {
		nat, _ := r.nat.Find(m)
		return nat
	}
	nat, _ := r.sys.Translations(r.plan.cfg.NetNS, m) // where one may not ask, nothing is said
	return nat
}

// Stop ends the run and returns when everything is as it was before. It returns
// what Wait does, and may be called more than once.
func (r *Run) Stop() error {
	r.end(nil)
	_, err := r.Wait()
	return err
}

// StopBy begins to end the run, as Stop does, and does not wait. Its event says who
// asked for it; nil is the program itself.
func (r *Run) StopBy(by *event.Actor) {
	r.Stopping(by)
	r.end(nil)
}

// Stopping tells of the event of StopBy where something else ends the run at once,
// such as a signal that ends the whole program.
func (r *Run) Stopping(by *event.Actor) { r.emit(r.sys.Now(), event.Stopped{By: by}) }

// Done is closed when the run is over and everything is as it was before.
func (r *Run) Done() <-chan struct{} { return r.done }

// Wait waits until the run is over, and sums it up. The error is why it broke;
// nil if it ended because of ctx, Stop or its duration.
func (r *Run) Wait() (Result, error) {
	<-r.done
	return r.result, r.err
}

// Stats are the counters as they are now.
func (r *Run) Stats() injector.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats()
}

// stats is Stats; the caller holds mu.
func (r *Run) stats() injector.Snapshot {
	now := r.sum
	if r.engine != nil {
		now = r.sum.Plus(r.engine.Stats())
	}
	if now.Rules == nil {
		now.Rules = noRules(r.spec)
	}
	return now
}

// Spec is what the run does at this moment: the plan's Spec with what Update
// changed.
func (r *Run) Spec() Spec {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spec.Clone()
}

// Plan is the plan that is carried out.
func (r *Run) Plan() *Plan { return r.plan }

// Ready is when the rules were in for the first time; the zero time if they
// never were.
func (r *Run) Ready() time.Time { return r.ready.when() }

// Events returns the events of the run from its beginning, and goes on until the
// run is over or the caller stops. What happened to a connection is told some
// milliseconds late: if the run is changed at once after it, the event of the change
// may come before, and the times of the two say so. A caller that is slow loses the oldest ones,
// which is told by an event.Lost. It holds up neither packets nor other callers.
// The run keeps its last 8192 events at least, also when it is over.
func (r *Run) Events() iter.Seq[event.Event] { return r.log.all() }

// emit tells everybody of an event.
func (r *Run) emit(at time.Time, e event.Event) { _ = r.emitAfter(nil, at, e) }

// emitAfter tells of an event once do has been done, and of no other one
// meanwhile. If do fails the event is not told, and its error returned.
func (r *Run) emitAfter(do func() error, at time.Time, e event.Event) error {
	r.tell.Lock()
	defer r.tell.Unlock()
	if do != nil {
		if err := do(); err != nil {
			return err
		}
	}
	if !r.log.add(event.Stamp(at, e)) {
		return nil // the run is over
	}
	for _, o := range r.plan.observers {
		if o.Event != nil {
			o.Event(at, e)
		}
	}
	return nil
}

// onEvent has the form of injector.Config.OnEvent.
func (r *Run) onEvent(ev injector.Event) {
	if ev.Kind == injector.Ready {
		if !r.ready.isSet() {
			for _, o := range r.plan.observers {
				if o.Installed != nil {
					o.Installed()
				}
			}
		}
		r.ready.set(ev.Time)
	}
	if r.fired.again(ev) {
		return // it is counted
	}
	r.emit(ev.Time, eventOf(ev))
}

// eventOf is an event of the injector as a named type.
func eventOf(ev injector.Event) event.Event {
	flow := event.Ends(ev.Flow)
	switch ev.Kind {
	case injector.Chosen:
		return event.Flow{Flow: flow, Rule: ev.Rule, Ordinal: ev.Ordinal, OpenBefore: ev.Midstream}
	case injector.Fired:
		return event.Fired{Fault: ev.Fault, Flow: flow, Rule: ev.Rule, Ordinal: ev.Ordinal, Action: ev.Action.String(), To: ev.To.String(), Reason: ev.Reason}
	case injector.Outcome:
		return outcomeEvent(ev)
	}
	return event.Ready{}
}

// started is the event with which the run begins.
func (p *Plan) started() event.Started {
	e := event.Started{
		Seed: p.cfg.Seed, Version: version.String(), NetNS: p.Where(), Rules: event.List[event.Rule]{p.Rule()},
		Protected: p.protectedPairs(), Duration: p.Duration().String(), Repeat: p.CommandLine(),
	}
	for _, f := range p.Spec.Faults {
		e.Faults = append(e.Faults, f.Name)
	}
	e.Spec = p.Data()
	return e
}

// Rule is which connections the faults are for, as events have it.
func (p *Plan) Rule() event.Rule {
	return event.Rule{To: p.Spec.Target.To, From: p.Spec.Target.From, Faults: p.Spec.FaultNames()}
}

func (p *Plan) protectedPairs() (pairs event.List[event.Pair]) {
	for _, c := range p.Protected {
		pairs = append(pairs, event.Pair{A: c.A.String(), B: c.B.String()})
	}
	return pairs
}

func (p *Plan) resolveEvery() time.Duration {
	if p.Spec.ResolveEvery != nil {
		return *p.Spec.ResolveEvery
	}
	return resolveEvery
}

// TotalsOf are the counts of one fault as events have them.
func TotalsOf(s injector.Snapshot, r injector.RuleStats, f injector.FaultStats, took time.Duration) event.Totals {
	return event.Totals{
		Fault: f.Name, Flows: r.Flows, Chosen: r.Chosen, Fired: f.Fired, Acted: f.Acted,
		Diverted: f.Diverted, Dropped: f.Dropped, Forged: f.Forged, Outcomes: outcomesOf(f.Settled),
		Flaws: FlawsOf(s), Lateness: LateOf(s).event(), Duration: took.Round(time.Millisecond).String(),
	}
}

// FlawsOf counts what a run could not judge, follow, change or tell.
func FlawsOf(s injector.Snapshot) event.Flaws {
	return event.Flaws{
		Overruns: s.Overruns, Shed: s.Shed, Foreign: s.Foreign, Cut: s.Cut, Forgotten: s.Forgotten, Early: s.SettledEarly, SetFull: s.SetFull, CaptureFull: s.CaptureFull,
		ReleaseFull: s.ReleaseFull, OwnerFull: s.OwnerFull, Unsent: s.Unsent, Signed: s.Signed, Lost: s.Lost, Unseen: s.Unseen,
	}
}
