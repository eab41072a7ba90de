package cli

import (
	"time"
)

// targetChange is what became of a target while a run went on.
type targetChange struct {
	at     time.Time
	target string // what was given: a host name, a container
	says   string // what it is now, in words
}

// session makes the session of a plan. say is told of what becomes of its
// target.
func (h *host) session(p *plan, say func(targetChange)) (session, error) {
	return h.start(p.cfg)
}
