package cli

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/faultctl/faultctl/cli/report"
	"github.com/faultctl/faultctl/injector"
)

// sceneEvidence is what a scenario leaves: a case for each of its faults and
// each of its probes. The sessions of its faults come and go, several at a
// time; their counters are served as if each fault were one rule of one run.
type sceneEvidence struct {
	*evidence

	mu   sync.Mutex
	acts []meter
}

// meter counts what an entry's sessions did: those that are over, and the one
// that goes on.
type meter struct {
	rec *record
	sum injector.Snapshot
	run session // nil between sessions
}

// newSceneEvidence makes the evidence of a scenario.
func newSceneEvidence(e *evidence, st *staging) *sceneEvidence {
	e.report.Command, e.report.Seed = st.again, st.seed
	s := &sceneEvidence{evidence: e, acts: make([]meter, len(st.acts))}
	for i := range s.acts {
		s.acts[i].rec = &record{}
	}
	if e.metrics != nil {
		e.metrics.Watch(s.snapshot)
	}
	return s
}

// attend has the packets of a session of an entry taken down. As in the events,
// the rule of a packet is its entry's place in the file.
func (s *sceneEvidence) attend(act int, cfg *injector.Config) {
	s.see(cfg, s.acts[act].rec)
	if show := cfg.OnPacket; show != nil {
		cfg.OnPacket = func(p injector.Packet) {
			p.Rule = act
			show(p)
		}
	}
}

// event takes down an event of an entry.
func (s *sceneEvidence) event(act int, ev injector.Event) { s.acts[act].rec.take(ev) }

// begun says that a session of an entry goes on from now.
func (s *sceneEvidence) begun(act int, run session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acts[act].run = run
}

// over says that it has ended.
func (s *sceneEvidence) over(act int, stats injector.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acts[act].sum, s.acts[act].run = added(s.acts[act].sum, stats), nil
	s.ended(stats)
}

// snapshot is the counters of all entries, one rule each.
func (s *sceneEvidence) snapshot() (all injector.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.acts {
		now := m.sum
		if m.run != nil {
			now = added(now, m.run.Stats())
		}
		if now.Rules == nil {
			now.Rules = []injector.RuleStats{{}} // it has yet to begin, and keeps its place
		}
		rules := append(all.Rules, now.Rules...)
		all.Rules, now.Rules = []injector.RuleStats{}, nil
		all = added(all, now)
		all.Rules = rules
	}
	return all
}

// conclude adds the cases of a scenario that ended with err, and closes the
// evidence. It returns the error that the command ends with.
func (s *sceneEvidence) conclude(st *staging, err error) error {
	for i, a := range st.acts {
		s.add(a.testified(st.idle), s.acts[i].rec)
	}
	for _, a := range st.asked {
		s.add(a.testified(), nil)
	}
	if code := exitCode(err); err != nil && code != exitProbe && code != exitNotFired && code < 128 {
		s.add(report.Case{Name: "the scenario", Verdict: report.Broken, Reason: strings.Join(st.why, "; "), Start: st.began}, nil)
	}
	return s.close(err)
}

// testified is the case of an entry. mayIdle says that it need not fire.
func (a *act) testified(mayIdle bool) report.Case {
	var names []string
	for _, f := range a.plan.specs {
		names = append(names, f.String())
	}
	c := report.Case{
		Name: a.entry.Name, Fault: a.plan.specs[0].Name, Target: strings.Join(names, " and ") + ": " + a.plan.scope(),
		Verdict: report.Done, Took: a.ready, Faults: faultStats(a.sum),
	}
	switch why := a.unfired(); {
	case len(a.sum.Rules) == 0:
		c.Verdict, c.Reason = report.Skipped, "It never was at work."
	case len(why) > 0 && !mayIdle:
		c.Verdict, c.Reason = report.NeverFired, strings.Join(why, " ")
	case idle(a.sum):
		c.Reason = "It never fired, and need not have."
	}
	return c
}

// testified is the case of a probe.
func (a *asked) testified() report.Case {
	c := report.Case{Name: a.probe.Name, Target: "probe", Verdict: report.Passed, Start: a.begun, Took: a.took}
	switch why := a.failures(); {
	case !slices.Contains(a.tried[:], true):
		c.Verdict, c.Reason = report.Skipped, "It was never asked."
	case len(why) > 0:
		c.Verdict, c.Reason = report.Failed, strings.Join(why, "; ")
	case a.tried[len(a.tried)-1]: // after
		c.Reason = "It passed " + a.recovered.Round(time.Millisecond).String() + " after the timeline was over."
	}
	return c
}
