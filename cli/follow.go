package cli

import (
	"context"
	"slices"
	"sync"
	"time"
)

// targetChange is what became of a target while a run went on.
type targetChange struct {
	at     time.Time
	target string // what was given: a host name, a container
	says   string // what it is now, in words
}

// session makes the session of a plan, which follows its target where that
// moves. say is told of it.
func (h *host) session(p *plan, say func(targetChange)) (session, error) {
	cfg := p.cfg
	if p.target.names != nil { // they may have moved since the plan was made
		cfg.Rules = slices.Clone(cfg.Rules)
		cfg.Rules[0].Match = p.target.match
	}
	start := func() (session, error) { return h.start(cfg) }
	if p.container != "" {
		cfg.Rules = slices.Clone(cfg.Rules)
		start = func() (session, error) { return h.containedSession(p, cfg, say) }
	}
	run, err := start()
	if err != nil || p.target.names == nil || p.lookEvery == 0 {
		return run, err
	}
	return &named{session: run, h: h, target: p.target, every: p.lookEvery, say: say}, nil
}

// named is a session whose target has host names in it.
type named struct {
	session
	h      *host
	target *aim // it moves along
	every  time.Duration
	say    func(targetChange)
}

func (n *named) Run(ctx context.Context) error {
	ctx2, stop := context.WithCancel(ctx)
	var following sync.WaitGroup
	following.Go(func() { n.h.follow(ctx2, n.target, n.every, n.session, n.say) })
	err := n.session.Run(ctx)
	stop()
	following.Wait()
	return err
}
