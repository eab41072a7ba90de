package faults_test

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// model is the model of a SPEC.
func model(t testing.TB, spec string) faults.Model {
	t.Helper()
	specs, err := faults.ParseSpecs(spec)
	if err != nil {
		t.Fatal(err)
	}
	m, err := specs[0].Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestModelsAreLeftAlone holds that judging, asking and starting a model change
// nothing in it, so that one may serve several runs.
func TestModelsAreLeftAlone(t *testing.T) {
	for _, k := range faults.Catalog {
		m, twin := complete(t, k), complete(t, k)
		m.Validate()
		m.Diverts()
		play(t, faults.NewChain([]faults.Instance{m.Start()}))
		if !reflect.DeepEqual(m, twin) {
			t.Errorf("%s: it was %+v and is %+v", k.Name, twin, m)
		}
	}
}

// play shows a conversation to a chain and returns its verdicts.
func play(t testing.TB, chain *faults.Chain) (verdicts []faults.Verdict) {
	conv := newConversation(t, false)
	ev := faults.Event{Flow: &conv.flow, Rand: rand.New(rand.NewPCG(1, 1))}
	var out faults.Effects
	for i, seg := range conv.segs {
		out.Reset()
		ev.Seg, ev.Dir = seg, conv.dirs[i]
		ev.Fresh = conv.flow.Observe(ev.At, ev.Dir, seg)
		v, _ := chain.OnSegment(&ev, &out)
		verdicts = append(verdicts, v)
	}
	return verdicts
}

// TestInstancesShareNothing holds that what the flows of one rule share is not
// shared with another rule of the same model: the first flow of a second run
// finds the backlog, the link and the memory of addresses as the first run did.
func TestInstancesShareNothing(t *testing.T) {
	for _, spec := range []string{"syn-drop:backlog=1", "throttle:rate=1kbit,queue=1ms", "paws-reject"} {
		m := model(t, spec)
		first := m.Start()
		before := play(t, faults.NewChain([]faults.Instance{first}))
		if spec != "paws-reject" {
			if again := play(t, faults.NewChain([]faults.Instance{first})); reflect.DeepEqual(again, before) {
				t.Errorf("%s: the flows of a rule share nothing: %v", spec, again)
			}
		}
		if other := play(t, faults.NewChain([]faults.Instance{m.Start()})); !reflect.DeepEqual(other, before) {
			t.Errorf("%s: a second run has %v, the first had %v", spec, other, before)
		}
	}
	older := func(in faults.Instance, val uint32) faults.Verdict {
		conv := newConversation(t, false)
		f := packet.FieldsOf(conv.segs[0])
		f.SetTimestamps(val, 0)
		seg, err := packet.Parse(f.Append(nil, nil))
		if err != nil {
			t.Fatal(err)
		}
		return in.New().OnSegment(&faults.Event{Seg: seg, Flow: &conv.flow}, &faults.Effects{})
	}
	m := model(t, "paws-reject")
	first := m.Start()
	older(first, 1000)
	if v := older(first, 500); v != faults.Drop {
		t.Errorf("paws-reject: an older timestamp in the same run: %v", v)
	}
	if v := older(m.Start(), 500); v != faults.Pass {
		t.Errorf("paws-reject: the same in another run: %v", v)
	}
}
