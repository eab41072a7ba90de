package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/pcap"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/metrics"
	"github.com/urfave/cli/v2"
)

// evidence is what a command leaves besides what it prints: the report and the
// capture that its flags name. A command that runs faults makes one before
// anything is touched, gives it to each of its plans, adds a case to its report
// for each thing that it tried, and closes it.
type evidence struct {
	host   *host
	paths  []string // of the report in its several forms; none: none is wanted
	report report.Report
	pcap   *pcap.File

	metrics *metrics.Server

	// A second signal ends the process while anything may be going on: what it
	// leaves then is written by the goroutine that was told of the signal.
	mu      sync.Mutex           // guards what follows, and report
	missing injector.Snapshot    // of all runs: what could not be judged, followed or told
	under   func() []report.Case // the cases that are under way, as far as they came; nil: none
	closed  bool
}

// evidence reads --report and --pcap and refuses what could not be written. The
// capture's file is made now, the report's at the end.
func (h *host) evidence(c *cli.Context) (*evidence, error) {
	e := &evidence{host: h, paths: c.StringSlice("report")}
	e.report = report.Report{
		Command: c.Command.HelpName, Tool: "faultctl " + version(), Kernel: h.kernel(), Start: h.now(),
	}
	for _, path := range e.paths {
		if err := report.Check(path); err != nil {
			return nil, usageError("--report %s: %w", path, aboutFile(err))
		}
	}
	if addr := c.String("metrics"); addr != "" {
		l, err := h.listen(addr)
		if err != nil {
			return nil, err
		}
		e.metrics = metrics.Serve(l, version())
		fmt.Fprintf(h.stderr, "faultctl: metrics on http://%s/metrics\n", e.metrics.Addr())
	}
	if path := c.String("pcap"); path == "-" {
		return nil, e.refuse(usageError("--pcap -: standard output is for what the run tells: name a file").
			hint("A named pipe will do: mkfifo live.pcapng, wireshark -k -i live.pcapng, and --pcap live.pcapng."))
	} else if path != "" {
		f, err := pcap.Create(path, "faultctl "+version())
		if err != nil {
			return nil, e.refuse(usageError("--pcap %s: %w", path, aboutFile(err)))
		}
		e.pcap = f
	}
	h.leaving.Store(e)
	return e, nil
}

// listen listens where metrics are to be served: in the caller's network
// namespace, wherever this process may be.
func (h *host) listen(addr string) (net.Listener, error) {
	if h.handed != nil {
		defer h.handed.Close()
		return net.FileListener(h.handed)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, usageError("--metrics %s: %w", addr, listenError(err)).
			hint("ADDR is an address of this host and a free port, such as 127.0.0.1:9187; :9187 is every address.")
	}
	return l, nil
}

// listenForInside listens for a process in namespaces of its own, where nobody
// could scrape it. It returns nil if no metrics are wanted.
func (h *host) listenForInside(c *cli.Context) (*os.File, error) {
	addr := c.String("metrics")
	if addr == "" || c.Bool("dry-run") {
		return nil, nil
	}
	l, err := h.listen(addr)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.(*net.TCPListener).File()
}

// refuse gives up what is open so far, and writes nothing.
func (e *evidence) refuse(err error) error {
	if e.metrics != nil {
		e.metrics.Close()
	}
	return err
}

// kernel is the release of the running kernel.
func (h *host) kernel() string {
	b, err := os.ReadFile(filepath.Join(h.proc, "sys", "kernel", "osrelease"))
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// attend has what happens in a run of the plan taken down, beside telling it.
// It is called before the run starts; nil evidence attends nothing.
func (e *evidence) attend(p *plan, tell teller) (teller, *record) {
	if e == nil {
		return tell, nil
	}
	e.spare(p)
	rec := &record{teller: tell}
	e.see(&p.cfg, rec)
	e.underWay(func() []report.Case {
		c := p.struck(outcome{}, errCutShort)
		rec.fill(&c)
		return []report.Case{c}
	})
	return rec, rec
}

// underWay says what to write of a case that begins if it does not end.
func (e *evidence) underWay(cases func() []report.Case) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.under = cases
}

