package injector

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/target"
)

// Config says which faults strike which connections. Start copies it.
type Config struct {
	// Rules are asked in order. A connection that several rules match gets the faults of
	// all of them. At least one is needed.
	Rules []Rule

	// Seed makes a run repeatable: the same seed makes the same choices for the same
	// ordinals of connections. Zero is a valid seed.
	Seed uint64

	// NetNS is the network namespace to work in. Nil means the caller's own.
	// It must stay open until the run has ended.
	NetNS *os.File

	// Protect lists connections that are never touched, whatever the rules match: both
	// ends, in either order.
	Protect []target.Conn

	// Watchdog is how long the workers may be stuck or stopped before the kernel kills
	// this process, so that traffic goes on. Zero means 1.5 s. Negative means never,
	// which only a debugger needs. The minimum is one second.
	Watchdog time.Duration

	// Paused starts the run paused: nothing is judged until Resume.
	Paused bool

	// Queue is the number of the netfilter queue; of the first one, if there are
	// several. Zero means the first free one from 61440 on.
	Queue uint16

	// Queues is how many netfilter queues share the work, each with its own worker: at
	// most 16, and more than there are processors gain nothing. The kernel spreads pairs
	// of hosts over them, so all connections between two hosts, in both directions,
	// belong to one worker. Zero means one.
	Queues int

	// OnEvent is called with each event, from one goroutine, in order. The packet path
	// never waits for it: events that it is too slow for are lost, and counted in Stats.
	// Nil means that nobody listens.
	OnEvent func(Event)

	// OnPacket is called with each packet of a chosen connection that enters user space,
	// and with each that is sent instead or in addition, from one goroutine, in order.
	// The packet path never waits for it: packets that it is too slow for are lost, and
	// counted in Stats. Nil costs nothing.
	OnPacket func(Packet)

	// HeadersOnly says that OnPacket does not need payloads, so that they need not be
	// copied for it.
	HeadersOnly bool

	// Judge says that the run is used to judge a command by what it does to its
	// connections, so everything that can be known about them must be known. Chosen
	// connections are handed over whole, payload included, until their outcome is known,
	// which costs each of their segments a trip through user space. Without Judge only
	// what the faults need is handed over; what passes unseen then leaves some outcomes
	// not known, see docs/VERDICTS.md.
	Judge bool

	// Logger gets what an operator may want to know. Nil means that nothing is logged.
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

// mostQueues is low enough for several instances in one namespace to have queues.
const mostQueues = 16

// leastWatchdog is several times as long as a worker without work sleeps, see idleWait.
const leastWatchdog = time.Second

// defaultWatchdog lets a connection whose packet was in the queue go on within 4 s. TCP
// doubles its timeout at each retransmission (RFC 6298), so the first retransmission
// after the end of this process comes after at most the same time again, plus one RTO:
// 3 s and the RTO in all; a limit of 3 s would make it 6 s. A healthy worker kicks the
// watchdog ten times a second. It never needed more than 0.6 s in tests in which 200
// other threads wanted its two processors, or in which it had a hundredth of a
// processor.
const defaultWatchdog = 1500 * time.Millisecond

func (c *Config) queues() uint16 { return uint16(max(1, c.Queues)) }

// Validate reports what is wrong with c, in words for the person who wrote it.
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
