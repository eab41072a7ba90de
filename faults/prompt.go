package faults

// A Prompter is a Fault that waits for a moment of its flow, and can be told to act
// without it.
type Prompter interface {
	// Prompt has the moment come: the fault fires at the next segment that it is
	// asked about, whatever that is. It does nothing if the fault has fired already.
	// It is called between two events of the flow, by the goroutine that tells of them.
	Prompt()
}

// Prompt prompts the fault of that ordinal, see [Prompter], and reports whether it is
// one that can be prompted. A fault that has released the flow is asked again.
func (c *Chain) Prompt(i int) bool {
	l := &c.links[i]
	p, ok := l.fault.(Prompter)
	if ok {
		p.Prompt()
		l.released = false
	}
	return ok
}

func (s *trigger) Prompt() { s.prompted = true }

// Prompt implements Prompter.
func (r *reset) Prompt() { r.trigger.Prompt() }

// Prompt implements Prompter.
func (c *closedSocket) Prompt() { c.moment.trigger.Prompt() }

// Prompt implements Prompter.
func (h *halfOpen) Prompt() { h.trigger.Prompt() }

// Prompt implements Prompter.
func (n *natLeak) Prompt() { n.trigger.Prompt() }

// Prompt implements Prompter.
func (p *partition) Prompt() { p.trigger.Prompt() }

// Prompt implements Prompter.
func (s *stall) Prompt() { s.trigger.Prompt() }