// see has the packets of a run shown to what wants to see them.
func (e *evidence) see(cfg *injector.Config, rec *record) {
	var see []func(injector.Packet)
	if e.pcap != nil {
		see = append(see, e.pcap.Write)
	}
	if len(e.paths) > 0 {
		see = append(see, rec.packet)
	}
	if len(see) > 0 {
		cfg.HeadersOnly = e.pcap == nil // a report says how long a payload is, not what
		cfg.OnPacket = func(pkt injector.Packet) {
			for _, f := range see {
				f(pkt)
			}
		}
	}
}

// spare has the run of a plan leave the connections to the metrics alone, for
// they are faultctl's own. A target that cannot mean them stays as it is.
func (e *evidence) spare(p *plan) {
	if e.metrics == nil || e.host.inside || p.target == nil || p.cfg.NetNS != nil && !e.host.isOwn(p.cfg.NetNS) {
		return
	}
	own, err := netip.ParseAddrPort(e.metrics.Addr())
	if err != nil {
		return
	}
	service := target.Endpoint{LowPort: own.Port(), HighPort: own.Port()}
	if !own.Addr().IsUnspecified() {
		service.Prefix = target.Single(own.Addr())
	}
	means := func(to target.Endpoint) bool {
		if own.Addr().IsUnspecified() {
			to.Prefix = netip.Prefix{} // whichever address of this host that is
		}
		return to.Contains(own)
	}
	if to := p.target.match.To; len(to) > 0 && !slices.ContainsFunc(to, means) {
		return
	}
	p.target.spared = []target.Endpoint{service}
	p.target.match.Except = slices.Concat(p.target.match.Except, p.target.spared)
	for i := range p.cfg.Rules {
		m := &p.cfg.Rules[i].Match
		m.Except = slices.Concat(m.Except, p.target.spared)
	}
}

// add adds a case to the report. rec is what was taken down of its run, nil if
// it did not come to one.
func (e *evidence) add(c report.Case, rec *record) {
	if e == nil {
		return
	}
	rec.fill(&c)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.report.Cases, e.under = append(e.report.Cases, c), nil
}

// watch serves the counters of a run that begins.
func (e *evidence) watch(run session) {
	if e != nil && e.metrics != nil {
		e.metrics.Watch(run.Stats)
	}
}

// named gives the report the line that repeats the command as a whole, where
// that is more than one run.
func (e *evidence) named(line string, seed uint64) {
	if e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.report.Command, e.report.Seed = line, seed
	}
}

// ended notes what a run says of itself when it is over.
func (e *evidence) ended(s injector.Snapshot) {
	if e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		s.Rules = nil // those of the next run are others
		e.missing = e.missing.Plus(s)
	}
}

// flaws says what the runs so far lack.
func (e *evidence) flaws() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return said(flaws(e.missing))
}

// struck is the case of a run in the foreground.
func (p *plan) struck(o outcome, err error) report.Case {
	var names []string
	for _, s := range p.specs {
		names = append(names, s.String())
	}
	c := report.Case{Name: cmp.Or(p.name, strings.Join(names, " and ")), Fault: p.specs[0].Name, Target: p.scope(), Verdict: report.Done, Took: o.took}
	var idle []string
	for _, r := range o.stats.Rules {
		for _, f := range r.Faults {
			if f.Fired == 0 {
				idle = append(idle, f.Name+" never fired: "+whyNot(p, r, f.Name))
			}
		}
	}
	switch {
	case err != nil:
		c.Verdict, c.Reason = report.Broken, err.Error()
	case len(idle) > 0:
		c.Verdict, c.Reason = report.NeverFired, strings.Join(idle, " ")
	}
	return p.allowed(c)
}

// allowed is a case as a report has it: that a fault never fired is no failure
// there if it was said that it need not.
func (p *plan) allowed(c report.Case) report.Case {
	if c.Verdict == report.NeverFired && p.mayIdle {
		c.Verdict, c.Reason = report.Skipped, "Nothing was tried, which --allow-idle allows: "+c.Reason
	}
	return c
}

// listenError says in words why an address cannot be listened on.
func listenError(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return errors.New("another program listens there")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return errors.New("it is no address of this host")
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return errnoFree(op.Err)
	}
	return err
}
