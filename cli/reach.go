package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/control"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/internal/words"
)

// reachable lets other processes of this user, and root, list, change and stop what
// runs on sys, until release is called. Where that is not possible the command goes
// on without it.
func (inv *invocation) reachable(ctx context.Context, sys *experiment.System) (release func()) {
	g := control.NewRegistry(strings.TrimPrefix(inv.path, "faultctl "), inv.args)
	l, err := inv.controlListener(g)
	if err != nil || l == nil {
		if err != nil {
			inv.logger.Info("other processes cannot reach this run", "error", err)
		}
		return func() {}
	}
	g.Stop = inv.interrupt
	sys.Began = g.Add
	ctx, cancel := context.WithCancel(ctx)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := g.Serve(ctx, l); err != nil {
			inv.logger.Info("other processes can no longer reach this run", "error", err)
		}
	})
	return func() { cancel(); serving.Wait() }
}

// controlListener is the socket of this process: in namespaces of its own, the one
// that the process outside has made.
func (inv *invocation) controlListener(g *control.Registry) (*net.UnixListener, error) {
	switch {
	case inv.handedControl != nil:
		f := inv.handedControl
		inv.handedControl = nil
		defer f.Close()
		l, err := net.FileListener(f)
		if err != nil {
			return nil, err
		}
		return l.(*net.UnixListener), nil
	case inv.listen == nil:
		return nil, nil
	}
	return inv.listen(g)
}

// listenForControl makes the socket of a process that goes into namespaces of its
// own, where nobody could connect to it. It returns nil if that is not possible.
func (inv *invocation) listenForControl() *os.File {
	if inv.listen == nil || inv.dryRun {
		return nil
	}
	l, err := inv.listen(control.NewRegistry("", nil))
	if err != nil {
		return nil
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		return nil
	}
	return f
}

// one is a run of another process, or all of them.
type one struct {
	*control.Found
	run string // its name; empty: all
}

func (o one) String() string {
	name := fmt.Sprintf("%s (%s", o.label(), words.Foreign(o.Command))
	if o.run != "" {
		return name + " " + words.Foreign(o.run) + ")"
	}
	for i, x := range o.Experiments {
		if i == 2 {
			name += ", …"
			break
		}
		name += " " + words.Foreign(x.Name)
	}
	return name + ")"
}

// label is what a person types for a process: its process ID if it can be seen.
func (o one) label() string {
	if o.Pid != 0 {
		return fmt.Sprint(o.Pid)
	}
	return words.Foreign(o.ID)
}

// findRuns finds the processes that this user may control.
func (inv *invocation) findRuns(ctx context.Context) ([]*control.Found, error) {
	found, hidden, err := inv.find(ctx)
	if err != nil {
		return nil, event.Failuref("", "%w", err)
	}
	if hidden > 0 {
		fmt.Fprintln(inv.stderr, text.Wrap(fmt.Sprintf("faultctl: %s in other network namespaces cannot be reached by this user: sudo reaches all", words.Plural(uint64(hidden), "process")), "", inv.columns()))
	}
	return found, nil
}

// chosen are the runs that a command line names: ID or ID/RUN each, or all.
func (inv *invocation) chosen(c *call, names []string) (all []one, err error) {
	if c.Bool("all") && len(names) > 0 {
		return nil, usageError("%s: %s and --all: give one", c.Name(), names[0])
	}
	if !c.Bool("all") && len(names) == 0 {
		return nil, usageError("%s: which run?", c.Name()).WithAdvice("faultctl ps lists them; --all means all.")
	}
	found, err := inv.findRuns(c.Context())
	if err != nil {
		return nil, err
	}
	if c.Bool("all") {
		for _, f := range found {
			all = append(all, one{f, ""})
		}
		return all, nil
	}
	for _, name := range names {
		o, err := pick(found, name)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// pick finds the process of an ID: its process ID, its name, or the beginning of
// that; behind a / a run of it.
func pick(found []*control.Found, name string) (one, error) {
	id, run, _ := strings.Cut(name, "/")
	var hits []*control.Found
	var known []string
	for _, f := range found {
		known = append(known, one{Found: f}.label())
		if fmt.Sprint(f.Pid) == id || f.ID == id {
			hits = []*control.Found{f}
			break
		}
		if len(id) >= 2 && strings.HasPrefix(f.ID, id) {
			hits = append(hits, f)
		}
	}
	switch {
	case len(found) == 0:
		return one{}, usageError("no run is going on that this user may control").WithAdvice("faultctl ps lists them; sudo reaches those of other users.")
	case len(hits) == 0:
		return one{}, usageError("no such run: %s", name).WithAdvice("There are " + strings.Join(known, ", ") + ". faultctl ps says what they do.")
	case len(hits) > 1:
		return one{}, usageError("%s is the beginning of several IDs", name).WithAdvice("faultctl ps lists them.")
	}
	if run == "" {
		return one{hits[0], ""}, nil
	}
	known = nil
	for _, x := range hits[0].Experiments {
		if x.Name == run {
			return one{hits[0], run}, nil
		}
		known = append(known, words.Foreign(x.Name))
	}
	return one{}, usageError("process %s has no run %s%s", one{Found: hits[0]}.label(), run, words.DidYouMean(run, known)).
		WithAdvice("It has " + strings.Join(append(known, "no others"), ", ") + ".")
}

// gone waits until a process does not answer any more, and reports false if it
// takes too long.
func (inv *invocation) gone(ctx context.Context, o one) bool {
	for range 150 {
		now, err := o.Client.Process(ctx)
		if err != nil && ctx.Err() == nil {
			return true
		}
		if o.run != "" && !hasRun(now, o.run) {
			return true
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return false
		}
	}
	return false
}

func hasRun(p control.Process, name string) bool {
	for _, x := range p.Experiments {
		if x.Name == name {
			return true
		}
	}
	return false
}
