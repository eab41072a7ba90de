// Command bench measures what faultctl costs, compared with direct traffic and
// with alternatives, and writes docs/PERFORMANCE.md. All setups take turns in one
// run on two hosts of the lab, so that other load on the machine affects them
// equally. Ratios compare a turn with the direct turns beside it.
//
//	go run ./integration/bench        # from the root of the repository
//
// It needs redis-server and redis-benchmark for the first table, and a C compiler
// with libnetfilter_queue and libmnl for the C loop. The page says what was
// missing. It runs in its own namespaces, as root or without.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/faultctl/faultctl/lab"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == goLoopCommand {
		os.Exit(goLoop(os.Args[2]))
	}
	os.Exit(lab.Main(run))
}

func run() int {
	b := &benchmark{missing: map[string]string{}}
	page := flag.String("o", "docs/PERFORMANCE.md", "the `page` to write; pictures go beside it")
	flag.IntVar(&b.rounds, "rounds", 9, "number of rounds; in each, every setup has a turn")
	flag.IntVar(&b.requests, "requests", 60_000, "Redis requests per turn")
	flag.DurationVar(&b.each, "each", time.Second, "length of a turn of bulk and churn")
	only := flag.String("only", "", "run the loads only, with direct and the setups that this `regexp` matches")
	flag.Parse()
	if *only != "" {
		b.only = regexp.MustCompile(*only)
	}
	if err := b.all(*page); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

const loadsStep, growthStep = "redis, bulk, churn", "growing numbers of clients"

// benchmark is one run of everything.
type benchmark struct {
	rounds   int
	requests int
	each     time.Duration
	only     *regexp.Regexp // nil: everything

	dir     string // for the programs that are built
	lab     *lab.Lab
	host    *lab.Node         // where the services and the tools run
	missing map[string]string // tool -> why
	result  results
}

func (b *benchmark) all(page string) (err error) {
	start := time.Now()
	if b.dir, err = os.MkdirTemp("", "faultctl-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.build(); err != nil {
		return err
	}
	if b.lab, err = lab.New(); err != nil {
		return fmt.Errorf("build the lab: %w", err)
	}
	defer b.lab.Close()
	b.host = b.lab.Router // one wire from the client
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"start, stop", b.startStop},
		{"reset latency, idle expiry", b.moments},
		{loadsStep, b.loads},
		{growthStep, b.growth},
		{"micro-benchmarks, flows, sets", b.micro},
	} {
		if b.only != nil && step.what != loadsStep && step.what != growthStep {
			continue
		}
		fmt.Fprintf(os.Stderr, "%5.0fs %s\n", time.Since(start).Seconds(), step.what)
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	b.result.took = time.Since(start)
	return b.write(page)
}

// build builds the programs that take part.
func (b *benchmark) build() error {
	if out, err := exec.Command("go", "build", "-o", b.path("faultctl"), ".").CombinedOutput(); err != nil {
		return fmt.Errorf("build faultctl: %w\n%s", err, out)
	}
	c := exec.Command("cc", "-O2", "-o", b.path("loop"), "integration/bench/cloop/loop.c", "-lnetfilter_queue", "-lmnl")
	if out, err := c.CombinedOutput(); err != nil {
		b.missing["c"] = firstLine(out, err) + " (install libnetfilter-queue-dev and libmnl-dev)"
	}
	toxi := exec.Command("go", "build", "-o", b.path("toxiproxy"), ".")
	toxi.Dir = "integration/bench/toxiproxy"
	if out, err := toxi.CombinedOutput(); err != nil {
		b.missing["toxiproxy"] = firstLine(out, err)
	}
	if _, err := exec.LookPath("perf"); err != nil {
		b.missing["a profile"] = "perf is not installed (install linux-perf)"
	}
	for _, name := range []string{"redis-server", "redis-benchmark"} {
		if _, err := exec.LookPath(name); err != nil {
			b.missing["redis"] = name + " is not installed (install redis-server and redis-tools)"
		}
	}
	return nil
}

func (b *benchmark) path(name string) string { return filepath.Join(b.dir, name) }

func firstLine(out []byte, err error) string {
	for i, c := range out {
		if c == '\n' {
			return string(out[:i])
		}
	}
	return err.Error()
}
