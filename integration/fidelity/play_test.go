package fidelity

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"testing"

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
	fault   string // as people type it
	genuine string // what happens in the genuine lane, and who does it

	// watch says at which ends calls and segments are compared: those that
	// suffer. The other end differs by nature, dead in one lane and healthy in
	// the other.
	watch faults.Side

	// lazy lets the client acknowledge late, as it does when it has just sent:
	// so that what the server sends in one go arrives in one go, however short
	// the way is.
	lazy bool

	prepare func(*play) // what the genuine lane sets up before anybody connects
	before  func(*play) // how far the connection has come, in both lanes; nil: there is none
	act     func(*play) // what the genuine lane does then
	healthy func(*play) // what a healthy program does instead; nil: nothing
	then    []string    // what the programs do after that, and what they are told: see follow

	// script is the whole play, of causes that the fields above cannot tell. It
	// calls do where they have act.
	script func(*play)

	// late says that faultctl comes to a connection that is open already.
	late bool

	// far makes the way long: a router passes every packet on after wayLength.
	// Then a forged answer that beats the light is seen.
	far bool

	// rerolls says that the dead end's TCP sends again, unseen, and takes another
	// IPv6 flow label each time: which one its RST has is a matter of time.
	rerolls bool

	// device says that the genuine author of what the end receives is the device
	// on the path.
	device bool

	// asks says that faultctl must ask the server for its numbers: the flow was
	// let pass unseen.
	asks bool

	// provokes says that each segment that is sent again provokes a RST: how many
	// there are is a matter of time.
	provokes bool

	// sums are what a lane is compared by where chance decides which segments
	// suffer: sums, in words. Then no segment is compared.
	sums     func(*play) []string
	measured []string // what they are in the genuine lane

	// shows holds the genuine lane to what was measured: these lines cross the
	// wire at the first end watched, in this order, others between them. A line
	// stands here by its start.
	shows []string

	// counts names a counter of the kernel, as in TcpExt of nstat, that the
	// genuine lane raises, and at which end: that it is this cause and no other.
	counts  string
	counted side

	// stranger says that somebody else speaks in the server's name: what
	// timestamps are echoed from there on, tells nothing.
	stranger bool

	// unlike says that the fault is not meant to be the cause: of tests of the
	// comparison.
	unlike bool

	// needs names what the genuine lane cannot do without, and tries it.
	needs func(*play) error

	// notOn says why there is no genuine cause at a vantage.
	notOn map[vantage]string
}

// lane says who does it.
type lane string

const (
	genuine  lane = "genuine"
	injected lane = "injected"
)

// vantage is where faultctl runs.
type vantage string

const (
	atClient vantage = "client host"
	atServer vantage = "server host"
	atRouter vantage = "router"
	loopback vantage = "loopback"
)

var vantages = []vantage{atClient, atServer, atRouter, loopback}

// play is one lane of a cause under way.
type play struct {
	*lab.Lab
	t     *testing.T
	cause *cause
	lane  lane
	at    vantage
	v6    bool

	from, to *lab.Node // the hosts of client and server
	path     *lab.Node // where a device on the path would stand: the router, or the host itself
	service  netip.AddrPort
	ln       *lab.App

	client, server *lab.App
	port           uint16       // the client's: what is recorded is recorded of it
	acted          map[side]int // how many calls had been made at the act
	ends           map[side]*end
	watched        []*end
	counters       uint64 // the cause's counter when it began

	vain   string  // what was awaited and did not come
	slow   *holdup // a slow hop of the genuine lane
	mu     sync.Mutex
	ended  []func()      // what is to be done when the play is over
	dies   chan struct{} // closed when the proxy of the genuine lane is to die
	ahead  uint32        // the timestamp of another host behind the client's address
	struck chan struct{} // closed when faultctl has acted
}

type side = faults.Side

// end is one end of the connection and what is recorded there.
type end struct {
	side side
	node *lab.Node
	door *lab.Capture   // what its TCP sends and receives
	wire []*lab.Capture // what its interfaces show
}

// begin builds the hosts and starts to record. In the injected lane faultctl
// runs from here on.
func begin(t *testing.T, c *cause, l lane, at vantage, v6 bool) *play {
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
	p.prompt()
	doors := map[*lab.Node]*lab.Capture{}
	for _, e := range []*end{{side: faults.Client, node: p.from}, {side: faults.Server, node: p.to}} {
		if doors[e.node] == nil {
			doors[e.node] = p.capture(e.node.Door(injector.OwnSign))
		}
		e.door = doors[e.node]
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
		p.lengthen()
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

// counter reads the counter that the cause raises.
func (p *play) counter() uint64 {
	p.t.Helper()
	if p.cause.counts == "" {
		return 0
	}
	n, err := pick(p.cause.counted == faults.Client, p.from, p.to).Counter("TcpExt" + p.cause.counts)
	p.must(err)
	return n
}

// cleanup puts off what is to be done when the play is over.
func (p *play) cleanup(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = append(p.ended, f)
}

// end gives back what the play has taken: there may be another one in the same
// test.
func (p *play) end() {
	p.mu.Lock()
	ended := p.ended
	p.ended = nil
	p.mu.Unlock()
	for n := len(ended) - 1; n >= 0; n-- {
		ended[n]()
	}
}

// lacking says of a cause what this machine lacks for it.
var lacking sync.Map // *cause to string

// check ends a play for which something is missing.
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

// start runs faultctl, in the injected lane.
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

// prompt makes both hosts acknowledge at once (RTAX_QUICKACK), so that which
// segment carries an acknowledgment does not depend on how busy the machine is.
func (p *play) prompt() {
	for _, n := range []*lab.Node{p.Client, p.Server} {
		if p.cause.lazy && n == p.from {
			continue
		}
		routes, err := n.Netlink().RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		p.must(err)
		for _, r := range routes {
			if r.Gw != nil || p.at == loopback && r.Type == unix.RTN_LOCAL {
				// A local IPv6 route has a metric that no new one can have, and
				// would win over it.
				if r.Type == unix.RTN_LOCAL && r.Dst != nil && r.Dst.IP.To4() == nil {
					p.must(n.Netlink().RouteDel(&r))
				}
				r.QuickACK = 1
				if err := n.Netlink().RouteReplace(&r); err != nil {
					p.t.Fatalf("acknowledge at once by %v: %v", r, err)
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

// inject runs faultctl where it is to run. It returns once the rules are in.
func (p *play) inject() {
	p.t.Helper()
	var struck sync.Once
	_, stop := strike.Begin(p.t, injector.Config{
		NetNS: map[vantage]*lab.Node{atClient: p.Client, atServer: p.Server, atRouter: p.Router, loopback: p.Server}[p.at].NS,
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
