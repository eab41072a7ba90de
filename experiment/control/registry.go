package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/internal/redact"
	"github.com/faultctl/faultctl/internal/version"
)

// A Registry knows the runs of a process that are going on. Any goroutine may call
// its methods.
type Registry struct {
	// Stop ends the whole process cleanly, as Ctrl-C does, and does not wait. Nil:
	// stopping the process stops its runs only.
	Stop func()

	starter *Starter // starts runs for others; nil: nobody does

	id, command, line string
	began             time.Time

	table table
	ring  ring

	mu     sync.Mutex
	runs   []*entry
	count  int
	paused bool
}

// entry is a run that is known by a name.
type entry struct {
	nth  int
	name string
	run  *experiment.Run
}

// NewRegistry returns one for a process that does command, such as inject, and
// was called with args, its name first.
func NewRegistry(command string, args []string) *Registry {
	return &Registry{id: newID(), command: command, line: strings.Join(redact.Command(args), " "), began: time.Now()}
}

// ID names the process among those of its host.
func (g *Registry) ID() string { return g.id }

// Add makes a run known until it is over. It is a System.Began.
func (g *Registry) Add(run *experiment.Run) {
	g.mu.Lock()
	g.count++
	e := &entry{nth: g.count, name: g.nameFor(run.Plan()), run: run}
	g.runs = append(g.runs, e)
	paused := g.paused
	g.mu.Unlock()
	if paused {
		run.Pause() // it fails for a run that is over only
	}
	go g.follow(e)
}

// nameFor is a name that no run of the process has now; the caller holds mu.
func (g *Registry) nameFor(p *experiment.Plan) string {
	var faults []string
	for _, f := range p.Spec.Faults {
		faults = append(faults, f.Name)
	}
	base := cmp.Or(p.Name, strings.Join(faults, "+"))
	for n, name := 2, base; ; n++ {
		if !slices.ContainsFunc(g.runs, func(e *entry) bool { return e.name == name }) {
			return name
		}
		name = fmt.Sprintf("%s#%d", base, n)
	}
}

// follow keeps what happens in a run, and forgets the run when it is over.
func (g *Registry) follow(e *entry) {
	for ev := range e.run.Events() {
		g.table.add(e.nth, e.name, ev)
		g.ring.add(e.name, ev)
	}
	<-e.run.Done()
	g.forget(e.run)
}

// forget forgets a run.
func (g *Registry) forget(run *experiment.Run) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.runs = slices.DeleteFunc(g.runs, func(e *entry) bool { return e.run == run })
}

// Follow returns the events of all runs from now on, with the names of the runs,
// until ctx is done.
func (g *Registry) Follow(ctx context.Context) iter.Seq2[string, event.Event] {
	return func(yield func(string, event.Event) bool) {
		for after := uint64(0); ; {
			lines, _ := g.ring.after(ctx, after)
			for _, l := range lines {
				if after = l.ordinal; !yield(l.run, l.event) {
					return
				}
			}
			if len(lines) == 0 {
				return
			}
		}
	}
}

// ErrNoRun is the error of a name that no run of the process has.
var ErrNoRun = errors.New("no such run")

func (g *Registry) find(name string) (*entry, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var names []string
	for _, e := range g.runs {
		if e.name == name {
			return e, nil
		}
		names = append(names, e.name)
	}
	err := event.Usagef("name", "%w: %s", ErrNoRun, name)
	if len(names) > 0 {
		return nil, err.WithAdvice("There are " + strings.Join(names, ", ") + ".")
	}
	return nil, err.WithAdvice("No run is going on.")
}

// Busy reports whether a run is going on, or an event of one is not yet told by Follow.
func (g *Registry) Busy() bool { return len(g.all()) > 0 }

// all are the runs that are going on.
func (g *Registry) all() []*entry {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.runs)
}

// Process describes the process and its runs.
func (g *Registry) Process() Process {
	p := Process{ID: g.id, PID: os.Getpid(), Command: g.command, Line: g.line, Version: version.String(), Started: g.began, Experiments: g.Experiments()}
	g.mu.Lock()
	p.Paused = g.paused
	g.mu.Unlock()
	return p
}

