package injector

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/target"
)

// holdModel holds each segment for a time that can change, and knows of a flow how many
// segments it has seen.
type holdModel struct {
	By    time.Duration
	Wrong bool
	Wants faults.Diversion
}

func (m *holdModel) Validate() error {
	if m.Wrong {
		return errors.New("wrong")
	}
	return nil
}
func (m *holdModel) Diverts() faults.Diversion { return m.Wants }
func (m *holdModel) Start() faults.Instance {
	return faults.PerFlow(func() faults.Fault { return &held{m: m} })
}

type held struct {
	m    *holdModel
	seen int
}

func (h *held) Adjust(fresh faults.Fault) { h.m = fresh.(*held).m }
func (h *held) OnSegment(ev *faults.Event, out *faults.Effects) faults.Verdict {
	h.seen++
	if h.m.By > 0 {
		out.Delay(h.m.By)
	}
	return faults.Pass
}

// holding is a rule with two faults that hold, each by its own time.
func holding(by ...time.Duration) []NamedModel {
	var fs []NamedModel
	for _, d := range by {
		fs = append(fs, NamedModel{"hold", &holdModel{By: d, Wants: faults.Diversion{All: true, Whole: true}}})
	}
	return fs
}

// newControlled is an injector that has not begun, and a worker of it between fakes.
func newControlled(t *testing.T, rules ...Rule) (*Injector, *bench) {
	t.Helper()
	i, err := newInjector(Config{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	return i, benchOf(i.shared)
}

// TestSetModels checks that open connections are judged by the new settings from their
// next segment on, all faults of the rule at once, and that what is known of them, and
// what is held of them, is as it was.
func TestSetModels(t *testing.T) {
	rule := ruleOf(NamedModel{})
	rule.Faults = holding(10*time.Millisecond, 10*time.Millisecond)
	i, b := newControlled(t, rule)
	send := func(seq packet.Seq) (due time.Duration) {
		b.handle(&nfqueue.Packet{ID: nfqueue.ID(seq), Hook: forward, Bytes: segment(faults.Original, packet.ACK, seq, 1, "x")})
		e := b.flows.flows[flowKey{client, server}]
		return e.due[faults.Original] - b.now
	}
	first := send(1)
	if err := i.SetModels(0, holding(time.Second, time.Second)); err != nil {
		t.Fatal(err)
	}
	e := b.flows.flows[flowKey{client, server}]
	second := send(2)
	if again := b.flows.flows[flowKey{client, server}]; again != e {
		t.Error("the flow is another one")
	}
	if first == 0 || second != 100*first {
		t.Errorf("held for %v before, and for %v by settings a hundred times as long", first, second)
	}
	if n := b.timers.held; n != 2 {
		t.Errorf("%d packets are held, want 2", n)
	}
	b.runTimers(b.now + first)
	if n := b.timers.held; n != 1 {
		t.Errorf("%d packets are held when the first was due, want 1: it leaves when it was to", n)
	}
	other := packet.Fields{Src: client, Dst: server, TTL: 64, Flags: packet.SYN}
	other.Src = flowEndAt(1)
	b.handle(&nfqueue.Packet{ID: 9, Hook: forward, Bytes: other.Append(nil, nil)})
	if e := b.flows.flows[flowKey{other.Src, server}]; e.due[faults.Original]-b.now != second {
		t.Errorf("a new connection is held for %v, want %v", e.due[faults.Original]-b.now, second)
	}
}

// TestSetModelsRefused checks what is refused, that it is said, and that all is as before
// then.
func TestSetModelsRefused(t *testing.T) {
	rule := ruleOf(NamedModel{"hold", &holdModel{By: 1}})
	rule.Faults = append(rule.Faults, fake(faults.Diversion{SYN: true})[0])
	i, _ := newControlled(t, rule)
	before := i.rules[0].settings.Load()
	same := fake(faults.Diversion{SYN: true})[0]
	for name, c := range map[string]struct {
		rule   int
		models []NamedModel
		says   string
	}{
		"no such rule":      {1, rule.Faults, "no rule 1"},
		"fewer":             {0, rule.Faults[:1], "hold, fake"},
		"another order":     {0, []NamedModel{rule.Faults[1], rule.Faults[0]}, "fake, hold"},
		"a wrong setting":   {0, []NamedModel{{"hold", &holdModel{Wrong: true}}, same}, "hold: wrong"},
		"one that does not": {0, []NamedModel{{"hold", &holdModel{By: 2}}, fake(faults.Diversion{FIN: true})[0]}, "of fake cannot change"},
	} {
		err := i.SetModels(c.rule, c.models)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.says) && !strings.Contains(err.Error(), "settings of "+c.says) {
			t.Errorf("%s: %v, want an ErrConfig that says %q", name, err, c.says)
		}
	}
	if i.rules[0].settings.Load() != before || i.adjusted.Load() != 0 {
		t.Error("something has changed")
	}
	if err := i.SetModels(0, []NamedModel{{"hold", &holdModel{By: 2}}, same}); err != nil {
		t.Errorf("a fault that cannot change, and is not to: %v", err)
	}
}

// TestSetModelsWhileParked checks that a parked flow has the new settings when it is back.
func TestSetModelsWhileParked(t *testing.T) {
	rule := ruleOf(NamedModel{"parking", &parkingModel{holdModel{By: 1, Wants: faults.Diversion{SYN: true}}}})
	i, b := newControlled(t, rule)
	b.judge(t, forward, opened(nil, 1, false))
	b.now += time.Second
	b.settleAll()
	if b.parked.n != 1 {
		t.Fatalf("%d flows are parked, want 1", b.parked.n)
	}
	next := &parkingModel{holdModel{By: 2, Wants: faults.Diversion{SYN: true}}}
	if err := i.SetModels(0, []NamedModel{{"parking", next}}); err != nil {
		t.Fatal(err)
	}
	b.judge(t, forward, opened(nil, 1, false))
	c, s := flowOf(1, false)
	e := b.flows.flows[flowKey{c, s}]
	if e == nil || e.adjustedAt != b.adjusted.Load() || parkedBy[e.nth] != next {
		t.Errorf("it is back as %+v", e)
	}
}

// parkingModel is a fault that waits, and can be parked and adjusted.
type parkingModel struct{ holdModel }

// parkedBy is the model that last judged a segment, by the ordinal of 0.
var parkedBy = map[uint64]*parkingModel{}

func (m *parkingModel) Start() faults.Instance {
	return faults.PerFlow(func() faults.Fault { return &parking{m} })
}

type parking struct{ m *parkingModel }

func (p *parking) Adjust(fresh faults.Fault) { p.m = fresh.(*parking).m }
func (p *parking) Park() (uint64, bool)      { return 0, true }
func (p *parking) Unpark(uint64)             {}
func (p *parking) OnSegment(*faults.Event, *faults.Effects) faults.Verdict {
	parkedBy[0] = p.m
	return faults.Pass
}

// TestSuspend checks that a flow is asked about anew after a pause, that it keeps its
// ordinal and whether it was chosen, however much is chosen by then, and that nothing is
// counted or told twice.
func TestSuspend(t *testing.T) {
	for _, parks := range []bool{false, true} {
		rule := ruleOf(NamedModel{"hold", &holdModel{By: time.Second, Wants: faults.Diversion{All: true}}})
		if parks {
			rule.Faults = []NamedModel{{"parking", &parkingModel{holdModel{Wants: faults.Diversion{SYN: true}}}}}
		}
		rule.Pick = target.Pick{Every: 2, Max: 2}
		i, b := newControlled(t, rule)
		var lost = &b.totals.lost
		b.report = newReporter(make(chan struct{}, 1), lost)
		const n = 6
		for k := range n {
			b.handle(&nfqueue.Packet{ID: nfqueue.ID(k + 1), Hook: forward, Bytes: opened(nil, k, false)})
		}
		chosen := func() (nths []uint64) {
			for k := range n {
				c, s := flowOf(k, false)
				b.handle(&nfqueue.Packet{ID: nfqueue.ID(100 + k), Hook: forward, Bytes: ackOf(k)})
				if e := b.flows.flows[flowKey{c, s}]; e.chain != nil {
					nths = append(nths, e.nth)
				}
			}
			return nths
		}
		if got := chosen(); !slices.Equal(got, []uint64{0, 2}) {
			t.Fatalf("chosen at first: %v", got)
		}
		if parks {
			b.now += time.Second
			b.settleAll()
			if b.parked.n == 0 {
				t.Fatal("nothing is parked")
			}
		}
		fired := i.shared.snapshot()
		b.suspend()
		if b.timers.held != 0 || b.timers.heap.Len() != 0 || b.parked.alarms.Len() != 0 {
			t.Errorf("%d packets are held, %d alarms wait", b.timers.held, b.timers.heap.Len()+b.parked.alarms.Len())
		}
		if accepted := len(b.q.verdicts); !parks && accepted < n {
			t.Errorf("%d verdicts, want one for each packet at least", accepted)
		}
		i.changes.Add(2)
		i.rules[0].share.Store(0) // none, of those that are new
		if got := chosen(); !slices.Equal(got, []uint64{0, 2}) {
			t.Errorf("parked %v: chosen after the pause: %v, want 0 and 2", parks, got)
		}
		now := i.shared.snapshot()
		if now.Rules[0].Flows != fired.Rules[0].Flows || now.Rules[0].Chosen != 2 {
			t.Errorf("parked %v: %d flows and %d chosen are counted, want %d and 2", parks, now.Rules[0].Flows, now.Rules[0].Chosen, fired.Rules[0].Flows)
		}
		told := 0
		deliverAll([]ring[Event]{b.report}, func(ev Event) {
			if ev.Kind == Chosen {
				told++
			}
		})
		if told != 2 {
			t.Errorf("parked %v: told of %d chosen, want 2", parks, told)
		}
	}
}

// ackOf is a segment of the client of the n-th connection.
func ackOf(n int) []byte {
	f := packet.Fields{TTL: 64, DF: true, Seq: packet.Seq(n) + 1, Ack: 1, Flags: packet.ACK, Window: 1000}
	f.Src, f.Dst = flowOf(n, false)
	return f.Append(nil, []byte("x"))
}

// flowEndAt is another client's end.
func flowEndAt(n int) netip.AddrPort {
	c, _ := flowOf(n, false)
	return c
}

// TestSuspendAmongRules checks that a parked flow which several rules have counted is not
// counted again after a pause, and stays with the one that chose it.
func TestSuspendAmongRules(t *testing.T) {
	spares, strikes := ruleOf(NamedModel{"hold", &holdModel{Wants: faults.Diversion{SYN: true}}}), ruleOf(NamedModel{"parking", &parkingModel{holdModel{Wants: faults.Diversion{SYN: true}}}})
	spares.Pick.Share = target.ShareOf(0)
	i, b := newControlled(t, spares, strikes)
	b.judge(t, forward, opened(nil, 0, false))
	b.now += time.Second
	b.settleAll()
	if b.parked.n != 1 {
		t.Fatalf("%d flows are parked, want 1", b.parked.n)
	}
	for pause := range 2 { // the second one meets it active
		b.suspend()
		i.changes.Add(2)
		b.handle(&nfqueue.Packet{ID: nfqueue.ID(10 + pause), Hook: forward, Bytes: ackOf(0)})
		c, s := flowOf(0, false)
		e := b.flows.flows[flowKey{c, s}]
		if e == nil || e.chain == nil || e.rule != 1 || e.nth != 0 {
			t.Fatalf("pause %d: it is back as %+v", pause, e)
		}
		for n, want := range []uint64{0, 1} {
			if r := i.Stats().Rules[n]; r.Flows != 1 || r.Chosen != want {
				t.Errorf("pause %d: rule %d has %d flows and %d chosen, want 1 and %d", pause, n, r.Flows, r.Chosen, want)
			}
		}
	}
}
