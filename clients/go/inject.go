package faultctl

import (
	"context"
	"crypto/rand"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/control"
	"github.com/faultctl/faultctl/experiment/event"
)

// An Option says more about a fault: which connections, how many, for how long.
type Option func(*settings)

type settings struct {
	words, target map[string]any
	lease         time.Duration
	allowIdle     bool
	server        *Server
}

// To names services, such as localhost:5432 or :5432.
func To(services ...string) Option { return Target("to", services) }

// Target sets a word of the target, such as percent, first or netns.
func Target(word string, value any) Option {
	return func(s *settings) { s.target[word] = value }
}

// Word sets another word of a run, such as duration or seed.
func Word(word string, value any) Option {
	return func(s *settings) { s.words[word] = value }
}

// And adds a fault that strikes the same connections.
func And(fault string) Option {
	return func(s *settings) { s.words["fault"] = append(s.words["fault"].([]string), fault) }
}

// AllowIdle lets the test pass if the fault never fired.
func AllowIdle() Option { return func(s *settings) { s.allowIdle = true } }

// Lease is after how long the fault ends if this process hangs or is killed, at least
// one second; 15 seconds if it is not set. It is renewed in the background.
func Lease(d time.Duration) Option { return func(s *settings) { s.lease = d } }

// On has another faultctl do the work than the one of [Default].
func On(server *Server) Option { return func(s *settings) { s.server = server } }

// Injection is a fault that is in force.
type Injection struct {
	t         testing.TB
	name      string
	client    *control.Client
	allowIdle bool
	renewing  context.CancelFunc
	renewed   chan struct{}
	once      sync.Once
	result    control.Experiment
	err       error
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9._-].*`)

// Inject has a fault in force from when it returns until the end of the test. The fault
// is a SPEC as on the command line, such as delay:by=50ms. An option must say which
// connections there are. The test fails at once if that is refused, and at its end if
// the fault never fired, or ended before. It must be called from the goroutine that runs
// the test.
func Inject(t testing.TB, fault string, options ...Option) *Injection {
	t.Helper()
	i, err := inject(t, fault, options)
	if err != nil {
		t.Fatalf("faultctl.Inject(%s): %s", fault, withAdvice(err))
	}
	t.Cleanup(func() {
		t.Helper()
		i.Stop()
		i.judge()
	})
	return i
}

func inject(t testing.TB, fault string, options []Option) (*Injection, error) {
	s := &settings{words: map[string]any{"fault": []string{fault}}, target: map[string]any{}, lease: 15 * time.Second}
	for _, o := range options {
		o(s)
	}
	named := false
	for _, word := range []string{"to", "from", "netns", "container", "cgroup", "uid"} {
		named = named || s.target[word] != nil
	}
	switch {
	case !named:
		return nil, event.Usagef("to", "no connections are named").WithAdvice(`Name the service: faultctl.To("localhost:5432").`)
	case s.lease < time.Second:
		return nil, event.Usagef("lease", "it is at least a second")
	}
	s.words["target"] = s.target
	if s.server == nil {
		var err error
		if s.server, err = Default(); err != nil {
			return nil, err
		}
	}
	i := &Injection{t: t, client: s.server.Client, allowIdle: s.allowIdle, renewed: make(chan struct{})}
	base := notInName.ReplaceAllString(fault, "")
	i.name = base[:min(len(base), 40)] + "-" + strings.ToLower(rand.Text()[:12])
	if _, err := i.client.Put(context.Background(), i.name, s.words, s.lease); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	i.renewing = cancel
	go i.renew(ctx, s.lease/3)
	return i, nil
}

// renew renews the lease until ctx is done. How a fault ended that is gone, Stop finds out.
func (i *Injection) renew(ctx context.Context, every time.Duration) {
	defer close(i.renewed)
	for tick := time.NewTicker(every); ; {
		select {
		case <-tick.C:
			i.client.Renew(ctx, i.name)
		case <-ctx.Done():
			tick.Stop()
			return
		}
	}
}

// Stop ends the fault before the test does. Everything is as it was before when it
// returns. It may be called more than once.
func (i *Injection) Stop() {
	i.t.Helper()
	i.once.Do(func() {
		i.renewing()
		<-i.renewed
		if i.result, i.err = i.client.Finish(context.Background(), i.name); i.err != nil {
			i.t.Errorf("stop %s: %s", i.name, withAdvice(i.err))
		}
	})
}

// judge fails the test if nothing was learnt of the fault. It is stopped.
func (i *Injection) judge() {
	i.t.Helper()
	switch {
	case i.err != nil || i.t.Skipped():
		return
	case i.result.End == control.EndLease:
		i.t.Errorf("%s ended before the test: this process did not renew its lease in time", i.name)
	case i.result.End == control.EndError:
		i.t.Errorf("%s ended before the test: %s", i.name, i.result.Error)
	}
	for _, j := range i.result.Judged {
		if i.t.Logf("%s: %s, on %d connections", j.Fault, j.Verdict, j.Fired); j.Idle && !i.allowIdle {
			i.t.Errorf("%s: %s: %s", j.Fault, j.Verdict, j.Why)
		}
	}
}

// Fired is on how many connections the fault has acted so far.
func (i *Injection) Fired() int {
	i.t.Helper()
	if i.result.Name != "" {
		return int(i.result.Counts.Fired)
	}
	x, err := i.client.Experiment(context.Background(), i.name)
	i.must(err)
	return int(x.Counts.Fired)
}

// Update changes the fault while it is in force: words of a run as data, such as
// {"target": {"percent": 20}}.
func (i *Injection) Update(words map[string]any) {
	i.t.Helper()
	_, err := i.client.Change(context.Background(), i.name, words)
	i.must(err)
}

// Pause lets packets pass until Resume.
func (i *Injection) Pause() {
	i.t.Helper()
	i.must(i.client.PauseRun(context.Background(), i.name))
}

// Resume ends a pause: the next matching packet is judged.
func (i *Injection) Resume() {
	i.t.Helper()
	i.must(i.client.ResumeRun(context.Background(), i.name))
}

func (i *Injection) must(err error) {
	i.t.Helper()
	if err != nil {
		i.t.Fatalf("%s: %s", i.name, withAdvice(err))
	}
}

func withAdvice(err error) string {
	if advice := event.AdviceOf(err); advice != "" {
		return fmt.Sprintf("%v\n  %s", err, advice)
	}
	return err.Error()
}
