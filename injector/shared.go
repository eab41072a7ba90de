package injector

import (
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/outcomes"
	"github.com/faultctl/faultctl/injector/target"
)

// shared is the state that the workers of a run share.
type shared struct {
	rules  []*ruleState
	seed   uint64
	clock  func() time.Duration // since the rules were installed
	totals totals
	log    *slog.Logger

	changes  atomic.Uint32 // counts the begin and the end of each change of what rules match, see Injector.change
	adjusted atomic.Uint32 // counts changes of the settings of faults, see Injector.SetModels

	// What the faults of all rules need from the kernel together, see reckon.
	waits atomic.Bool // it lets the flows of all rules pass until something happens
	mixed atomic.Bool // it watches for idle flows, and hands over segments of busy ones too

	judges bool // a command is judged by the run, see Config.Judge

	// bySet says that verdicts cannot change the sets (Linux before 5.18). The setWriter
	// changes them, and the verdict waits for it.
	bySet bool
}

// judge makes the run, which has not begun, one that judges a command.
func (s *shared) judge() {
	s.judges = true
	for _, r := range s.rules {
		r.settings.Load().diverts = r.settings.Load().diverts.Union(judgedDiversion)
	}
	s.reckon()
}

func newShared(rules []Rule, seed uint64, log *slog.Logger) *shared {
	s := &shared{rules: newRuleStates(rules), seed: seed, log: log}
	s.reckon()
	return s
}

// reckon computes what the faults need together. It is called again when settings have
// changed.
func (s *shared) reckon() {
	waits := true
	var all faults.Diversion
	for _, r := range s.rules {
		d := r.settings.Load().diverts
		if d.All || d.Small || d.Above != 0 { // a parked flow would be back at once
			waits = false
		}
		all = all.Union(d)
	}
	s.waits.Store(waits)
	s.mixed.Store(all.Idle != 0 && (all.SYNACK || all.FIN || all.RST || all.Small || all.Above != 0))
}

// ruleState is what the workers share of one rule.
type ruleState struct {
	*Rule         // as it was when the run began; what may change is below
	index         int
	match         atomic.Pointer[target.Matcher] // as it is now, see Retarget
	share         atomic.Uint64                  // of Pick, as the bits of a float64, see SetShare
	draws         atomic.Uint64                  // how often the lots were drawn again
	settings      atomic.Pointer[settings]       // of its faults, see SetModels
	next          atomic.Uint64                  // the ordinal of the next connection
	tries         tries                          // that connections over the other family may join
	flows, chosen atomic.Uint64
	faults        []*counters
}

// settings are the faults of a rule at one time. They are replaced as a whole, never
// changed.
type settings struct {
	instances []faults.Instance // shared by the flows of the rule
	diverts   faults.Diversion  // what the kernel hands over, which may be more than the models need
	waits     []outcomes.Wait   // of each fault
}

// waits returns what each of the faults waits for.
func waits(fs []NamedModel) []outcomes.Wait {
	all := make([]outcomes.Wait, len(fs))
	for i, f := range fs {
		d := f.Model.Diverts()
		all[i] = outcomes.Wait{After: d.Idle, DataOnly: d.Refresh.MinPayload > 0}
	}
	return all
}

func newRuleStates(rules []Rule) []*ruleState {
	rs := make([]*ruleState, len(rules))
	for i := range rules {
		rs[i] = &ruleState{Rule: &rules[i], index: i}
		match := rules[i].Match
		rs[i].match.Store(&match)
		rs[i].share.Store(math.Float64bits(rules[i].Pick.Share.Chance()))
		rs[i].settings.Store(&settings{instances: faults.StartAll(modelsOf(rules[i].Faults)), diverts: diversion(rules[i].Faults), waits: waits(rules[i].Faults)})
		for _, f := range rules[i].Faults {
			rs[i].faults = append(rs[i].faults, &counters{name: f.Name, rule: i, observes: f.Name == "observe"})
		}
	}
	return rs
}

func modelsOf(fs []NamedModel) []faults.Model {
	models := make([]faults.Model, len(fs))
	for i, f := range fs {
		models[i] = f.Model
	}
	return models
}
