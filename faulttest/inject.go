package faulttest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/netns"
	"github.com/faultctl/faultctl/lab/userns"
)

// An Option says which connections a fault strikes, or how.
type Option func(*settings) error

// settings are the parsed options.
type settings struct {
	rule      injector.Rule
	seed      uint64
	allowIdle bool
}

// To strikes only connections to that service: HOST:PORT, :PORT, or what
// [net.Listener.Addr] returns. An unspecified address means every address, a host
// name all addresses that it resolves to. Several To add up.
func To(addr string) Option {
	return func(s *settings) error {
		es, err := endpoints(addr)
		s.rule.Match.To = append(s.rule.Match.To, es...)
		return err
	}
}

// Except leaves connections to that service alone. Its argument is that of [To].
func Except(addr string) Option {
	return func(s *settings) error {
		es, err := endpoints(addr)
		s.rule.Match.Except = append(s.rule.Match.Except, es...)
		return err
	}
}

// From strikes only connections of that client: an IP address or a CIDR. Several
// From add up.
func From(client string) Option {
	return func(s *settings) error {
		p, err := netip.ParsePrefix(client)
		if a, err2 := netip.ParseAddr(client); err2 == nil {
			p, err = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
		}
		if err != nil {
			return fmt.Errorf("From(%q): it is neither an IP address nor a CIDR", client)
		}
		s.rule.Match.From = append(s.rule.Match.From, p.Masked())
		return nil
	}
}

// Percent strikes this share of the connections, from 0 to 100. The choice
// depends on the seed and on the order of the connections.
func Percent(p float64) Option {
	return func(s *settings) error {
		if !(p >= 0 && p <= 100) {
			return fmt.Errorf("Percent(%v): it lies outside 0 to 100", p)
		}
		s.rule.Pick.Share = target.ShareOf(p / 100)
		return nil
	}
}

// Every strikes every nth connection, including the first one.
func Every(n uint64) Option { return pick(func(p *target.Pick) { p.Every = n }) }

// First strikes only the first n connections, after those that [Skip] skips.
func First(n uint64) Option { return pick(func(p *target.Pick) { p.First = n }) }

// Skip leaves the first n connections alone.
func Skip(n uint64) Option { return pick(func(p *target.Pick) { p.Skip = n }) }

// NewOnly leaves connections alone that are already open.
func NewOnly() Option { return pick(func(p *target.Pick) { p.NewOnly = true }) }

func pick(set func(*target.Pick)) Option {
	return func(s *settings) error {
		set(&s.rule.Pick)
		return nil
	}
}

// Seed sets the seed of all random choices. The default is 1, so that a test is
// repeatable.
func Seed(seed uint64) Option {
	return func(s *settings) error {
		s.seed = seed
		return nil
	}
}

// AllowIdle lets the test pass although the fault never fired.
func AllowIdle() Option {
	return func(s *settings) error {
		s.allowIdle = true
		return nil
	}
}

// Injection is an active fault.
type Injection struct {
	t         testing.TB
	spec      string
	run       *injector.Injector
	allowIdle bool
	once      sync.Once
}

// Inject strikes connections with a fault from now until the end of the test.
// spec is a SPEC as on faultctl's command line, such as
// idle-expire:after=1s,then=rst-both; several, separated by commas, strike the
// same connections. Connections that are already open are struck too. The test
// fails at once if the fault cannot be injected, and at its end if a fault never
// fired. Each call injects a separate fault, so tests that run in parallel need
// separate services. If faultctl run or verify strikes the test without root, the
// test is skipped.
func Inject(t testing.TB, spec string, options ...Option) *Injection {
	t.Helper()
	if userns.Caged() {
		t.Skip("faultctl strikes this test: it cannot have faults of its own")
	}
	s := settings{seed: 1}
	err := s.read(spec, options)
	if err != nil {
		t.Fatalf("faulttest.Inject: %v", err)
	}
	i := &Injection{t: t, spec: spec, allowIdle: s.allowIdle}
	if err := i.start(&s); err != nil {
		t.Fatalf("faulttest.Inject(%q): %v", spec, err)
	}
	t.Cleanup(func() {
		t.Helper()
		i.Remove()
		i.judge()
	})
	return i
}

