package cli

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment/report"
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

// newSceneEvidence makes the evidence of a scenario that is about to begin.
func newSceneEvidence(e *evidence, st *staging) *sceneEvidence {
	s := &sceneEvidence{evidence: e, acts: make([]meter, len(st.s.Faults))}
	for i := range s.acts {
		s.acts[i].rec = &record{}
	}
	return s
}

// begins says that the scenario is on its way.
func (s *sceneEvidence) begins(st *staging) {
	if s.metrics != nil {
		s.metrics.Watch(s.snapshot)
	}
	s.underWay(func() (cases []report.Case) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, m := range s.acts {
			c := st.acts[i].asCase(m.now())
			c.Verdict, c.Reason = report.Skipped, "It was cut short."
			m.rec.fill(&c)
			cases = append(cases, c)
		}
		return append(cases, report.Case{Name: theScenario, Verdict: report.Broken, Reason: errCutShort.Error(), Start: st.began})
	})
}

// theScenario is the case of a scenario as a whole, where faultctl failed.
const theScenario = "the scenario"

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
	s.acts[act].sum, s.acts[act].run = s.acts[act].sum.Plus(stats), nil
	s.mu.Unlock()
	s.ended(stats)
}

// now is what an entry's sessions have done so far.
func (m *meter) now() injector.Snapshot {
	if m.run == nil {
		return m.sum
	}
	return m.sum.Plus(m.run.Stats())
}

// snapshot is the counters of all entries, one rule each.
func (s *sceneEvidence) snapshot() (all injector.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.acts {
		now := m.now()
		if now.Rules == nil {
			now.Rules = []injector.RuleStats{{}} // it has yet to begin, and keeps its place
		}
		rules := append(all.Rules, now.Rules...)
		all.Rules = nil
		all = all.Plus(now)
		all.Rules = rules
	}
	return all
}

// conclude adds the cases of a scenario that ended with err, which it returns.
func (s *sceneEvidence) conclude(st *staging, err error) error {
	for i, a := range st.acts {
		s.add(a.testified(st.idle), s.acts[i].rec)
	}
	for _, a := range st.asked {
		s.add(a.testified(), nil)
	}
	if code := exitCode(err); err != nil && code != exitProbe && code != exitNotFired && code < 128 {
		s.add(report.Case{Name: theScenario, Verdict: report.Broken, Reason: strings.Join(st.why, "; "), Start: st.began}, nil)
	}
	return err
}

// asCase is the case of an entry that has done so much, without a verdict.
func (a *act) asCase(did injector.Snapshot) report.Case {
	var names []string
	for _, f := range a.plan.specs {
		names = append(names, f.String())
	}
	return report.Case{
		Name: a.entry.Name, Fault: a.plan.specs[0].Name, Target: strings.Join(names, " and ") + ": " + a.plan.scope(), Faults: faultStats(did),
	}
}

// testified is the case of an entry. mayIdle says that it need not fire.
func (a *act) testified(mayIdle bool) report.Case {
	c := a.asCase(a.sum)
	c.Verdict, c.Took = report.Done, a.ready
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
