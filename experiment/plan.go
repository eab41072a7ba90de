package experiment

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/rights"
	"github.com/faultctl/faultctl/internal/words"
)

// untargetedFor is how long a run without a target lasts unless its Spec says
// otherwise.
const untargetedFor = 15 * time.Minute

// A Plan is a Spec that was understood on this host: names are resolved, the
// network namespace is open, the connections that must not be touched are
// known. Nothing has been touched. It is for one goroutine, and must be closed.
type Plan struct {
	Spec Spec // as given, with the seed that the run will use

	NetNS      string // the network namespace in words; empty is the caller's own
	Everything bool   // the target is every connection of the caller's own namespace
	Note       string // what a person must know about where faults act and a command runs; often empty
	Protected  []target.Conn

	// Name is what events and reports call the run if it is one of several: the
	// case of a verify, the entry of a scenario. Empty for a run of its own.
	Name string

	sys       *System
	cfg       injector.Config // its first rule is the one that there is
	spared    []target.Endpoint
	names     *names
	owner     string // whose connections, in words
	isolated  bool
	account   *place.Account // who runs the command; nil: the user who runs faultctl
	shared    bool           // the command's connections are not told from others in the network namespace
	observers []Observer
	around    around // who else may have connections of the target

	caged *target.Owner                   // of the cage of its command; nil: it is in none yet
	moved *atomic.Pointer[target.Matcher] // where names have led meanwhile, shared with its variants; nil: nowhere else
}

// An Observer is told what happens in a run. Any field may be nil.
type Observer struct {
	// Event is told of each event, in order, by one goroutine at a time. The
	// packet path never waits for it: when it is slower than the events, some
	// are lost, and counted in Stats.
	Event func(at time.Time, e event.Event)

	// Packet is told of each packet of a chosen connection that enters user
	// space, likewise. HeadersOnly says that it does without payloads.
	Packet      func(injector.Packet)
	HeadersOnly bool

	// Installed is called once, when the rules are in for the first time, before that
	// is told and before a command starts that was to start under them.
	Installed func()

	// Ending is called once, when the run begins to end, for whatever reason.
	Ending func()

	// Stats is told where the counters of the run are, before its rules go in.
	Stats func(func() injector.Snapshot)
}

// NewPlan understands a Spec on this host and touches nothing. The error is
// event.Problems, or an *event.Error, or wraps one of injector's errors.
func NewPlan(ctx context.Context, s Spec) (*Plan, error) { return NewSystem().Plan(ctx, s) }

// Plan is NewPlan on any system.
func (sys *System) Plan(ctx context.Context, s Spec) (*Plan, error) {
	if problems := s.Validate(); len(problems) > 0 {
		return nil, problems
	}
	if danger := rights.Own().Danger(); danger != "" && !sys.Caged {
		return nil, event.Refusedf("", "%s", danger).WithAdvice(rights.DangerAdvice)
	}
	p := &Plan{Spec: s.Clone(), sys: sys, moved: new(atomic.Pointer[target.Matcher])}
	models, problems := s.models()
	if len(problems) > 0 {
		return nil, problems
	}
	names := newNames(sys)
	match, problems := readMatcher(ctx, &s.Target, names.lookup)
	if len(problems) > 0 {
		return nil, problems
	}
	p.names = names // what they stand for may change
	var err error
	if p.owner, err = sys.owner(&s.Target, &match); err != nil {
		return nil, err
	}
	p.Everything = match.Wide() && !s.Target.elsewhere()
	if len(s.Command) > 0 { // nobody else's connections are touched
		p.aimAtCommand()
	}
	if v := sys.Getenv("FAULTCTL_REQUIRE_TARGET"); p.Everything && demanded(v) {
		return nil, targetDemanded(v)
	}
	if p.Spec.Seed == nil {
		p.Spec.Seed = new(sys.Seed())
	}
	p.Protected = sys.Host.Protected(p.Everything)
	for _, c := range p.Protected {
		if match.Names(c) {
			return nil, protectedError(c)
		}
	}
	p.cfg = injector.Config{
		Seed: *p.Spec.Seed, Queues: s.Queues, Protect: p.Protected, Judge: len(s.Command) > 0, Logger: cmp.Or(sys.Logger, slog.New(slog.DiscardHandler)),
		Rules: []injector.Rule{{Match: match, Pick: s.Target.Pick(), Faults: models}},
	}
	p.limitWide()
	if len(s.Command) > 0 {
		if p.account, err = sys.AccountOf(s.User); err != nil {
			return nil, err
		}
		p.sayWho()
	}
	// The namespace comes last, so that an error leaves nothing open.
	p.cfg.NetNS, p.NetNS, err = sys.openNetNS(ctx, &s.Target, match.Wide())
	if err != nil {
		return nil, err
	}
	if err = p.shareNetNS(); err != nil {
		p.Close()
		return nil, err
	}
	if err := sys.allowed(nil, &p.Spec, &match, p.Duration(), len(s.Command) > 0 && !p.shared); err != nil {
		p.Close()
		return nil, err
	}
	p.noteNAT()
	p.lookAround()
	return p, nil
}

