package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/containers"
)

// openContainer opens the network namespace that a running container uses. It
// proves that the process which the engine names is the container's, because a
// number from another machine, or of a process that is gone, would be somebody
// else's here. wide says that the target names neither an address nor an
// owner.
func (h *host) openContainer(ctx context.Context, name string, wide bool) (f *os.File, c *containers.Container, err error) {
	for range 3 { // it may be restarted meanwhile
		if c, err = h.container(ctx, name); err != nil {
			return nil, nil, containerError(name, err)
		}
		if !c.Running {
			return nil, nil, notRunning(name)
		}
		proc := filepath.Join(h.proc, strconv.Itoa(c.Pid))
		f, err = openNetns(filepath.Join(proc, "ns", "net"))
		if err == nil && !h.isOf(proc, f, c) {
			f.Close()
			err = fs.ErrNotExist
		}
		again, err2 := h.container(ctx, name)
		if err2 == nil && again.Running && again.Pid == c.Pid && again.Started == c.Started {
			break
		}
		if err == nil {
			f.Close()
		}
		err = errMoving
	}
	switch {
	case errors.Is(err, errMoving):
		return nil, nil, fmt.Errorf("--container %s: %w", name, err)
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, refused("--container %s: process %d, which %s says it is, is not a process of that container here", name, c.Pid, c.Engine).
			hint("Its engine is on another machine, in a virtual machine, or in another PID namespace: run faultctl where the engine runs.")
	case err != nil:
		return nil, nil, netnsError("--container "+name, err)
	}
	if wide && (c.HostNetwork || h.isOwn(f)) {
		f.Close()
		return nil, nil, refused("--container %s: it has no network namespace of its own but uses the host's, and every connection of the host would be struck", name).
			hint("Say which connections with --to or --from, or with --cgroup, which knows its processes apart from the others.")
	}
	return f, c, nil
}

var errMoving = errors.New("it is restarted again and again")

// isOf reports whether a process is one of the container: by the namespace that
// the engine keeps, by its cgroup, or by the files that engines mount into a
// container from a directory that has its ID.
func (h *host) isOf(proc string, ns *os.File, c *containers.Container) bool {
	mine, err := ns.Stat()
	if err != nil || len(c.ID) < 12 {
		return false
	}
	// An engine with a mount namespace of its own leaves an empty file here.
	if sandbox, err := openNetns(c.Sandbox); err == nil {
		defer sandbox.Close()
		is, err := sandbox.Stat()
		return err == nil && os.SameFile(mine, is)
	}
	for _, file := range []string{"cgroup", "mountinfo"} {
		if text, err := os.ReadFile(filepath.Join(proc, file)); err == nil && bytes.Contains(text, []byte(c.ID)) {
			return true
		}
	}
	return false
}

// isOwn reports whether a network namespace is the one that faultctl is in.
func (h *host) isOwn(ns *os.File) bool {
	mine, err1 := ns.Stat()
	own, err2 := os.Stat(filepath.Join(h.proc, "self", "ns", "net"))
	return err1 == nil && err2 == nil && os.SameFile(mine, own)
}

func notRunning(name string) error {
	return usageError("--container %s: %w", name, errNotRunning).hint("Start it first: its connections end with it.")
}

var errNotRunning = errors.New("it is not running")

// containerError says what to do about an error of Find.
func containerError(name string, err error) error {
	var none *containers.NotFound
	switch {
	case errors.As(err, &none):
		e := usageError("--container %s: %w%s", name, err, words.DidYouMean(name, none.Names))
		if len(none.Names) == 0 {
			return e.hint("There is no container at all; docker ps and podman ps list those of each user.")
		}
		return e.hint("There are " + strings.Join(none.Names, ", ") + ".")
	case errors.Is(err, containers.ErrPermission):
		return &exitError{code: exitPreflight, err: fmt.Errorf("--container %s: %w", name, err),
			advice: "Run it with sudo, or as a user of the socket's group, often docker. For a rootless engine: as the user whose it is."}
	case errors.Is(err, containers.ErrNoEngine):
		return &exitError{code: exitPreflight, err: fmt.Errorf("--container %s: %w", name, err),
			advice: "Start Docker, or Podman's service (systemctl start podman.socket), or say with DOCKER_HOST where it listens. " +
				"--pid and --netns need no engine."}
	case errors.Is(err, containers.ErrAmbiguous):
		return usageError("--container %s: %w", name, err)
	}
	return fmt.Errorf("--container %s: %w", name, err)
}

// where says in which network namespace a container is.
func where(name string, c *containers.Container) string {
	s := "that of container " + name
	switch {
	case c.HostNetwork:
		s += ", which is the host's"
	case c.SharedWith != "":
		s += ", which it shares"
	}
	return s
}

// lookAgain is how often a container is looked at, besides when its engine
// tells of it.
const lookAgain = 2 * time.Second

