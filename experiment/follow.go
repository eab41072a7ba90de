package experiment

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/containers"
)

// matchState is the current match of a run.
type matchState struct {
	matcher target.Matcher
	pick    target.Pick
	models  []injector.NamedModel
}

func (r *Run) matcher() target.Matcher {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.match.matcher
}

// config is the configuration for the next engine; the caller holds mu.
func (r *Run) config() injector.Config {
	cfg := r.plan.cfg
	cfg.Rules = slices.Clone(cfg.Rules)
	cfg.Rules[0] = injector.Rule{Match: r.match.matcher, Pick: r.match.pick, Faults: r.match.models}
	cfg.OnEvent, cfg.Paused = r.onEvent, r.paused
	cfg.HeadersOnly = true
	var see []func(injector.Packet)
	for _, o := range r.plan.observers {
		if o.Packet != nil {
			see = append(see, o.Packet)
			cfg.HeadersOnly = cfg.HeadersOnly && o.HeadersOnly
		}
	}
	if see == nil {
		cfg.HeadersOnly = false
		return cfg
	}
	cfg.OnPacket = func(p injector.Packet) {
		for _, f := range see {
			f(p)
		}
	}
	return cfg
}

// open installs the rules, and returns the function that runs until the
// context is done.
func (r *Run) open(ctx context.Context) (life func(context.Context) error, err error) {
	if r.plan.followed() {
		return r.openContainer(ctx)
	}
	r.mu.Lock()
	cfg := r.config()
	r.mu.Unlock()
	e, err := r.sys.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	r.work(e)
	return func(context.Context) error { return e.Wait() }, nil
}

// work makes e the engine of the run.
func (r *Run) work(e Engine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.engine = e
}

// followed reports whether the run follows a container. A run with a command
// does not, because the command does not move when the container restarts.
func (p *Plan) followed() bool { return p.Spec.Target.Container != "" && len(p.Spec.Command) == 0 }

// followNames looks up the target's names at intervals and updates the
// engine's match. Known connections are judged until they end, even if their
// address is no longer the name's.
func (r *Run) followNames(ctx context.Context, every time.Duration) {
	n := r.plan.names
	for {
		select {
		case <-r.sys.After(every):
		case <-ctx.Done():
			return
		}
		r.lookAgain(ctx, n)
	}
}

func (r *Run) lookAgain(ctx context.Context, n *names) {
	r.change.Lock()
	defer r.change.Unlock()
	if !n.any() {
		return
	}
	spec, was, before := r.Spec(), r.matcher(), n.each()
	is, problems := readMatcher(ctx, &spec.Target, n.lookup)
	is.Owner, is.Except = was.Owner, append(is.Except, r.plan.spared...)
	if len(problems) > 0 || reflect.DeepEqual(was, is) {
		return // keep the known addresses
	}
	err := r.sys.allowed(nil, &spec, &is, r.plan.Duration(), len(spec.Command) > 0 && !r.plan.shared)
	if err == nil {
		err = r.retarget(is)
	}
	if err == nil {
		r.plan.moved.Store(&is)
	}
	for name, now := range n.each() {
		switch {
		case now == before[name]:
		case err != nil:
			r.emit(r.sys.Now(), event.Target{Target: name, Says: fmt.Sprintf("is %s now, and the rules do not follow: %v", now, err)})
		default:
			r.emit(r.sys.Now(), event.Target{Target: name, Says: fmt.Sprintf("is %s now; it was %s", now, before[name])})
		}
	}
}

// retarget changes the match of the run to m.
func (r *Run) retarget(m target.Matcher) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.engine != nil {
		if err := r.engine.Retarget(0, m); err != nil {
			return err
		}
	}
	r.match.matcher = m
	return nil
}

// lookContainer is how often a container is checked, in addition to its
// engine's events.
const lookContainer = 2 * time.Second