// read reads the fault and the options.
func (s *settings) read(spec string, options []Option) error {
	specs, err := faults.ParseSpecs(spec)
	if err != nil {
		return err
	}
	var names []string
	var models []faults.Model
	for _, sp := range specs {
		m, err := sp.Model()
		if err != nil {
			return err
		}
		names, models = append(names, sp.Name), append(models, m)
		s.rule.Faults = append(s.rule.Faults, injector.NamedModel{Name: sp.Name, Model: m})
	}
	if err := faults.Contradiction(names, models); err != nil {
		return fmt.Errorf("these faults contradict each other: %w", err)
	}
	for _, o := range options {
		if err := o(s); err != nil {
			return err
		}
	}
	if m := &s.rule.Match; len(m.To) == 0 && len(m.From) == 0 && !userns.Inside() {
		return errors.New("name the service with To: without it every TCP connection of this host would be struck")
	}
	return nil
}

// watchdog is how long the test may be stopped before the kernel kills it, so that
// other connections that the fault may match continue.
const watchdog = 30 * time.Second

// start starts the fault and returns once it is there.
func (i *Injection) start(s *settings) error {
	// The namespace of the calling thread, whatever thread carries on.
	ns, err := netns.Current()
	if err != nil {
		return fmt.Errorf("open the network namespace: %w", err)
	}
	i.t.Cleanup(func() { ns.Close() })
	cfg := injector.Config{NetNS: ns, Rules: []injector.Rule{s.rule}, Seed: s.seed, Watchdog: watchdog}
	if userns.Inside() {
		cfg.Watchdog = -1 // nobody else is here; a debugger may stop a test
	}
	i.run, err = injector.Start(context.Background(), cfg)
	if errors.Is(err, injector.ErrPermission) {
		err = fmt.Errorf("%w; without root call faulttest.Main in TestMain", err)
	}
	return err
}

// Remove removes the fault before the test ends. It may be called twice.
func (i *Injection) Remove() {
	i.t.Helper()
	i.once.Do(func() {
		if err := i.run.Stop(); err != nil {
			i.t.Errorf("faulttest.Inject(%q): %v", i.spec, err)
		}
	})
}

// Fired returns the number of connections that the fault has acted on so far. If
// there are several faults, it is the smallest of their numbers.
func (i *Injection) Fired() int {
	least := uint64(math.MaxInt)
	for _, r := range i.run.Stats().Rules {
		for _, f := range r.Faults {
			least = min(least, f.Fired)
		}
	}
	return int(least)
}

// judge fails the test if the fault never fired.
func (i *Injection) judge() {
	i.t.Helper()
	for _, r := range i.run.Stats().Rules {
		for _, f := range r.Faults {
			i.t.Logf("%s: %d connections matched, %d chosen, fired on %d; %d segments dropped, %d forged", f.Name, r.Flows, r.Chosen, f.Fired, f.Dropped, f.Forged)
			switch {
			case f.Fired > 0 || i.allowIdle || i.t.Skipped():
			case r.Flows == 0:
				i.t.Errorf("faulttest.Inject(%q): %s never fired: no connection matched", i.spec, f.Name)
			default:
				i.t.Errorf("faulttest.Inject(%q): %s never fired: the moment that it waits for did not come; faultctl faults %s says which one that is", i.spec, f.Name, f.Name)
			}
		}
	}
}

// endpoints parses HOST:PORT, :PORT, and what net.Listener.Addr returns.
func endpoints(addr string) ([]target.Endpoint, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%q is not HOST:PORT", addr)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%q: %q is not a port from 1 to 65535", addr, port)
	}
	host, _, _ = strings.Cut(host, "%")
	addrs := []netip.Addr{}
	if a, err := netip.ParseAddr(host); err == nil {
		addrs = append(addrs, a)
	} else if host != "" {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
			return nil, fmt.Errorf("%q: %w", addr, err)
		}
	}
	var es []target.Endpoint
	for _, a := range addrs {
		if a = a.Unmap(); a.IsUnspecified() {
			return []target.Endpoint{{LowPort: uint16(n), HighPort: uint16(n)}}, nil
		}
		es = append(es, target.Endpoint{Prefix: netip.PrefixFrom(a, a.BitLen()), LowPort: uint16(n), HighPort: uint16(n)})
	}
	if host == "" {
		es = []target.Endpoint{{LowPort: uint16(n), HighPort: uint16(n)}}
	}
	return es, nil
}