// shareNetNS finds out whether the connections of the plan's command can be told from
// those of others in the network namespace. If not, as in most containers, the plan is
// about all that are opened there while the command runs.
func (p *Plan) shareNetNS() error {
	if len(p.Spec.Command) == 0 || p.sys.Caged || p.sys.Shares == nil {
		return nil
	}
	why := p.sys.Shares(p.cfg.NetNS)
	if why == nil {
		return nil
	}
	match := &p.cfg.Rules[0].Match
	if v := p.sys.Getenv("FAULTCTL_REQUIRE_TARGET"); match.Wide() && p.NetNS == "" && demanded(v) {
		return targetDemanded(v)
	}
	p.shared, p.owner = true, ""
	p.cfg.Rules[0].Pick = p.pickOf(&p.Spec)
	if p.NetNS == "" {
		p.Protected = p.sys.Host.Protected(match.Wide())
		p.cfg.Protect = p.Protected
	}
	p.note("%v, so the command's connections cannot be told apart: every connection that is opened in this network namespace while it runs counts as the command's", why)
	return nil
}

// note adds to what a person must know about where faults act and the command runs.
func (p *Plan) note(format string, args ...any) {
	if p.Note != "" {
		p.Note += "; "
	}
	p.Note += fmt.Sprintf(format, args...)
}

// sayWho says who runs the command, where that may surprise.
func (p *Plan) sayWho() {
	switch {
	case p.account == nil:
	case p.Spec.User == "":
		p.note("the command runs as %s, who called sudo (--user root runs it as root)", p.account.Name)
	default:
		p.note("the command runs as %s", p.account.Name)
	}
}

// FindCommand returns the path of the plan's command. The error has the exit code for
// faultctl run.
func (p *Plan) FindCommand() (string, error) { return place.FindCommand(p.Spec.Command[0], p.account) }

func protectedError(c target.Conn) error {
	return event.Refusedf("", "the target is the connection that faultctl itself depends on, %v to %v, which is protected", c.A, c.B).
		WithAdvice("Striking it would cut you off. Leave it out, or run faultctl from the console, or over another connection.")
}

// aimAtCommand has the plan strike the connections of its command only.
func (p *Plan) aimAtCommand() {
	p.Spec.Command = place.Afresh(p.Spec.Command)
	p.Everything, p.owner = false, "the command"
	if p.isolated = p.sys.Caged; p.isolated {
		why := "without root's rights"
		if p.Spec.Isolate {
			why = "--isolate"
		}
		p.note("%s: the command runs in a network namespace of its own and reaches, over loopback, only services that it starts itself", why)
	}
}

// pickOf is how a Spec chooses connections. What was open before the command began is
// not the command's.
func (p *Plan) pickOf(s *Spec) target.Pick {
	pick := s.Target.Pick()
	pick.NewOnly = pick.NewOnly || p.shared && s.StartAfter == 0
	return pick
}

// openNetNS opens the network namespace of a target: nil is the caller's own.
func (sys *System) openNetNS(ctx context.Context, t *Target, wide bool) (f *os.File, words string, err error) {
	switch {
	case t.Container != "":
		f, found, err := sys.OpenContainer(ctx, t.Container, wide)
		if err != nil {
			return nil, "", err
		}
		return f, place.Where(t.Container, found), nil
	case t.PID != 0:
		f, err := sys.OpenNetNSOf(t.PID)
		return f, "that of process " + strconv.Itoa(t.PID), err
	case t.NetNS != "":
		f, err := sys.OpenNetNS(t.NetNS)
		return f, t.NetNS, err
	}
	return nil, "", nil
}

// demanded reads an environment variable that turns a safety rail on: whatever
// does not clearly say no means yes.
func demanded(v string) bool {
	no, err := strconv.ParseBool(v)
	return v != "" && (err != nil || no) && !strings.EqualFold(v, "no") && !strings.EqualFold(v, "off")
}

// Close gives back what the plan holds open. No run of it may go on.
func (p *Plan) Close() error {
	if p.cfg.NetNS == nil {
		return nil
	}
	return p.cfg.NetNS.Close()
}

// matcher is which connections the next run is about.
func (p *Plan) matcher() target.Matcher {
	m := p.cfg.Rules[0].Match
	if led := p.moved.Load(); led != nil {
		m = *led
		m.Owner = p.cfg.Rules[0].Match.Owner // who shares it may have a cage of its own
	}
	if p.caged != nil {
		m.Owner = *p.caged
	}
	return m
}

