package experiment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/policy"
	"github.com/faultctl/faultctl/injector/target"
)

// wideShare is the share of the connections, in percent, up to which a target that is
// every connection of the host does not count as wide.
const wideShare = 10

// wideMost is how many connections a run chooses at most whose target is wide, unless its
// Spec says otherwise.
const wideMost = 1000

// limitWide gives a plan a limit that strikes more than wideShare percent of all
// connections of the host, and has none of its own.
func (p *Plan) limitWide() {
	t := &p.Spec.Target
	if !p.Everything || t.MaxConnections != 0 || t.First != 0 || t.Percent != nil && *t.Percent <= wideShare {
		return
	}
	t.MaxConnections = wideMost
	p.cfg.Rules[0].Pick.Max = wideMost
	p.note("every connection of this host is a target, so no more than %d are chosen (--max-connections N sets another limit)", wideMost)
}

// caller is the user for whom runs are planned: whoever asked through the API, or called
// sudo, or runs this process.
func (sys *System) caller(by *event.Actor) uint32 {
	if by == nil {
		by = sys.By
	}
	if by != nil {
		return uint32(by.UID)
	}
	if uid := os.Getuid(); uid != 0 {
		return uint32(uid)
	}
	if uid, err := strconv.ParseUint(sys.Getenv("SUDO_UID"), 10, 32); err == nil {
		return uint32(uid)
	}
	return 0
}

// allowed reports what the host's policy says against a Spec whose ends are those of m. It
// is asked when a run is planned and whenever it is changed or its names move. own says that the
// run strikes only connections of a command that it starts.
func (sys *System) allowed(by *event.Actor, s *Spec, m *target.Matcher, lasts time.Duration, own bool) error {
	if sys.Policy == nil || sys.Caged { // in namespaces of its own there is nobody else to strike
		return nil
	}
	p, err := sys.Policy()
	if err != nil {
		return event.Refusedf("", "the policy of this host cannot be read, so nothing is allowed: %w", err).WithAdvice("Whoever runs this host must correct " + policy.File + ".")
	}
	q := policy.Request{UID: sys.caller(by), To: m.To, Own: own, Duration: lasts, Connections: s.Target.MaxConnections, Percent: 100, Elsewhere: s.Target.elsewhere(), As: s.User}
	if s.Target.Percent != nil {
		q.Percent = *s.Target.Percent
	}
	for _, f := range s.Faults {
		if !slices.Contains(q.Faults, f.Name) {
			q.Faults = append(q.Faults, f.Name)
		}
	}
	for _, word := range []string{"pcap", "report", "metrics"} {
		if s.Get(word) != nil {
			q.Files = append(q.Files, word)
		}
	}
	if err := p.Allows(q); err != nil {
		sys.audit(fmt.Sprintf("refused %s: %v", sys.who(by), err))
		return event.Refusedf("", "the policy of this host forbids it: %w", err).WithAdvice(policy.File + " says what is allowed here; root can change it.")
	}
	return nil
}

// audit writes a line to the host's log of who did what, if there is one.
func (sys *System) audit(line string) {
	if sys.Audit != nil {
		sys.Audit(line)
	}
}

// who says for whom something is done: the user, and the one who logged in, which sudo and
// su do not change (/proc/self/loginuid).
func (sys *System) who(by *event.Actor) string {
	text := fmt.Sprintf("for uid=%d", sys.caller(by))
	if login, err := os.ReadFile(sys.Proc + "/self/loginuid"); err == nil {
		if id := strings.TrimSpace(string(login)); id != "" && id != noLogin {
			text += " login=" + id
		}
	}
	if by == nil {
		by = sys.By
	}
	if by != nil {
		return text + fmt.Sprintf(" by-pid=%d", by.PID)
	}
	return text
}

// noLogin is the login of a process that nobody who logged in has started: -1.
const noLogin = "4294967295"

// auditStart writes down that the run begins, and auditEnd how it ended.
func (r *Run) auditStart() {
	p := r.plan
	lasts := "until stopped"
	if d := p.Duration(); d > 0 {
		lasts = d.String()
	}
	r.sys.audit(fmt.Sprintf("began %s run=%q faults=%q target=%q lasts=%q seed=%d", r.sys.who(nil), p.Name, strings.Join(p.Spec.FaultNames(), " "), p.Scope(), lasts, p.Seed()))
}

func (r *Run) auditEnd() {
	chosen, why := uint64(0), "stopped"
	for _, rule := range r.result.Stats.Rules {
		chosen += rule.Chosen
	}
	switch {
	case r.err != nil:
		why = r.err.Error()
	case r.result.Cause != nil && !errors.Is(r.result.Cause, context.Canceled):
		why = r.result.Cause.Error()
	}
	r.sys.audit(fmt.Sprintf("ended %s run=%q took=%s connections=%d why=%q", r.sys.who(nil), r.plan.Name, r.result.Took.Round(time.Millisecond), chosen, why))
}

func targetDemanded(v string) error {
	return event.Refusedf("", "no target, and FAULTCTL_REQUIRE_TARGET=%s demands one", v).
		WithAdvice("Say which connections: --to :5432, --from 10.0.0.7 or --netns NAME.")
}

// hostPolicy reads the policy in a file each time that it is asked. A process that has
// given up the right to read it goes on with what it read last.
func hostPolicy(file string) func() (*policy.Policy, error) {
	var mu sync.Mutex
	var last *policy.Policy
	var has bool
	return func() (*policy.Policy, error) {
		mu.Lock()
		defer mu.Unlock()
		p, err := policy.Load(file)
		switch {
		case err == nil:
			last, has = p, true
		case has && errors.Is(err, fs.ErrPermission):
			return last, nil
		}
		return p, err
	}
}
