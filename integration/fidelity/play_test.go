package fidelity

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/strike"
	"github.com/faultctl/faultctl/lab"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// cause is one way in which a connection fails.
type cause struct {
	name    string // unique; the fault's name first
	fault   string // as a SPEC on the command line
	genuine string // what happens in the genuine lane, and what causes it

	// watch says at which ends calls and segments are compared: those that are
	// affected. The other end always differs: it is dead in one lane and healthy
	// in the other.
	watch faults.Side

	// lazy lets the client delay its acknowledgments, as it does when it has just
	// sent, so that what the server sends together arrives together even if the
	// round trip is short.
	lazy bool

	prepare func(*play) // what the genuine lane sets up before anybody connects
	before  func(*play) // brings the connection to the point of the cause, in both lanes; nil: there is no connection yet
	act     func(*play) // what the genuine lane then does
	healthy func(*play) // what a healthy program does instead; nil: nothing
	then    []string    // what the programs do after that, and what the calls return: see step

	// script is the complete play of a cause that the fields above cannot
	// describe. It calls do where they have act.
	script func(*play)

	// late says that faultctl starts when the connection is already open.
	late bool

	// far makes the path long: a router forwards every packet after pathDelay. A
	// forged answer that arrives sooner than a real one could is then noticed.
	far bool

	// rerolls says that the dead end's TCP retransmits, unseen, and takes another
	// IPv6 flow label each time, so the one of its RST depends on timing.
	rerolls bool

	// device says that in the genuine lane the device on the path sends what the
	// end receives.
	device bool

	// asks says that faultctl must probe the server for its sequence numbers,
	// because it did not see the flow's segments.
	asks bool

	// provokes says that each retransmission provokes a RST, so how many there are
	// depends on timing.
	provokes bool

	// sums returns totals, in words. Lanes are compared by them where chance
	// decides which segments are affected; segments are then not compared.
	sums     func(*play) []string
	measured []string // what they are in the genuine lane

	// shows is what was measured in the genuine lane: lines with these words cross
	// the first watched end, in this order, with others between them. See holds.
	shows []string

	// counts names a counter of the kernel (TcpExt in nstat) that the genuine lane
	// increments at the end counted: it shows that it is this cause and no other.
	counts  string
	counted side

	// stranger says that another host sends in the server's name, so timestamp
	// echoes are meaningless from then on.
	stranger bool

	// reused says that the segments before the SYN-ACK have the numbers of another
	// connection on the same ports, which mean nothing.
	reused bool

	// unlike says that the fault is deliberately not the cause: for tests of the
	// comparison itself.
	unlike bool

	// needs returns an error if something that the genuine lane needs is missing.
	needs func(*play) error

	// notOn says why there is no genuine cause at a placement.
	notOn map[placement]string
}

// lane says what causes the failure.
type lane string

const (
	genuine  lane = "genuine"
	injected lane = "injected"
)

// placement is where faultctl runs in the injected lane.
type placement string

const (
	atClient placement = "client host"
	atServer placement = "server host"
	atRouter placement = "router"
	loopback placement = "loopback"
)

var placements = []placement{atClient, atServer, atRouter, loopback}

// play is one run of one lane of a cause.
type play struct {
	*lab.Lab
	t     *testing.T
	cause *cause
	lane  lane
	at    placement
	v6    bool

	from, to *lab.Node // the hosts of client and server
	path     *lab.Node // where the device on the path is: the router, or on loopback the host itself
	service  netip.AddrPort
	ln       *lab.App

	client, server *lab.App
	port           uint16       // the client's port, which identifies the recorded connection
	acted          map[side]int // how many calls had been made at the act
	ends           map[side]*end
	watched        []*end
	counters       uint64 // the value of the cause's counter at the start

	since  time.Time  // what is recorded counts from here on: before it another connection had the port
	called netip.Addr // the server's address as the client knows it, if it is another one

	vain   string   // what was awaited and did not arrive, or ""
	slow   *slowHop // of the genuine lane
	mu     sync.Mutex
	ended  []func()      // what end calls, last first
	dies   chan struct{} // closed to make the proxy of the genuine lane die
	ahead  uint32        // the timestamp of another host behind the client's address
	struck chan struct{} // closed when faultctl has acted
}

type side = faults.Side

// end is one end of the connection and what is recorded there.
type end struct {
	side  side
	node  *lab.Node
	stack *lab.Capture   // what its TCP sends and receives
	wire  []*lab.Capture // what its interfaces show
}

