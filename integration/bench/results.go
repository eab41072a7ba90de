package main

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// results has everything that was measured.
type results struct {
	setups []setup
	turns  [][]turn // by setup, by round

	start, stop []time.Duration
	rst, idle   []time.Duration
	grown       []grown
	profile     []share // of "all diverted", by perf

	micro map[string]map[string]float64 // benchmark -> unit -> value, the median
	all   map[string]map[string][]float64
	took  time.Duration
}

var benchLine = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)

// parse adds the output of go test -bench.
func (r *results) parse(out string) {
	if r.all == nil {
		r.all, r.micro = map[string]map[string][]float64{}, map[string]map[string]float64{}
	}
	for line := range strings.Lines(out) {
		m := benchLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		words := strings.Fields(m[2])
		for i := 0; i+1 < len(words); i += 2 {
			v, err := strconv.ParseFloat(words[i], 64)
			if err != nil {
				continue
			}
			if r.all[m[1]] == nil {
				r.all[m[1]], r.micro[m[1]] = map[string][]float64{}, map[string]float64{}
			}
			vs := append(r.all[m[1]][words[i+1]], v)
			r.all[m[1]][words[i+1]], r.micro[m[1]][words[i+1]] = vs, median(vs)
		}
	}
}

func median[T float64 | time.Duration](vs []T) T { return quantile(vs, 0.5) }

func quantile[T float64 | time.Duration](vs []T, q float64) T {
	if len(vs) == 0 {
		return 0
	}
	vs = slices.Clone(vs)
	slices.Sort(vs)
	return vs[min(len(vs)-1, int(q*float64(len(vs))))]
}

// between returns a confidence interval of at least 95 % for the median: from the
// kth smallest to the kth largest, by the binomial distribution, for figures of
// any distribution. With fewer than six figures it is their whole range.
func between(vs []float64) (low, high float64) {
	n := len(vs)
	if n == 0 {
		return 0, 0
	}
	vs = slices.Sorted(slices.Values(vs))
	k, term := 1, math.Pow(0.5, float64(n)) // the chance that k-1 of them are below the median
	for tail := term; ; k, tail = k+1, tail+term {
		term *= float64(n-k+1) / float64(k)
		if 2*(tail+term) > 0.05 || k > n/2 {
			break
		}
	}
	return vs[k-1], vs[n-k]
}

// spread formats a median and its confidence interval.
func spread(vs []float64) string {
	if median(vs) == 0 {
		return figure(0, 0)
	}
	low, high := between(vs)
	return fmt.Sprintf("%.2f (%.2f–%.2f)", median(vs), low, high)
}

// of collects one figure of a setup over the rounds.
func (r *results) of(name string, f func(*figures) float64) (vs []float64) {
	for _, t := range r.turnsOf(name) {
		vs = append(vs, f(&t.figures))
	}
	return vs
}

func (r *results) turnsOf(name string) []turn {
	for i, w := range r.setups {
		if w.name == name {
			return r.turns[i]
		}
	}
	return nil
}

// shares returns one figure of a setup over the rounds, as ratios to the direct
// traffic right before and after.
func (r *results) shares(name string, f func(*figures) float64) (vs []float64) {
	for _, t := range r.turnsOf(name) {
		if d := f(&t.direct); d > 0 {
			vs = append(vs, f(&t.figures)/d)
		}
	}
	return vs
}

// share is the median of them.
func (r *results) share(name string, f func(*figures) float64) float64 {
	return median(r.shares(name, f))
}

// ratio is the median over the rounds of one setup's share to another's.
func (r *results) ratio(name, to string, f func(*figures) float64) float64 {
	return median(r.ratios(name, to, f))
}

func (r *results) ratios(name, to string, f func(*figures) float64) (vs []float64) {
	a, b := r.shares(name, f), r.shares(to, f)
	for i := range min(len(a), len(b)) {
		if b[i] > 0 {
			vs = append(vs, a[i]/b[i])
		}
	}
	return vs
}

// added is how much longer than direct traffic a setup took, the median over the
// rounds.
func (r *results) added(name string, f func(*figures) float64) float64 {
	var vs []float64
	for _, t := range r.turnsOf(name) {
		vs = append(vs, f(&t.figures)-f(&t.direct))
	}
	return median(vs)
}

func rps(f *figures) float64   { return f.rps }
func p50(f *figures) float64   { return f.p50 }
func p99(f *figures) float64   { return f.p99 }
func mbps(f *figures) float64  { return f.mbps }
func churn(f *figures) float64 { return f.churn }
func cpu(f *figures) float64 {
	if f.packets == 0 {
		return 0
	}
	return f.cpu / f.packets
}
