package experiment

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/policy"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/cage"
	"github.com/faultctl/faultctl/internal/containers"
)

// System is the host and the engine with which runs are planned and started.
// NewSystem returns the real one; a test may replace any part before use.
type System struct {
	place.Host

	Logger *slog.Logger // for operators; nil: no logging

	// ShowSecrets keeps secrets in command lines and in what commands print, in
	// events, reports and texts. False leaves out what docs/SAFETY.md lists.
	ShowSecrets bool

	// Policy reads the policy of the host each time that it is asked; nil: there is none.
	// By is for whom runs are planned, if that is not the caller of this process. Audit
	// writes a line into the host's log for each run that begins, ends or is refused; nil:
	// none are written.
	Policy func() (*policy.Policy, error)
	By     *event.Actor
	Audit  func(line string)

	Seed func() uint64 // draws a random seed that a float64 can represent exactly

	Start     func(context.Context, injector.Config) (Engine, error) // returns when the rules are installed
	Ruleset   func(injector.Config) (string, error)                  // the rules that Start would install
	Preflight func(injector.Config) error                            // why Start would fail

	// Began is told of each run before its rules go in, if it is not nil. The run is
	// over, and its Done closed, even if it does not begin in the end.
	Began func(*Run)

	// Ask checks once what Spec.While says; nil: it is asked or run.
	Ask func(ctx context.Context, check string) error

	Lookup       target.Resolver
	FindCgroup   func(name string) (*target.Cgroup, error)
	Translations func(netns *os.File, m target.Matcher) ([]injector.Translation, error)
	FindNAT      func(netns *os.File) (injector.NAT, error)

	// Translator opens, before a run, what Translations asks at its end, for a
	// process that may not enter the namespace any more then. Nil: Translations is
	// asked.
	Translator func(netns *os.File) (Translator, error)

	// Caged says that commands have a network namespace of their own here, with
	// loopback only; Isolated says why: without root, or because the user asked
	// for it.
	Caged    bool
	MakeCage func(netns *os.File) (cage.Cage, error)
	Foreseen func() target.Owner // the owner that the next cage will have

	// Shares says why the next cage cannot tell the command's connections from those of
	// others in its network namespace; nil: it can, or there will be none.
	Shares func(netns *os.File) error

	// LooseCage makes a cage for commands that MakeCage can make none for.
	LooseCage func() (cage.Cage, error)
}

// Translator is the part of injector.Translator that a Run uses.
type Translator interface {
	Find(m target.Matcher) ([]injector.Translation, error)
	Close()
}

// Engine is a run of the injector: the part of injector.Injector that a Run
// uses.
type Engine interface {
	Stats() injector.Snapshot
	Ruleset() string
	Retarget(rule int, m target.Matcher) error
	SetShare(rule int, share float64) error
	SetModels(rule int, models []injector.NamedModel) error
	Strike(rule int, client, server netip.AddrPort) (injector.When, error)
	Spare(rule int, client, server netip.AddrPort) error
	Unchosen(rule, limit int) []injector.Flow
	Pause() error
	Resume() error
	Stop() error
	Done() <-chan struct{}
	Wait() error
}

// NewSystem returns the real host and engine.
func NewSystem() *System {
	return &System{
		Host: place.Host{
			Now: time.Now, After: time.After, Proc: "/proc", NetNSDirs: []string{"/run/netns", "/var/run/netns"}, Getenv: os.Getenv, Local: localAddrs,
			Container:      new(containers.Engines).Find,
			ContainerNames: func() []string { return new(containers.Engines).Names(context.Background()) },
			WatchContainer: func(ctx context.Context, c *containers.Container, name string, happened func()) {
				_ = c.Watch(ctx, name, happened) // without an engine the container is checked at intervals only
			},
		},
		Policy: hostPolicy(policy.File),
		Seed:   func() uint64 { return uint64(rand.Uint32()) },
		Start: func(ctx context.Context, cfg injector.Config) (Engine, error) {
			i, err := injector.Start(ctx, cfg)
			if err != nil {
				return nil, err // a nil *Injector must not become an Engine
			}
			return i, nil
		},
		Ruleset: injector.Ruleset, Preflight: injector.Preflight,
		Lookup: func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		},
		FindCgroup:   target.FindCgroup,
		Translations: injector.Translations,
		FindNAT:      injector.FindNAT,
		MakeCage:     cage.New,
		Foreseen:     cage.Foreseen,
		Shares:       cage.Shares,
		Translator: func(ns *os.File) (Translator, error) {
			t, err := injector.OpenTranslator(ns)
			if err != nil {
				return nil, err
			}
			return t, nil
		},
		LooseCage: func() (cage.Cage, error) { return cage.NewLoose(), nil },
	}
}

// localAddrs lists the addresses of this network namespace. One address
// stands for the whole loopback network.
func localAddrs() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var addrs []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			addrs = append(addrs, p.Addr().Unmap())
		}
	}
	return addrs
}
