package control

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
)

// A Starter starts runs for others, each under a name that they choose. Any
// goroutine may call its methods.
type Starter struct {
	ctx context.Context // until it is done the runs go on
	sys *experiment.System
	reg *Registry

	change sync.Mutex // held while runs are started and stopped
	mu     sync.Mutex // guards what follows
	owned  map[string]*owned
	ended  ended     // those that are over
	used   time.Time // when somebody asked for something last
}

// owned is a run that somebody asked for.
type owned struct {
	run    *experiment.Run
	asked  string // its Spec as data
	lease  time.Duration
	until  time.Time // when the lease ends; zero: never
	expiry *time.Timer
	end    string        // why it is stopped; empty: nobody said
	told   chan struct{} // closed when ended has it
}

// NewStarter lets others start runs on sys through the API of the registry, until ctx
// is done.
func NewStarter(ctx context.Context, sys *experiment.System, g *Registry) *Starter {
	s := &Starter{ctx: ctx, sys: sys, reg: g, owned: map[string]*owned{}, used: time.Now()}
	g.starter, sys.Began = s, g.Add
	return s
}

// runName is what a run may be called: it is part of a path.
var runName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// notForOthers are words that would have this process write files, or run programs,
// for whoever asks.
var notForOthers = []string{"pcap", "report", "metrics", "timeout", "isolate", "while"}

// judge says what is wrong with a run that somebody asks for.
func judge(name string, spec *experiment.Spec) (problems event.Problems) {
	if !runName.MatchString(name) {
		problems = append(problems, event.Usagef("name", "%q is no name of a run", name).WithAdvice("Up to 64 letters, digits, dots, dashes and underscores; the first is a letter or a digit."))
	}
	for _, word := range notForOthers {
		if spec.Get(word) != nil {
			problems = append(problems, event.Usagef(event.Field(word), "a server writes no files and runs no commands for others").WithAdvice("Leave it out."))
		}
	}
	if spec.Command != nil {
		problems = append(problems, event.Usagef("command", "a server writes no files and runs no commands for others").WithAdvice("Run the command yourself, while the faults are in force."))
	}
	return append(problems, spec.Validate()...)
}

// Put has a run of that name do what spec says, from when it returns on: it starts
// one, changes the one that there is, or puts another in its place if it cannot be
// changed. A run with a lease is stopped when nobody has renewed it for so long; zero
// is no lease. Nothing is touched if the error is about the spec.
func (s *Starter) Put(ctx context.Context, name string, by *event.Actor, spec experiment.Spec, lease time.Duration) (created bool, err error) {
	s.Touch()
	if problems := judge(name, &spec); len(problems) > 0 {
		return false, problems
	}
	s.change.Lock()
	defer s.change.Unlock()
	asked := string(spec.Data())
	o := s.get(name)
	if o != nil {
		if o.asked == asked {
			s.renew(name, o, lease)
			return false, nil
		}
		next := spec.Clone()
		if err := o.run.UpdateBy(ctx, by, next); err == nil {
			s.mu.Lock()
			o.asked = asked
			s.mu.Unlock()
			s.renew(name, o, lease)
			return false, nil
		}
	}
	sys := *s.sys
	sys.By = by
	p, err := sys.Plan(ctx, spec)
	if err != nil {
		return false, err
	}
	p.Name = name
	if o != nil {
		s.end(name, o, by)
	}
	run, err := experiment.Start(s.ctx, p)
	if err != nil {
		p.Close()
		return false, err
	}
	o = &owned{run: run, asked: asked, told: make(chan struct{})}
	s.mu.Lock()
	s.owned[name] = o
	s.ended.take(name)
	s.mu.Unlock()
	s.renew(name, o, lease)
	go func() {
		<-run.Done()
		defer close(o.told)
		x := (&entry{name: name, run: run}).describeEnd(s.reg, s.endOf(o))
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.owned[name] == o {
			delete(s.owned, name)
			s.ended.add(x)
		}
		if o.expiry != nil {
			o.expiry.Stop()
		}
		p.Close()
	}()
	return true, nil
}

// Stop ends a run that Put began, if there is one. It does not wait for more than a
// moment: the run may still be taking its rules away.
func (s *Starter) Stop(name string) {
	o := s.get(name)
	if o == nil {
		return
	}
	o.run.StopBy(nil)
	select {
	case <-o.run.Done():
	case <-time.After(50 * time.Millisecond):
	}
}

// end ends a run and waits for it; the caller holds change.
func (s *Starter) end(name string, o *owned, by *event.Actor) {
	o.run.StopBy(by)
	o.run.Wait()
	s.reg.forget(o.run)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owned[name] == o {
		delete(s.owned, name)
	}
}

// asked is the run of that name that somebody asked for, whose end may not be told yet;
// nil if there is none.
func (s *Starter) asked(name string) *owned {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owned[name]
}

// get is the run of that name, or nil.
func (s *Starter) get(name string) *owned {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owned[name]
	if o == nil {
		return nil
	}
	select {
	case <-o.run.Done():
		return nil
	default:
		return o
	}
}

// Renew begins the lease of a run anew.
func (s *Starter) Renew(name string) error {
	s.Touch()
	o := s.get(name)
	if o == nil {
		_, err := s.reg.find(name)
		if err == nil {
			err = event.Usagef("name", "%s has no lease", name)
		}
		return err
	}
	s.renew(name, o, o.lease)
	return nil
}

// renew has the lease of a run begin now.
func (s *Starter) renew(name string, o *owned, lease time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.expiry != nil {
		o.expiry.Stop()
	}
	o.lease, o.until, o.expiry = lease, time.Time{}, nil
	if lease > 0 {
		o.until = time.Now().Add(lease)
		o.expiry = time.AfterFunc(lease, func() {
			s.mu.Lock()
			o.end = EndLease
			s.mu.Unlock()
			o.run.StopBy(nil)
		})
	}
}

func (s *Starter) endOf(o *owned) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return o.end
}

// leaseOf is when the lease of a run ends; nil if it has none.
func (s *Starter) leaseOf(run *experiment.Run) *time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.owned {
		if o.run == run && !o.until.IsZero() {
			return new(o.until)
		}
	}
	return nil
}

// Touch says that somebody asked for something.
func (s *Starter) Touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = time.Now()
}

// Idle is for how long nobody has asked for anything and nothing has run.
func (s *Starter) Idle() time.Duration {
	if s.reg.Busy() {
		s.Touch()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.used)
}

// Close stops all runs, and returns when everything is as it was before.
func (s *Starter) Close() error {
	s.change.Lock()
	defer s.change.Unlock()
	s.mu.Lock()
	var runs []*experiment.Run
	for _, o := range s.owned {
		runs = append(runs, o.run)
	}
	s.mu.Unlock()
	errs := make([]error, len(runs))
	var all sync.WaitGroup
	for i, run := range runs {
		all.Go(func() { errs[i] = run.Stop() })
	}
	all.Wait()
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool { return err == nil })...)
}