// begin builds the hosts and starts to record. In the injected lane it also starts
// faultctl, unless the cause is late.
func begin(t *testing.T, c *cause, l lane, at placement, v6 bool) *play {
	t.Helper()
	if v6 && !lab.IPv6() {
		if os.Getenv("FAULTCTL_REQUIRE") == "1" {
			t.Fatal("this kernel has no IPv6")
		}
		t.Skip("this kernel has no IPv6")
	}
	hosts, err := lab.New()
	if err != nil {
		t.Fatalf("build the lab: %v", err)
	}
	p := &play{
		Lab: hosts, t: t, cause: c, lane: l, at: at, v6: v6,
		from: hosts.Client, to: hosts.Server, path: hosts.Router, acted: map[side]int{}, ends: map[side]*end{}, struck: make(chan struct{}),
	}
	t.Cleanup(p.end)
	p.cleanup(hosts.Close)
	addr := pick(v6, hosts.Server.V6, hosts.Server.V4)
	if at == loopback {
		p.from, p.path = hosts.Server, hosts.Server
		addr = pick(v6, netip.IPv6Loopback(), netip.MustParseAddr("127.0.0.1"))
	}
	p.service = netip.AddrPortFrom(addr, 5432)
	p.quickACK()
	stacks := map[*lab.Node]*lab.Capture{}
	for _, e := range []*end{{side: faults.Client, node: p.from}, {side: faults.Server, node: p.to}} {
		if stacks[e.node] == nil {
			own, mask, err := injector.Sign(e.node.NS)
			if err != nil {
				t.Fatal(err)
			}
			stacks[e.node] = p.capture(e.node.StackCapture(own, mask))
		}
		e.stack = stacks[e.node]
		if at != loopback {
			e.wire = append(e.wire, p.capture(e.node.Capture("eth0")))
		}
		if at == loopback || p.own(e) {
			e.wire = append(e.wire, p.capture(e.node.Capture("lo")))
		}
		p.ends[e.side] = e
		if c.watch.Includes(e.side) {
			p.watched = append(p.watched, e)
		}
	}
	p.ln = p.listen(16)
	if c.far {
		p.delayPath()
	}
	if l == genuine && c.needs != nil {
		p.check(c.needs(p))
	}
	if l == genuine && c.prepare != nil {
		c.prepare(p)
	}
	p.counters = p.counter()
	if !c.late {
		p.start()
	}
	return p
}

// counter reads the counter that the cause increments.
func (p *play) counter() uint64 {
	p.t.Helper()
	if p.cause.counts == "" {
		return 0
	}
	n, err := pick(p.cause.counted == faults.Client, p.from, p.to).Counter("TcpExt" + p.cause.counts)
	p.must(err)
	return n
}

// cleanup defers f to the end of the play.
func (p *play) cleanup(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = append(p.ended, f)
}

// end releases what the play uses. There may be another play in the same test.
func (p *play) end() {
	p.mu.Lock()
	ended := p.ended
	p.ended = nil
	p.mu.Unlock()
	for n := len(ended) - 1; n >= 0; n-- {
		ended[n]()
	}
}

// lacking records what this machine lacks for a cause.
var lacking sync.Map // *cause to string

// check ends a play for which something is missing: it skips the test, or fails it
// if FAULTCTL_REQUIRE is 1.
func (p *play) check(err error) {
	p.t.Helper()
	if err == nil {
		return
	}
	lacking.Store(p.cause, err.Error())
	if os.Getenv("FAULTCTL_REQUIRE") == "1" {
		p.t.Fatal(err)
	}
	p.t.Skip(err)
}

// start starts faultctl, in the injected lane.
func (p *play) start() {
	p.t.Helper()
	if p.lane == injected {
		p.inject()
	}
}

func pick[T any](yes bool, a, b T) T {
	if yes {
		return a
	}
	return b
}

// own reports whether faultctl would run on the end's own host.
func (p *play) own(e *end) bool {
	return p.at == loopback || p.at == atClient && e.side == faults.Client || p.at == atServer && e.side == faults.Server
}

// quickACK makes both hosts acknowledge at once (RTAX_QUICKACK), so that it does
// not depend on how busy the machine is which segment carries an acknowledgment.
func (p *play) quickACK() {
	for _, n := range []*lab.Node{p.Client, p.Server} {
		if p.cause.lazy && n == p.from {
			continue
		}
		routes, err := n.Netlink().RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		p.must(err)
		for _, r := range routes {
			if r.Gw != nil || p.at == loopback && r.Type == unix.RTN_LOCAL {
				// A local IPv6 route has a metric that a new one cannot have, and
				// would take precedence over it.
				if r.Type == unix.RTN_LOCAL && r.Dst != nil && r.Dst.IP.To4() == nil {
					p.must(n.Netlink().RouteDel(&r))
				}
				r.QuickACK = 1
				if err := n.Netlink().RouteReplace(&r); err != nil {
					p.t.Fatalf("set quickack on the route %v: %v", r, err)
				}
			}
		}
	}
}

func (p *play) capture(c *lab.Capture, err error) *lab.Capture {
	p.t.Helper()
	p.must(err)
	p.cleanup(c.Close)
	return c
}

func (p *play) must(errs ...error) {
	p.t.Helper()
	if err := errors.Join(errs...); err != nil {
		p.t.Fatal(err)
	}
}

// listen starts a listener on the service's address.
func (p *play) listen(backlog int) *lab.App {
	p.t.Helper()
	ln, _, err := p.to.Listen(p.service, backlog)
	p.must(err)
	p.cleanup(ln.Close)
	return ln
}

// inject starts faultctl where the placement says, and returns once its rules are
// installed.
func (p *play) inject() {
	p.t.Helper()
	var struck sync.Once
	_, stop := strike.Begin(p.t, injector.Config{
		NetNS: map[placement]*lab.Node{atClient: p.Client, atServer: p.Server, atRouter: p.Router, loopback: p.Server}[p.at].NS,
		Rules: []injector.Rule{{
			Match:  target.Matcher{To: []target.Endpoint{{LowPort: p.service.Port(), HighPort: p.service.Port()}}},
			Faults: []injector.NamedModel{strike.Fault(p.t, p.cause.fault)},
		}},
		OnEvent: func(ev injector.Event) {
			if ev.Kind == injector.Fired {
				struck.Do(func() { close(p.struck) })
			}
		},
	})
	p.cleanup(stop)
}
