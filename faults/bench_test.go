package faults_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
)

// runner asks a chain about the data of a conversation, both ways in turn.
type runner struct {
	conv  *conversation
	chain *faults.Chain
	ev    faults.Event
	out   faults.Effects
	n     int
	segs  int // judged, or made of one that was
}

func newRunner(b *testing.B, kinds ...faults.Kind) *runner {
	r := &runner{conv: newConversation(b, false)}
	var models []faults.Model
	for _, k := range kinds {
		m := k.New()
		switch m := m.(type) {
		case *faults.IdleExpire:
			m.After = time.Hour
		case *faults.Delay:
			m.By = time.Millisecond
		case *faults.Throttle:
			m.Rate = 1e12
		}
		models = append(models, m)
	}
	r.chain = faults.NewChain(faults.StartAll(models))
	r.ev = faults.Event{Flow: &r.conv.flow, Rand: rand.New(rand.NewPCG(1, 1))}
	return r
}

// step judges one segment: what the flow learns of it, and what the faults say.
func (r *runner) step() faults.Verdict {
	i := 3 + r.n%2
	r.n++
	r.out.Reset()
	r.ev.At += time.Microsecond
	r.ev.Seg, r.ev.Dir = r.conv.segs[i], r.conv.dirs[i]
	r.ev.Fresh = r.conv.flow.Observe(r.ev.At, r.ev.Dir, r.ev.Seg)
	v, _ := r.chain.OnSegment(&r.ev, &r.out)
	r.segs += max(1, len(r.out.Forged)) // slice makes a thousand of one
	return v
}

func BenchmarkCatalog(b *testing.B) {
	for _, k := range faults.Catalog {
		b.Run(k.Name, func(b *testing.B) {
			r := newRunner(b, k)
			b.ReportAllocs()
			for b.Loop() {
				r.step()
			}
		})
	}
}

// BenchmarkWorstThree is the chain of the three faults that take longest, those
// that let a segment pass first, so that all are asked.
func BenchmarkWorstThree(b *testing.B) {
	type cost struct {
		kind   faults.Kind
		took   time.Duration
		passes bool
	}
	var costs []cost
	for _, k := range faults.Catalog {
		c := cost{kind: k, took: time.Hour}
		for range 5 {
			r := newRunner(b, k)
			r.step() // some fire at the first
			r.segs = 0
			start := time.Now()
			for range 2000 {
				c.passes = r.step() == faults.Accept // a chain's word for: all passed
			}
			c.took = min(c.took, time.Since(start)/time.Duration(r.segs))
		}
		costs = append(costs, c)
	}
	slices.SortFunc(costs, func(x, y cost) int { return int(y.took - x.took) })
	worst := costs[:3]
	slices.SortStableFunc(worst, func(x, y cost) int {
		switch {
		case x.passes == y.passes:
			return 0
		case x.passes:
			return -1
		}
		return 1
	})
	b.Logf("%s, %s, %s", worst[0].kind.Name, worst[1].kind.Name, worst[2].kind.Name)
	r := newRunner(b, worst[0].kind, worst[1].kind, worst[2].kind)
	r.step()
	r.segs = 0
	b.ReportAllocs()
	for b.Loop() {
		r.step()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(r.segs), "ns/segment")
}
