package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

const toxi, cLoop, goLoopWay, all = "Toxiproxy, inactive toxic", "C loop", "go-nfqueue's loop", "all diverted"

// write writes the page and its pictures, next to each other.
func (b *benchmark) write(page string) error {
	r := &b.result
	notes, err := os.ReadFile("integration/bench/notes.md")
	if err != nil {
		return err
	}
	dir := filepath.Dir(page)
	pictures := map[string]string{
		"performance-requests.svg": bars("Redis GET, 50 connections: requests per second, as a share of direct", r.bars(rps)),
		"performance-bulk.svg":     bars("One bulk TCP stream: bytes per second, as a share of direct", r.bars(mbps)),
		"performance-memory.svg":   r.memory(),
	}
	if len(r.grown) > 0 {
		pictures["performance-growth.svg"] = r.growthPicture()
	}
	for name, svg := range pictures {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(svg), 0o644); err != nil {
			return err
		}
	}
	var p strings.Builder
	fmt.Fprintf(&p, "# Performance\n\nMeasured by `make bench`, which writes this page and its pictures. It took %s. %s\n",
		r.took.Round(time.Second), machine())
	p.WriteString("\nTwo hosts are network namespaces connected by a veth pair with an MTU of 1500. faultctl, and what it is compared with, runs on\n" +
		"the service's host. All setups take turns in one run, each between two turns of direct traffic. Absolute figures are medians over\n" +
		"the rounds, on this machine. A ratio compares a turn with the mean of the two direct turns beside it, and is the median over the\n" +
		"rounds, with its 95 % confidence interval in brackets. A ratio between two setups is that of their ratios to direct.\n")
	for _, what := range sortedKeys(b.missing) {
		fmt.Fprintf(&p, "\nNot measured: %s: %s.\n", what, b.missing[what])
	}
	p.WriteString("\n## Against the targets\n\n| what | target | measured | |\n|---|---|---|---|\n")
	for _, t := range r.targets() {
		fmt.Fprintf(&p, "| %s | %s | %s | %s |\n", t.what, t.want, t.got, map[bool]string{true: "met", false: "**missed**"}[t.met])
	}
	p.WriteString(r.ceiling())
	p.WriteString("\n## Side by side\n\n![requests per second](performance-requests.svg)\n\n" +
		"| setup | Redis GET, requests/s | of direct | p50 ms | p99 ms | user space, µs per packet | bulk, MB/s | of direct | connections/s | of direct |\n" +
		"|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, w := range r.setups {
		fmt.Fprintf(&p, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", w.name,
			figure(median(r.of(w.name, rps)), 0), spread(r.shares(w.name, rps)),
			figure(median(r.of(w.name, p50)), 3), figure(median(r.of(w.name, p99)), 3), figure(median(r.of(w.name, cpu)), 2),
			figure(median(r.of(w.name, mbps)), 0), spread(r.shares(w.name, mbps)),
			figure(median(r.of(w.name, churn)), 0), spread(r.shares(w.name, churn)))
	}
	p.WriteString("\nMicroseconds per packet are the total processor time of the judging process, including the kernel's part of its system calls.\n" +
		"\n![bulk](performance-bulk.svg)\n" + r.growthTable() + r.profiled() + "\n## The packet path\n\n| benchmark | ns | allocations |\n|---|--:|--:|\n")
	for _, name := range sortedKeys(r.micro) {
		m := r.micro[name]
		if _, ok := m["ns/op"]; ok && !slices.ContainsFunc(tabled, func(p string) bool { return strings.HasPrefix(name, p) }) {
			ns := m["ns/op"]
			if a, ok := m["ns/segment"]; ok {
				ns = a
			}
			fmt.Fprintf(&p, "| %s | %s | %.0f |\n", name, figure(ns, 1), m["allocs/op"])
		}
	}
	p.WriteString("\nJudge is parse, flow, observe, decide and commit for one segment. Catalog is each fault alone, WorstThree the chain of the\nthree slowest. Slice cuts a segment of 1000 bytes into 1000 segments; alone, that is one step.\n" +
		r.rules() +
		"\n## Flows\n\n![memory](performance-memory.svg)\n\n| flows | bytes per flow | slowest new flow, ms |\n|--:|--:|--:|\n")
	for _, n := range flowCounts {
		if m := r.micro[fmt.Sprintf("Flows/%d", n)]; m != nil {
			fmt.Fprintf(&p, "| %d | %.0f | %.3f |\n", n, m["B/flow"], m["max-ms"])
		}
	}
	if m := r.micro["IdleSet/default"]; m != nil {
		t := r.micro["IdleSet/ours"]
		fmt.Fprintf(&p, "\nThe kernel's idle set with a million IPv4 flows: %.0f bytes per element. Scanning for expired elements takes %.1f %% of a core\n"+
			"with the kernel's default interval of one second, and %.1f %% with ours.\n", t["B/element"], m["core-%"], t["core-%"])
	}
	fmt.Fprintf(&p, "\n## Moments\n\n| what | p50 | p99 | worst | of |\n|---|--:|--:|--:|--:|\n")
	for _, m := range []struct {
		what string
		ds   []time.Duration
	}{{"forged RST after the segment that caused it, at the client's end of the wire", r.rst}, {"idle expiry, delay beyond --after", r.idle},
		{"exec to ready", r.start}, {"SIGTERM to last rule removed", r.stop}} {
		fmt.Fprintf(&p, "| %s | %s | %s | %s | %d |\n", m.what, ms(median(m.ds)), ms(quantile(m.ds, 0.99)), ms(quantile(m.ds, 1)), len(m.ds))
	}
	p.WriteString("\n" + string(notes))
	return os.WriteFile(page, []byte(p.String()), 0o644)
}