// Observe has o told what happens in the runs of the plan, after those who
// observe it already. It is called before Start.
func (p *Plan) Observe(o Observer) { p.observers = append(p.observers, o) }

// Choose has the plan strike the connections of these ordinals instead of what
// its target chooses, as a replay does.
func (p *Plan) Choose(only *target.Ordinals) { p.cfg.Rules[0].Pick.Only = only }

// Spare leaves connections to a service of faultctl's own alone. A target that
// cannot mean them stays as it is.
func (p *Plan) Spare(own netip.AddrPort) {
	if p.sys.Caged || p.cfg.NetNS != nil && !p.sys.IsOwn(p.cfg.NetNS) {
		return
	}
	service := target.Endpoint{LowPort: own.Port(), HighPort: own.Port()}
	if !own.Addr().IsUnspecified() {
		service.Prefix = target.Single(own.Addr())
	}
	m := &p.cfg.Rules[0].Match
	if len(m.To) > 0 && !slices.ContainsFunc(m.To, func(to target.Endpoint) bool {
		if own.Addr().IsUnspecified() {
			to.Prefix = netip.Prefix{} // any address of this host
		}
		return to.Contains(own)
	}) {
		return
	}
	p.spared = []target.Endpoint{service}
	m.Except = slices.Concat(m.Except, p.spared)
}

// Seed is the seed that the run will use.
func (p *Plan) Seed() uint64 { return p.cfg.Seed }

// Duration is how long the run lasts from the moment at which it is ready; zero
// means until it is stopped.
func (p *Plan) Duration() time.Duration {
	switch {
	case p.Spec.Duration != nil:
		return *p.Spec.Duration
	case p.Everything:
		return untargetedFor
	}
	return 0
}

// Isolated reports whether the command of the plan runs in a network namespace of
// its own.
func (p *Plan) Isolated() bool { return p.isolated }

// ExpectsFired reports whether a fault that never fires is a failure.
func (p *Plan) ExpectsFired() bool {
	return !p.Spec.AllowIdle && (p.Spec.ExpectFired || len(p.Spec.Command) > 0)
}

// Pick is how connections are chosen among those that match.
func (p *Plan) Pick() target.Pick { return p.cfg.Rules[0].Pick }

// Config is what the injector is started with; the observers are not in it yet.
// A plan with a command shows the owner that the command's processes will have.
func (p *Plan) Config() injector.Config {
	cfg := p.cfg
	cfg.Rules = slices.Clone(cfg.Rules)
	if len(p.Spec.Command) > 0 && !p.sys.Caged && !p.shared {
		cfg.Rules[0].Match.Owner = p.sys.Foreseen()
	}
	return cfg
}

// Preflight finds out now what would keep the run from beginning.
func (p *Plan) Preflight() error { return p.sys.Preflight(p.cfg) }

// Ruleset is what the run would put in, in nft syntax.
func (p *Plan) Ruleset() (string, error) { return p.sys.Ruleset(p.Config()) }

// The network namespaces in events that have no name.
const (
	ownNetNS      = "self"     // the caller's own
	isolatedNetNS = "isolated" // made for the command, with loopback only
)

// Where is the network namespace as events say it.
func (p *Plan) Where() string {
	if p.isolated {
		return isolatedNetNS
	}
	return cmp.Or(p.NetNS, ownNetNS)
}

// Scope says in words which connections the run is about.
func (p *Plan) Scope() string {
	var parts []string
	for _, t := range p.Spec.Target.To {
		if rest, except := strings.CutPrefix(t, "!"); except {
			parts = append(parts, "except to "+words.Foreign(rest))
		} else {
			parts = append(parts, "to "+words.Foreign(t))
		}
	}
	for _, f := range p.Spec.Target.From {
		parts = append(parts, "from "+words.Foreign(f))
	}
	s := "every TCP connection"
	if m := &p.cfg.Rules[0].Match; len(parts) > 0 {
		s = "connections " + strings.Join(parts, ", ")
		if len(m.To) == 0 && len(m.From) == 0 {
			s = "every TCP connection " + strings.Join(parts, ", ")
		}
	}
	if strings.Contains(s, "%") {
		s += " (whatever the zone)" // packets carry none
	}
	if p.owner != "" {
		s += " of " + words.Foreign(p.owner)
		parts = append(parts, p.owner)
	}
	if p.NetNS != "" {
		return s + " in the network namespace " + words.Foreign(strings.TrimPrefix(p.NetNS, "that "))
	}
	if len(parts) == 0 {
		return s + " of this network namespace"
	}
	return s
}
