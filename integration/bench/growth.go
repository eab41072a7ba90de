package main

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
)

// clientCounts are the numbers of concurrent Redis clients to measure.
var clientCounts = []int{1, 4, 16, 64, 256}

const (
	growthRounds   = 3
	growthRequests = 30_000
	loneRequests   = 10_000 // of a single client, which waits for each response
)

// grown has the requests per second of one setup, by number of clients and round.
type grown struct {
	name string
	rps  map[int][]float64
}

// growth measures the setups in turns with a growing number of Redis clients.
func (b *benchmark) growth() error {
	if b.missing["redis"] != "" {
		return nil
	}
	redis, err := b.redis()
	if err != nil {
		return err
	}
	defer redis()
	var setups []*setup
	for i, w := range b.result.setups {
		switch w.name {
		case "direct", all, cLoop, goLoopWay, toxi:
			setups = append(setups, &b.result.setups[i])
			b.result.grown = append(b.result.grown, grown{w.name, map[int][]float64{}})
		}
	}
	for range growthRounds {
		for _, n := range clientCounts {
			l := workload{port: servicePort, run: func(b *benchmark, at netip.AddrPort, f *figures) error {
				requests := growthRequests
				if n == 1 {
					requests = loneRequests
				}
				return b.redisClients(at, n, requests, f)
			}}
			for i, w := range setups {
				var f figures
				if err := b.with(w, l, &f); err != nil {
					return fmt.Errorf("%s, %d clients: %w", w.name, n, err)
				}
				b.result.grown[i].rps[n] = append(b.result.grown[i].rps[n], f.rps)
			}
		}
	}
	return nil
}

// growthTable returns the section with the throughput by number of clients.
func (r *results) growthTable() string {
	if len(r.grown) == 0 {
		return ""
	}
	var p strings.Builder
	p.WriteString("\n## How throughput grows\n\n![requests per second by clients](performance-growth.svg)\n\n| concurrent Redis clients |")
	for _, g := range r.grown {
		fmt.Fprintf(&p, " %s |", g.name)
	}
	p.WriteString("\n|--:|" + strings.Repeat("--:|", len(r.grown)) + "\n")
	for _, n := range clientCounts {
		fmt.Fprintf(&p, "| %d |", n)
		for _, g := range r.grown {
			fmt.Fprintf(&p, " %s |", figure(median(g.rps[n]), 0))
		}
		p.WriteString("\n")
	}
	fmt.Fprintf(&p, "\nRequests per second, the median of %d rounds. A single client waits for each response, so nothing can be done for several packets\n"+
		"at once. With more clients, more packets share a system call and a wake-up.\n", growthRounds)
	return p.String()
}

// growthPicture draws the same, with clients on a logarithmic axis.
func (r *results) growthPicture() string {
	const left, right, top, bottom = 80.0, width - 170.0, 44.0, 300.0
	most := 1.0
	for _, g := range r.grown {
		for _, n := range clientCounts {
			most = max(most, median(g.rps[n]))
		}
	}
	step := math.Pow10(int(math.Log10(most)))
	x := func(n int) float64 {
		return left + (right-left)*math.Log(float64(n))/math.Log(float64(clientCounts[len(clientCounts)-1]))
	}
	y := func(v float64) float64 { return bottom - (bottom-top)*v/(most*1.05) }
	var s strings.Builder
	for v := 0.0; v <= most*1.05; v += step {
		fmt.Fprintf(&s, `<line x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f" stroke="%s"/><text x="%.0f" y="%.1f" text-anchor="end">%.0f</text>`+"\n",
			left, right, y(v), y(v), faint, left-8, y(v)+4, v)
	}
	for _, n := range clientCounts {
		fmt.Fprintf(&s, `<text x="%.1f" y="%.0f" text-anchor="middle">%d</text>`+"\n", x(n), bottom+20, n)
	}
	labelled := math.Inf(1)
	for _, g := range byLast(r.grown) {
		color := others
		if g.name == all {
			color = ours
		}
		var points []string
		for _, n := range clientCounts {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(n), y(median(g.rps[n]))))
		}
		labelled = min(y(median(g.rps[clientCounts[len(clientCounts)-1]])), labelled-14)
		fmt.Fprintf(&s, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/><text x="%.1f" y="%.1f">%s</text>`+"\n",
			strings.Join(points, " "), color, right+8, labelled+4, g.name)
	}
	return svg(340, "Redis GET: requests per second by the number of concurrent clients", s.String())
}

// byLast sorts setups by their last figure, the lowest first, so that their labels
// can be placed one above the other.
func byLast(gs []grown) []grown {
	last := clientCounts[len(clientCounts)-1]
	return slices.SortedFunc(slices.Values(gs), func(a, b grown) int { return cmp.Compare(median(a.rps[last]), median(b.rps[last])) })
}
