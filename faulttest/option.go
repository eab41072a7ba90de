package faulttest

import (
	"fmt"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/faults"
)

// A Fault is what strikes connections: a model of package faults, such as
// &faults.Reset{At: faults.At("request")}, or a [Spec]. Fields of a model that are
// zero mean the fault's defaults.
type Fault interface {
	// Validate reports the first setting that is wrong, or nil.
	Validate() error
}

// Spec is a SPEC as on faultctl's command line: the name of a fault with its
// settings, such as idle-expire:after=1s,then=rst-both. Several, separated by
// commas, strike the same connections. The command faultctl faults lists the faults
// and their settings.
type Spec string

// Validate implements Fault.
func (s Spec) Validate() error {
	specs, err := faults.ParseSpecs(string(s))
	for _, one := range specs {
		if err == nil {
			_, err = one.Model()
		}
	}
	return err
}

// specsOf are the SPECs of a fault.
func specsOf(f Fault) ([]faults.Spec, error) {
	if s, is := f.(Spec); is {
		return faults.ParseSpecs(string(s))
	}
	m, is := f.(faults.Model)
	if !is {
		return nil, fmt.Errorf("a %T is neither a model of package faults nor a Spec", f)
	}
	s, err := faults.SpecOf(m)
	return []faults.Spec{s}, err
}

// An Option says which connections a fault strikes, or how.
type Option func(*settings) error

// settings are what the options say.
type settings struct {
	spec       experiment.Spec
	mayNotFire bool
}

// And strikes the same connections with another fault too. Faults are asked in
// order: the first that drops a segment decides, and delays add up.
func And(f Fault) Option {
	return func(s *settings) error {
		specs, err := specsOf(f)
		s.spec.Faults = append(s.spec.Faults, specs...)
		return err
	}
}

// To strikes only connections to that service, in the form of --to on faultctl's
// command line, [HOST|CIDR]:PORTS, such as 127.0.0.1:5432, :80,443 or
// db.internal:5432, or as [net.Listener.Addr] says it. An unspecified address means
// every address; a host name all addresses that it resolves to now. Several To add
// up.
func To(addr string) Option {
	return func(s *settings) error {
		s.spec.Target.To = append(s.spec.Target.To, addr)
		return nil
	}
}

// Except leaves connections to that service alone. Its argument is that of [To].
func Except(addr string) Option { return To("!" + addr) }

// From strikes only connections of that client, in the form of --from: an address,
// a CIDR or a host name. Several From add up.
func From(client string) Option {
	return func(s *settings) error {
		s.spec.Target.From = append(s.spec.Target.From, client)
		return nil
	}
}

// Percent strikes this share of the connections, from 0 to 100. The choice
// depends on the seed and on the order of the connections.
func Percent(p float64) Option { return choose(func(t *experiment.Target) { t.Percent = &p }) }

// PercentEvery is Percent with lots that are drawn anew each time that d has passed,
// 100ms at least: a connection that was left alone may be struck then.
func PercentEvery(p float64, d time.Duration) Option {
	return choose(func(t *experiment.Target) { t.Percent, t.PercentEvery = &p, d })
}

// Every strikes every nth connection, including the first one. Zero means each.
func Every(n uint64) Option { return choose(func(t *experiment.Target) { t.Every = n }) }

// First strikes only the first n connections, after those that [Skip] skips. Zero
// means all.
func First(n uint64) Option { return choose(func(t *experiment.Target) { t.First = n }) }

// Skip leaves the first n connections alone.
func Skip(n uint64) Option { return choose(func(t *experiment.Target) { t.Skip = n }) }

// NewOnly leaves connections alone that are already open.
func NewOnly() Option { return choose(func(t *experiment.Target) { t.NewOnly = true }) }

func choose(set func(*experiment.Target)) Option {
	return func(s *settings) error {
		set(&s.spec.Target)
		return nil
	}
}

// Seed sets the seed of all random choices. The default is 1, so that a test is
// repeatable.
func Seed(seed uint64) Option {
	return func(s *settings) error {
		s.spec.Seed = &seed
		return nil
	}
}

// MayNotFire lets the test pass although a fault never fired.
func MayNotFire() Option {
	return func(s *settings) error {
		s.mayNotFire = true
		return nil
	}
}
