// Package evidence writes what a command produces besides its printed output: the
// report in its formats, the capture, and the metrics.
package evidence

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/pcap"
	"github.com/faultctl/faultctl/internal/metrics"
	"github.com/faultctl/faultctl/internal/version"
)

// Evidence is the reports, the capture and the metrics of a command. A command
// opens it before anything is touched, has it attend each of its plans, adds a
// case for each thing that it tried, and closes it. A nil Evidence does
// nothing.
type Evidence struct {
	now    func() time.Time
	warn   io.Writer // warnings about what could not be written
	paths  []string  // of the report, one for each format; none: no report
	report report.Report
	pcap   *pcap.File

	metrics *metrics.Server

	// A second signal ends the process at any moment. The goroutine that handles
	// the signal then writes the evidence.
	mu      sync.Mutex              // guards what follows, and report
	missing injector.Snapshot       // of all runs: what could not be judged, followed or reported
	under   []underWay              // in the order in which they began
	line    func() *report.Timeline // nil: there is none
	closed  bool
}

// underWay is a run, or several, whose cases have not ended yet.
type underWay struct {
	name  string // of the case
	cases func() []report.Case
	now   func() injector.Snapshot // its counters; nil before it starts
}

// Config says what to write, and where.
type Config struct {
	Command string       // what the report calls the command until Named says more
	Pcap    string       // see experiment.Spec
	Reports []string     // likewise
	Metrics string       // likewise
	Serve   net.Listener // serves the metrics, if not nil, instead of a listener at Metrics

	Now  func() time.Time
	Proc string    // where /proc is
	Warn io.Writer // gets a line for what could not be written, and for the address of the metrics
}

// Open checks that everything can be written. It creates the capture's file;
// the report's is created at the end. The error is an *event.Error.
func Open(c Config) (*Evidence, error) {
	e := &Evidence{now: c.Now, warn: c.Warn, paths: c.Reports}
	e.report = report.Report{
		Command: c.Command, Tool: "faultctl " + version.String(), Kernel: kernel(c.Proc), Start: c.Now(),
	}
	for _, path := range e.paths {
		if err := report.Check(path); err != nil {
			return nil, event.Usagef("report", "%w", noPath(err)).WithValue(path)
		}
	}
	if c.Metrics != "" {
		l, err := c.Serve, error(nil)
		if l == nil {
			l, err = Listen(c.Metrics)
		}
		if err != nil {
			return nil, err
		}
		e.metrics = metrics.Serve(l, version.String())
		fmt.Fprintf(e.warn, "faultctl: metrics on http://%s/metrics\n", e.metrics.Addr())
	}
	if c.Pcap == "-" {
		return nil, e.refuse(event.Usagef("pcap", "standard output is for what the run tells: name a file").WithValue("-").
			WithAdvice("A named pipe will do: mkfifo live.pcapng, wireshark -k -i live.pcapng, and --pcap live.pcapng."))
	} else if c.Pcap != "" {
		f, err := pcap.Create(c.Pcap, version.String())
		if err != nil {
			return nil, e.refuse(event.Usagef("pcap", "%w", noPath(err)).WithValue(c.Pcap))
		}
		e.pcap = f
	}
	return e, nil
}

// Listen listens where metrics are to be served. The error is an *event.Error.
func Listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, event.Usagef("metrics", "%w", listenError(err)).WithValue(addr).
			WithAdvice("ADDR is an address of this host and a free port, such as 127.0.0.1:9187; :9187 is every address.")
	}
	return l, nil
}

// refuse closes what is open so far, and writes nothing.
func (e *Evidence) refuse(err error) error {
	if e.metrics != nil {
		e.metrics.Close()
	}
	return err
}

// kernel is the release of the running kernel.
func kernel(proc string) string {
	b, err := os.ReadFile(filepath.Join(proc, "sys", "kernel", "osrelease"))
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// Attend records the events of the plan's next run, and passes its packets to
// the report and the capture. It must be called before the run starts. Runs of plans
// with different names may go on at the same time.
func (e *Evidence) Attend(p *experiment.Plan) *Record {
	if e == nil {
		return nil
	}
	e.Spare(p)
	rec := &Record{}
	e.begin(underWay{name: p.Name, cases: func() []report.Case {
		c := Struck(p, experiment.Result{}, ErrCutShort)
		c.CutShort = true
		rec.Fill(&c)
		return []report.Case{c}
	}})
	o := e.Observer(rec)
	watch := o.Stats
	o.Stats = func(now func() injector.Snapshot) { watch(now); e.watchOne(p.Name, now) }
	p.Observe(o)
	return rec
}

// begin notes what begins, in place of what was under way by that name.
func (e *Evidence) begin(u underWay) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forget(u.name)
	e.under = append(e.under, u)
}