// openContainer installs the rules in the network namespace of the plan's
// container. The run then follows the container when it is restarted, or
// created again under its name: each time the rules are installed in the new
// namespace, and connections are chosen anew.
func (r *Run) openContainer(ctx context.Context) (life func(context.Context) error, err error) {
	ns, box, err := r.enterContainer(ctx, false)
	if err != nil {
		return nil, err
	}
	e, err := r.startIn(ctx, ns, 0)
	if err != nil {
		ns.Close()
		return nil, err
	}
	return func(ctx context.Context) error {
		for n := uint64(1); ; n++ {
			err := r.stay(ctx, e, box)
			ns.Close()
			if err != nil || ctx.Err() != nil {
				return err
			}
			r.tellContainer("has stopped, and its connections with it; waiting until it runs again")
			if ns, box, err = r.enterContainer(ctx, true); err != nil || ns == nil {
				return err
			}
			r.tellContainer("runs again: the rules go into its new network namespace")
			if e, err = r.startIn(ctx, ns, n); err != nil {
				ns.Close()
				return err
			}
		}
	}, nil
}

func (r *Run) tellContainer(says string) {
	r.emit(r.sys.Now(), event.Target{Target: "container " + r.plan.Spec.Target.Container, Says: says})
}

// enterContainer waits until the container runs, if it may wait, and opens its
// namespace: nil, if ctx ends before.
func (r *Run) enterContainer(ctx context.Context, wait bool) (*os.File, *containers.Container, error) {
	wide := func() bool { m := r.matcher(); return m.Wide() }
	for ctx.Err() == nil {
		ns, box, err := r.sys.OpenContainer(ctx, r.plan.Spec.Target.Container, wide())
		if err == nil || !wait || CodeOf(err) == event.CodeRefused {
			return ns, box, err
		}
		select {
		case <-r.sys.After(lookContainer / 4):
		case <-ctx.Done():
		}
	}
	return nil, nil, nil
}

// startIn starts the engine for the nth stay of the container in a namespace.
func (r *Run) startIn(ctx context.Context, ns *os.File, n uint64) (Engine, error) {
	r.change.Lock()
	defer r.change.Unlock()
	r.mu.Lock()
	cfg := r.config()
	cfg.NetNS = ns
	cfg.Seed += n
	if r.engine != nil {
		r.sum, r.engine = r.sum.Plus(r.engine.Stats()), nil
	}
	if pick := &cfg.Rules[0].Pick; pick.Max > 0 {
		if struck := Chosen(r.sum); struck >= pick.Max {
			pick.Skip = math.MaxUint64 // the limit of struck connections is reached
		} else {
			pick.Max -= struck
		}
	}
	r.mu.Unlock()
	e, err := r.sys.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	r.work(e)
	return e, nil
}

// stay runs in one namespace until ctx ends or the container leaves the
// namespace.
func (r *Run) stay(ctx context.Context, e Engine, box *containers.Container) error {
	here, leave := context.WithCancel(ctx)
	defer leave()
	left := make(chan struct{})
	go func() {
		defer close(left)
		r.watchContainer(here, box, leave)
	}()
	select {
	case <-e.Done():
	case <-here.Done():
	}
	leave()
	<-left
	return e.Stop()
}

// watchContainer calls leave when the container has left its namespace. If
// the container engine does not answer, watchContainer assumes that it has
// not.
func (r *Run) watchContainer(ctx context.Context, box *containers.Container, leave func()) {
	bell := make(chan struct{}, 1)
	told := make(chan struct{})
	name := r.plan.Spec.Target.Container
	go func() {
		defer close(told)
		r.sys.WatchContainer(ctx, box, name, func() {
			select {
			case bell <- struct{}{}:
			default:
			}
		})
	}()
	defer func() { <-told }()
	for {
		select {
		case <-bell:
		case <-r.sys.After(lookContainer):
		case <-ctx.Done():
			return
		}
		now, err := r.sys.Container(ctx, name)
		switch {
		case errors.Is(err, containers.ErrNone), err == nil && (!now.Running || now.Pid != box.Pid || now.Started != box.Started || now.ID != box.ID):
			leave()
			return
		}
	}
}

// Chosen is how many connections were chosen by the first rule.
func Chosen(s injector.Snapshot) uint64 {
	if len(s.Rules) == 0 {
		return 0
	}
	return s.Rules[0].Chosen
}

// ending tells the observers that the run begins to end.
func (r *Run) ending() {
	for _, o := range r.plan.observers {
		if o.Ending != nil {
			o.Ending()
		}
	}
}
