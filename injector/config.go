package injector

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/target"
)

// Config says which faults strike which connections. newInjector copies it.
type Config struct {
	// Rules are asked in order; a connection that several match gets the
	// faults of all of them. At least one is needed.
	Rules []Rule

	// Seed makes a run repeat: the same seed makes the same choices for the
	// same ordinals of connections. Zero is a seed like any other.
	Seed uint64

	// NetNS is the network namespace to work in. Nil means the caller's own.
	// It must stay open until the run has ended.
	NetNS *os.File

	// Protect lists connections that are never touched, whatever matches:
	// both ends, in either order.
	Protect []target.Conn

	// Watchdog is how long the workers may be stuck or stopped before the
	// kernel ends this process, so that the traffic goes on. Zero means 1.5 s.
	// Negative means never; only a debugger needs that. One second is the least.
	Watchdog time.Duration

	// Paused has the run begin paused: nothing is judged until Resume.
	Paused bool

	// Queue is the number of the netfilter queue, the first if there are
	// several. Zero means the first free one from 61440 on.
	Queue uint16

	// Queues is how many netfilter queues share the work, each with a worker of
	// its own: at most 16, and no more than processors makes sense. The kernel
	// spreads pairs of hosts over them, so all connections between two hosts
	// are with one worker, both directions. Zero means one.
	Queues int

	// OnEvent is told of each event, from one goroutine, in order. The packet
	// path never waits for it: when it is slower than the events, some are
	// lost, and counted in Stats. Nil means that nobody listens.
	OnEvent func(Event)

	// OnPacket is told of each packet of a chosen connection that enters user
	// space, and of what is put on its way instead or besides, from one
	// goroutine, in order. The packet path never waits for it: when it is slower
	// than the packets, some are lost, and counted in Stats. Nil means that
	// nobody wants to see them, and costs nothing.
	OnPacket func(Packet)

	// HeadersOnly says that OnPacket does without payloads, which then need not
	// be copied for its sake.
	HeadersOnly bool

	// Judge says that a command is judged by what the run does to its connections, so
	// that all must be known that can be: chosen connections are handed over whole,
	// payload included, until it is, which costs each of their segments a trip through
	// user space. Without it what passes unseen leaves some of it not known, see
	// docs/VERDICTS.md, and nothing is handed over that the faults do not need.
	Judge bool

	// Logger gets what an operator may want to know. Nil means nothing.
	Logger *slog.Logger
}

// Rule says which connections get which faults.
type Rule struct {
	Match  target.Matcher
	Pick   target.Pick
	Faults []NamedModel // asked in order; at least one
}

// NamedModel is a fault of the catalogue with its settings.
type NamedModel struct {
	Name  string
	Model faults.Model
}

// mostQueues leaves several instances in one namespace queues of their own.
const mostQueues = 16

// leastWatchdog is several times what a worker without work sleeps, see idleWait.
const leastWatchdog = time.Second

// defaultWatchdog has a connection go on within 4 s whose packet was in the queue.
// TCP doubles its patience (RFC 6298), so the first retransmission behind the end
// of this process comes at most as long after it again, and one RTO: 3 s and the
// RTO in all, where a limit of 3 s makes 6 s. A worker that is well kicks the
// watchdog ten times a second; it was never seen to need more than 0.6 s, while 200
// other threads wanted its two processors, or while it had a hundredth of one.
const defaultWatchdog = 1500 * time.Millisecond

func (c *Config) queues() uint16 { return uint16(max(1, c.Queues)) }

// Validate reports what is wrong with c in words for the person who wrote it.
func (c *Config) Validate() error {
	if len(c.Rules) == 0 {
		return fmt.Errorf("%w: no rule", ErrConfig)
	}
	if c.Queues < 0 || c.Queues > mostQueues {
		return fmt.Errorf("%w: %d queues lie outside 0 to %d", ErrConfig, c.Queues, mostQueues)
	}
	if c.Watchdog > 0 && c.Watchdog < leastWatchdog {
		return fmt.Errorf("%w: a watchdog limit of %v is less than %v: a worker without work would miss it", ErrConfig, c.Watchdog, leastWatchdog)
	}
	for i, r := range c.Rules {
		if err := r.validate(); err != nil {
			if len(c.Rules) > 1 {
				return fmt.Errorf("rule %d: %w", i+1, err)
			}
			return err
		}
	}
	return nil
}

func (r *Rule) validate() error {
	if len(r.Faults) == 0 {
		return fmt.Errorf("%w: no fault", ErrConfig)
	}
	if !r.Pick.Share.Valid() {
		return fmt.Errorf("%w: a share of %v lies outside 0 to 1", ErrConfig, r.Pick.Share.Chance())
	}
	for _, f := range r.Faults {
		if err := f.Model.Validate(); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrConfig, f.Name, err)
		}
	}
	return nil
}