// Experiments describes the runs that are going on, the oldest first.
func (g *Registry) Experiments() []Experiment {
	all := []Experiment{}
	for _, e := range g.all() {
		all = append(all, e.describe(g))
	}
	return all
}

// describe is the run as it is now.
func (e *entry) describe(g *Registry) Experiment {
	p, spec := e.run.Plan(), e.run.Spec()
	spec.Command = p.ShownCommand()
	x := Experiment{
		Name: e.name, State: Running, Faults: spec.FaultNames(), Scope: scopeOf(p, &spec), NetNS: p.Where(), Spec: spec.Data(), Seed: p.Seed(), Repeat: spec.CommandLine(),
		Counts: countsOf(e.run),
	}
	if g.starter != nil {
		x.Lease = g.starter.leaseOf(e.run)
	}
	if at := e.run.Ready(); at.IsZero() {
		x.State = Waiting
	} else {
		x.Ready = &at
		if d := p.Duration(); d > 0 {
			x.Ends = new(at.Add(d))
		}
	}
	if e.run.Paused() {
		x.State = Paused
	}
	select {
	case <-e.run.Done():
		x.State = Ended
		if _, err := e.run.Wait(); err != nil {
			x.Error = err.Error()
		}
	default:
	}
	return x
}

// scopeOf says in words which connections a run is about now.
func scopeOf(p *experiment.Plan, now *experiment.Spec) string {
	if slices.Equal(now.Target.To, p.Spec.Target.To) && slices.Equal(now.Target.From, p.Spec.Target.From) {
		return p.Scope()
	}
	words := "connections"
	if len(now.Target.To) > 0 {
		words += " to " + strings.Join(now.Target.To, ", ")
	}
	if len(now.Target.From) > 0 {
		words += " from " + strings.Join(now.Target.From, ", ")
	}
	return words
}

func countsOf(run *experiment.Run) (c Counts) {
	s := run.Stats()
	c.Diverted = s.Diverted
	for _, r := range s.Rules {
		c.Flows, c.Chosen = c.Flows+r.Flows, c.Chosen+r.Chosen
		for _, f := range r.Faults {
			c.Fired, c.Felt = c.Fired+experiment.Strikes(f), c.Felt+f.Settled.Felt
			c.Dropped, c.Forged = c.Dropped+f.Dropped, c.Forged+f.Forged
		}
	}
	return c
}

// Pause pauses every run of the process, and those that begin before Resume.
func (g *Registry) Pause(by *event.Actor) error {
	return g.setPaused(true, by, (*experiment.Run).PauseBy)
}

// Resume resumes every run of the process.
func (g *Registry) Resume(by *event.Actor) error {
	return g.setPaused(false, by, (*experiment.Run).ResumeBy)
}

func (g *Registry) setPaused(paused bool, by *event.Actor, do func(*experiment.Run, *event.Actor) error) error {
	g.mu.Lock()
	g.paused = paused
	runs := slices.Clone(g.runs)
	g.mu.Unlock()
	var errs []error
	for _, e := range runs {
		if err := do(e.run, by); err != nil && !errors.Is(err, experiment.ErrEnded) {
			errs = append(errs, fmt.Errorf("%s: %w", e.name, err))
		}
	}
	return errors.Join(errs...)
}

// StopAll stops every run, or the whole process if it can be stopped, and does not
// wait for that.
func (g *Registry) StopAll(by *event.Actor) {
	for _, e := range g.all() {
		if g.Stop != nil {
			e.run.Stopping(by)
		} else {
			e.run.StopBy(by)
		}
	}
	if g.Stop != nil {
		g.Stop()
	}
}

// Update changes a run to what the words of a document say; the others stay as
// they are. The error is that of experiment.Run.Update.
func (g *Registry) Update(ctx context.Context, name string, by *event.Actor, words map[string]any) error {
	e, err := g.find(name)
	if err != nil {
		return err
	}
	next := e.run.Spec()
	if problems := next.SetTree(words); len(problems) > 0 {
		return problems
	}
	return e.run.UpdateBy(ctx, by, next)
}