// tabled lists the benchmarks that have their own table.
var tabled = []string{"Flows", "IdleSet", "Rules"}

// rules returns the table of what the rules of a waiting fault cost per packet.
func (r *results) rules() string {
	var p strings.Builder
	for _, name := range sortedKeys(r.micro) {
		if what, ok := strings.CutSuffix(strings.TrimPrefix(name, "Rules/"), "/IPv4"); ok {
			v4, v6 := r.micro[name], r.micro["Rules/"+what+"/IPv6"]
			fmt.Fprintf(&p, "| %s | %s | %s |\n", what, figure(v4["ns/packet"], 0), figure(v6["ns/packet"], 0))
		}
	}
	if p.Len() == 0 {
		return ""
	}
	return "\n## The rules\n\n| waiting | IPv4, ns | IPv6, ns |\n|---|--:|--:|\n" + p.String() +
		"\nThe kernel's time in the rules for each packet of an established flow that it accepts, per host, averaged over both directions:\n" +
		"the difference to the same number of packets without rules, in turns, sent by one processor to an interface that drops them\n" +
		"(`BenchmarkRules`). It is more stable than requests per second, and the same on a busy machine.\n"
}

// ceiling says that the target beside Toxiproxy is more than direct traffic itself
// reached, if that is so in this run.
func (r *results) ceiling() string {
	most, ours := r.ratio("direct", toxi, rps), r.ratio(all, toxi, rps)
	if most == 0 || most >= 2 {
		return ""
	}
	return fmt.Sprintf("\nTwice Toxiproxy's requests per second were out of reach in this run: direct traffic itself, with nothing in its way, made\n"+
		"%.2f times as many (%.0f beside %.0f). Traffic with every packet diverted made %.0f %% of direct.\n",
		most, median(r.of("direct", rps)), median(r.of(toxi, rps)), 100*ours/most)
}

var flowCounts = []int{1000, 10_000, 100_000, 1_000_000}

// target is a row of the first table.
type target struct {
	what, want, got string
	met             bool
}