// forget drops what is under way by that name. The caller holds mu.
func (e *Evidence) forget(name string) {
	e.under = slices.DeleteFunc(e.under, func(u underWay) bool { return u.name == name })
}

// watchOne serves the counters of all runs under way together, of which one begins:
// the rules of one after those of the other.
func (e *Evidence) watchOne(name string, now func() injector.Snapshot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []func() injector.Snapshot
	for i := range e.under {
		if u := &e.under[i]; u.name == name {
			u.now = now
		}
		if e.under[i].now != nil {
			all = append(all, e.under[i].now)
		}
	}
	if len(all) > 1 && e.metrics != nil {
		e.metrics.Watch(func() injector.Snapshot { return together(all) })
	}
}

// together are the counters of several runs.
func together(all []func() injector.Snapshot) (sum injector.Snapshot) {
	var rules []injector.RuleStats
	for _, now := range all {
		s := now()
		rules = append(rules, s.Rules...)
		s.Rules = nil
		sum = sum.Plus(s)
	}
	sum.Rules = rules
	return sum
}

// Observer records a run in rec, and serves its counters.
func (e *Evidence) Observer(rec *Record) experiment.Observer {
	o := experiment.Observer{Event: rec.Take, Stats: func(now func() injector.Snapshot) {
		rec.watch(now)
		e.Watch(now)
	}}
	o.Packet, o.HeadersOnly = e.packets(rec)
	return o
}

// UnderWay sets what to write about cases that begin, in case they never end.
func (e *Evidence) UnderWay(cases func() []report.Case) { e.begin(underWay{cases: cases}) }

// packets returns the function that gets the packets of a run recorded in rec;
// nil if none is needed.
func (e *Evidence) packets(rec *Record) (see func(injector.Packet), headersOnly bool) {
	capture, reported := e.pcap != nil, len(e.paths) > 0
	switch {
	case capture && reported:
		return func(p injector.Packet) { e.pcap.Write(p); rec.packet(p) }, false
	case capture:
		return e.pcap.Write, false
	case reported:
		return rec.packet, true // a report has the length of a payload, not its bytes
	}
	return nil, true
}

// Spare excludes the connections to the metrics endpoint from the run of a
// plan.
func (e *Evidence) Spare(p *experiment.Plan) {
	if e == nil || e.metrics == nil {
		return
	}
	if own, err := netip.ParseAddrPort(e.metrics.Addr()); err == nil {
		p.Spare(own)
	}
}

// Add adds a case to the report. rec is the record of its run; nil if it had
// none.
func (e *Evidence) Add(c report.Case, rec *Record) {
	if e == nil {
		return
	}
	rec.Fill(&c)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.report.Cases = append(e.report.Cases, c)
	e.forget(c.Name)
	e.forget("") // a run of its own
}

// Watch serves the counters of a run that begins.
func (e *Evidence) Watch(now func() injector.Snapshot) {
	if e != nil && e.metrics != nil {
		e.metrics.Watch(now)
	}
}

// Timeline sets where the report gets the timeline of what it is about.
func (e *Evidence) Timeline(line func() *report.Timeline) {
	if e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.line = line
	}
}

// Named sets the line that repeats the whole command, for a command with more
// than one run.
func (e *Evidence) Named(line string, seed uint64) {
	if e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.report.Command, e.report.Seed = line, seed
	}
}

// Ended records the counters of a run that has ended.
func (e *Evidence) Ended(s injector.Snapshot) {
	if e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		s.Rules = nil // those of the next run are others
		e.missing = e.missing.Plus(s)
	}
}

// Flaws lists what the runs so far could not judge, follow or report.
func (e *Evidence) Flaws() []string {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return experiment.Flaws(e.missing)
}

// listenError says in words why a listener cannot be opened.
func listenError(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return errors.New("another program listens there")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return errors.New("it is no address of this host")
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// noPath removes the operation and path that os adds to an error, because the
// message has the path already.
func noPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
