package scenario

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// probeRun is a probe and its results so far. In each phase one goroutine runs
// it.
type probeRun struct {
	ProbeResult
	watch *Watch
}

// in lists the probes of a phase.
func (pl *player) in(ph Phase) (all []*probeRun) {
	for _, p := range pl.probes {
		if p.Probe.In(ph) {
			all = append(all, p)
		}
	}
	return all
}

// ask runs a probe once and reports the result. It returns false if ctx ended
// meanwhile, which says nothing about the service. last says that this is the
// last try of the phase.
func (pl *player) ask(ctx context.Context, p *probeRun, ph Phase, since time.Duration, last bool) (err error, counts bool) {
	began := pl.sys.Now()
	if p.Begun.IsZero() {
		p.Begun = began
	}
	err = pl.try(ctx, p.Probe)
	now := pl.sys.Now()
	if err != nil && ctx.Err() != nil {
		return nil, false
	}
	p.Took = now.Sub(p.Begun)
	pl.keep.history.tried(slices.Index(pl.probes, p), began, err)
	switch ph {
	case Before:
		p.Before.Tried = true
	case During:
		p.During = true
	case After:
		p.After.Tried = true
	}
	pl.watch.Probe(now, Try{Probe: p.Probe, Phase: ph, Took: now.Sub(began), Since: since, Err: err, Last: last})
	return err, true
}

// keepAsking runs a probe at its interval until the timeline has ended.
func (pl *player) keepAsking(ctx context.Context, p *probeRun, cancel context.CancelCauseFunc) {
	interval := time.Duration(p.Probe.Interval)
	for n := 0; ; n++ {
		next := time.Duration(n) * interval
		if next >= time.Duration(pl.Scenario.Duration) || pl.sleep(ctx, next) != nil {
			return
		}
		began := pl.sys.Now().Sub(pl.start)
		err, counts := pl.ask(ctx, p, During, began, false)
		if !counts {
			return
		}
		ended := pl.sys.Now().Sub(pl.start)
		if why := p.watch.Note(began, ended, err == nil); why != "" {
			cancel(aborted{p.Probe.Name, why})
			return
		}
		n = max(n, int(ended/interval)) // a slow try skips those that it outlasts
	}
}

// after runs every probe until it passes or its recovery time has passed.
func (pl *player) after(ctx context.Context) {
	all := pl.in(After)
	if len(all) == 0 {
		return
	}
	begun := pl.sys.Now()
	pl.watch.Phase(begun, After)
	var wg sync.WaitGroup
	for _, p := range all {
		wg.Go(func() { pl.untilRecovered(ctx, p, begun) })
	}
	wg.Wait()
}

func (pl *player) untilRecovered(ctx context.Context, p *probeRun, begun time.Time) {
	limit, interval := time.Duration(*p.Probe.Recovery), time.Duration(p.Probe.Interval)
	for {
		since := pl.sys.Now().Sub(begun)
		last := since+interval > limit
		err, counts := pl.ask(ctx, p, After, since, last)
		p.After.Err, p.Recovered = err, pl.sys.Now().Sub(begun)
		if !counts || err == nil || last {
			return
		}
		select {
		case <-pl.sys.After(max(0, since+interval-p.Recovered)):
		case <-ctx.Done():
			return
		}
	}
}

// summary is the result of a probe after its last try.
func (p *probeRun) summary() ProbeResult {
	r := p.ProbeResult
	r.Tried, r.Failed = p.watch.Tried, p.watch.Failed
	if err := r.Before.Err; err != nil {
		r.Failures = append(r.Failures, fmt.Sprintf("%s failed before: %v", r.Probe.Name, err))
	}
	if !p.watch.Held() {
		r.Failures = append(r.Failures, fmt.Sprintf("%s failed %d of %d times during the timeline, and %v is tolerated", r.Probe.Name, r.Failed, r.Tried, r.Probe.Tolerance))
	}
	if err := r.After.Err; err != nil {
		r.Failures = append(r.Failures, fmt.Sprintf("%s has not recovered within %s: %v", r.Probe.Name, *r.Probe.Recovery, err))
	}
	return r
}