func (r *results) targets() (ts []target) {
	add := func(what, want string, met bool, format string, args ...any) {
		ts = append(ts, target{what, want, fmt.Sprintf(format, args...), met})
	}
	if median(r.of("direct", rps)) > 0 {
		by := r.shares("bystander", rps)
		add("bystander traffic while a fault is active", "≥ 0.97 of direct", median(by) >= 0.97, "%s", spread(by))
		var worst []float64
		who := ""
		for _, w := range r.setups {
			if fault, ok := strings.CutPrefix(w.name, "waiting: "); ok {
				if x := r.shares(w.name, rps); who == "" || median(x) < median(worst) {
					worst, who = x, fault
				}
			}
		}
		add("matched traffic while the fault waits, the worst fault", "≥ 0.95 of direct", median(worst) >= 0.95, "%s, %s", spread(worst), who)
		if len(r.of(cLoop, rps)) > 0 {
			x := r.ratios(all, cLoop, rps)
			add("every packet diverted and accepted, compared with the C loop", "≥ 1.0", median(x) >= 1, "%s", spread(x))
			c, ours := median(r.of(cLoop, cpu)), median(r.of(all, cpu))
			add("the same: processor time per packet", "no more than the C loop's", ours <= c, "%.2f µs, C loop %.2f µs", ours, c)
		}
		x := r.ratios(all, goLoopWay, rps)
		add("the same, compared with go-nfqueue's own loop", "≥ 2.5", median(x) >= 2.5, "%s", spread(x))
		if len(r.of(toxi, rps)) > 0 {
			x := r.ratios(all, toxi, rps)
			add("the same, compared with Toxiproxy: requests/s", "≥ 2", median(x) >= 2, "%s", spread(x))
			ours, its := r.added(all, p50), r.added(toxi, p50)
			add("the same: added p50", "≤ half", ours <= its/2, "%.2f ms, Toxiproxy %.2f ms", ours, its)
		}
	}
	m := r.micro["Flows/1000000"]
	add("user-space memory per tracked flow", "≤ 256 B", m["B/flow"] > 0 && m["B/flow"] <= 256, "%.0f B", m["B/flow"])
	add("1,000,000 flows tracked: longest stall", "≤ 1 ms", m["max-ms"] > 0 && m["max-ms"] <= 1, "%.2f ms", m["max-ms"])
	g := r.micro["IdleSet/ours"]
	add("garbage collection of the idle set at 1,000,000", "≤ 5 % of a core", g["B/element"] > 0 && g["core-%"] <= 5, "%.1f %%", g["core-%"])
	rst := quantile(r.rst, 0.99)
	add("forged RST after its cause, p99", "≤ 1 ms", rst > 0 && rst <= time.Millisecond, "%s", ms(rst))
	late, early := quantile(r.idle, 0.99), quantile(r.idle, 0)
	add("idle expiry, p99", "on time within 20 ms", len(r.idle) > 0 && late <= 20*time.Millisecond && early >= -20*time.Millisecond, "%s late", ms(late))
	add("start to ready, median", "≤ 50 ms", median(r.start) <= 50*time.Millisecond, "%s", ms(median(r.start)))
	add("stop to last rule removed, median", "≤ 50 ms", median(r.stop) <= 50*time.Millisecond, "%s", ms(median(r.stop)))
	w := r.micro["WorstThree"]
	add("the worst chain of three faults", "≤ 250 ns, 0 allocations per segment", w["ns/segment"] > 0 && w["ns/segment"] <= 250 && w["allocs/op"] == 0, "%.0f ns, %.0f allocations", w["ns/segment"], w["allocs/op"])
	return ts
}

// machine describes the machine that this was measured on.
func machine() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("The machine: %d cores (%s), Linux %s, %s, %s.", runtime.NumCPU(), model, strings.TrimSpace(string(kernel)),
		runtime.Version(), time.Now().Format("2 January 2006"))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1000) }

// figure formats a measurement, or a dash for 0, which means not measured.
func figure(v float64, digits int) string {
	if v == 0 {
		return "–"
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