// contained is a session in a container's network namespace. It goes along when
// the container is restarted, or made anew under its name: each time the rules
// go into the new namespace, and connections are chosen anew.
type contained struct {
	h    *host
	p    *plan
	say  func(targetChange)
	wide bool

	state locked[containedState]
}

// containedState is what other goroutines ask for and change.
type containedState struct {
	cfg injector.Config
	run session           // the one at work, or the last one
	sum injector.Snapshot // of those before it
}

func (h *host) containedSession(p *plan, cfg injector.Config, say func(targetChange)) (session, error) {
	first, err := h.start(cfg)
	if err != nil {
		return nil, err
	}
	m := cfg.Rules[0].Match
	c := &contained{h: h, p: p, say: say, wide: len(m.To) == 0 && len(m.From) == 0 && m.Owner.Any()}
	c.state.v = containedState{cfg: cfg, run: first}
	return c, nil
}

func (c *contained) Stats() (s injector.Snapshot) {
	c.state.with(func(st *containedState) { s = st.sum.Plus(st.run.Stats()) })
	return s
}

func (c *contained) Ruleset() (s string) {
	c.state.with(func(st *containedState) { s = st.run.Ruleset() })
	return s
}

func (c *contained) SetShare(rule int, share float64) (err error) {
	c.state.with(func(st *containedState) {
		if err = st.run.SetShare(rule, share); err == nil {
			st.cfg.Rules[rule].Pick.Share = target.ShareOf(share)
		}
	})
	return err
}

func (c *contained) Retarget(rule int, m target.Matcher) (err error) {
	c.state.with(func(st *containedState) {
		if err = st.run.Retarget(rule, m); err == nil {
			st.cfg.Rules[rule].Match = m
		}
	})
	return err
}

// Run works in one namespace of the container after the other.
func (c *contained) Run(ctx context.Context) error {
	for n := uint64(0); ; n++ {
		ns, box, err := c.open(ctx, n > 0)
		if err != nil || ns == nil {
			return err
		}
		if n > 0 {
			c.tell("runs again: the rules go into its new network namespace")
		}
		err = c.stay(ctx, ns, box, n)
		ns.Close()
		if err != nil || ctx.Err() != nil {
			return err
		}
		c.tell("has stopped, and its connections with it; waiting until it runs again")
	}
}

func (c *contained) tell(says string) {
	c.say(targetChange{c.h.now(), "container " + c.p.container, says})
}

// open waits until the container runs, if it may wait, and opens its namespace:
// nil, if ctx ends before.
func (c *contained) open(ctx context.Context, wait bool) (*os.File, *containers.Container, error) {
	for ctx.Err() == nil {
		ns, box, err := c.h.openContainer(ctx, c.p.container, c.wide)
		if err == nil || !wait || exitCode(err) == exitRefused {
			return ns, box, err
		}
		select {
		case <-c.h.after(lookAgain / 4):
		case <-ctx.Done():
		}
	}
	return nil, nil, nil
}

// stay works in one namespace until ctx ends or the container leaves it.
func (c *contained) stay(ctx context.Context, ns *os.File, box *containers.Container, n uint64) error {
	here, leave := context.WithCancel(ctx)
	defer leave()
	var run session
	var err error
	c.state.with(func(st *containedState) {
		cfg := st.cfg
		cfg.NetNS = ns
		cfg.Seed += n
		if n > 0 {
			st.sum = st.sum.Plus(st.run.Stats())
		}
		if most := cfg.Rules[0].Pick.Max; most > 0 {
			cfg.Rules = append([]injector.Rule(nil), cfg.Rules...)
			if struck := chosenIn(st.sum); struck >= most {
				cfg.Rules[0].Pick.Skip = ^uint64(0) // all that may be struck, was
			} else {
				cfg.Rules[0].Pick.Max -= struck
			}
		}
		if run, err = c.h.start(cfg); err == nil {
			st.run = run
		}
	})
	if err != nil {
		return err
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		c.watch(here, box, leave)
	}()
	err = run.Run(here)
	leave()
	<-left
	return err
}

// watch calls leave when the container is no longer where it was. An engine
// that does not answer says nothing about that.
func (c *contained) watch(ctx context.Context, box *containers.Container, leave func()) {
	bell := make(chan struct{}, 1)
	told := make(chan struct{})
	go func() {
		defer close(told)
		c.h.watchContainer(ctx, box, c.p.container, func() {
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
		case <-c.h.after(lookAgain):
		case <-ctx.Done():
			return
		}
		now, err := c.h.container(ctx, c.p.container)
		switch {
		case errors.Is(err, containers.ErrNone), err == nil && (!now.Running || now.Pid != box.Pid || now.Started != box.Started || now.ID != box.ID):
			leave()
			return
		}
	}
}

// chosenIn is how many connections were chosen by the first rule.
func chosenIn(s injector.Snapshot) uint64 {
	if len(s.Rules) == 0 {
		return 0
	}
	return s.Rules[0].Chosen
}
