// Package demo plays one fault to an audience: two hosts and a router, a client
// and a server that talk, and what each of them saw.
package demo

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// Story is what happened, in the order of time.
type Story struct {
	Calls   []Call
	Packets []Packet
	Fired   bool // the fault has acted
}

// Call is one system call of the client or the server.
type Call struct {
	At     time.Duration // when it returned, since the beginning
	Who    string        // client or server
	Text   string        // send("hello")
	Result string        // 5, "hello", EOF or the name of an errno
	Failed bool
}

// Packet is a segment as the router saw it.
type Packet struct {
	At   time.Duration
	Text string        // client > server [P.] seq 1:6 ack 1
	Fate injector.Fate // Passed, Dropped, Delayed, Replacement or Forged
	Late time.Duration // how much later than it came one that was delayed left

	seg lab.Captured
}

// Fate is what became of a segment at the router: it passed, was dropped, delayed, put
// in place of one that had come (injector.Replacement), or forged.
type Fate = injector.Fate

// The fates of a Packet, for those who do not know the injector.
const (
	Passed    = injector.Passed
	Injected  = injector.Forged
	Dropped   = injector.Dropped
	Rewritten = injector.Replacement
	Delayed   = injector.Delayed
)

const port = 5432

// Play runs the fault at the router of a lab while the two ends talk. It takes
// a few seconds, as long as the fault needs to show.
func Play(ctx context.Context, fault faults.Spec) (*Story, error) {
	kind, err := faults.Find(fault.Name)
	if err != nil {
		return nil, err
	}
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	defer l.Close()
	p := &play{lab: l, fault: fault, demo: kind.Demo, touched: map[string]injector.Fate{}}
	if err := p.capture(); err != nil {
		return nil, err
	}
	defer p.stopCapture()
	defer func() {
		if p.plan != nil {
			p.plan.Close()
		}
	}()
	run, err := p.strike(ctx, fault)
	if err != nil {
		return nil, err
	}
	defer run.Stop()
	p.start = time.Now()
	if err := p.act(ctx); err != nil {
		return nil, err
	}
	time.Sleep(100 * time.Millisecond) // what is still under way
	if err := run.Stop(); err != nil {
		return nil, err
	}
	result, _ := run.Wait() // its error was Stop's
	return &Story{Calls: p.calls(), Packets: p.packets(), Fired: experiment.Strikes(result.Stats.Rules[0].Faults[0]) > 0}, nil
}

// strike runs the fault at the router. Nobody else is there, so the watchdog
// stays away: a debugger may stop the demo.
func (p *play) strike(ctx context.Context, fault faults.Spec) (*experiment.Run, error) {
	sys := experiment.NewSystem()
	sys.Policy = nil // the lab is nobody's
	start := sys.Start
	sys.Start = func(ctx context.Context, cfg injector.Config) (experiment.Engine, error) {
		cfg.Watchdog = -1
		return start(ctx, cfg)
	}
	plan, err := sys.Plan(ctx, experiment.Spec{
		Faults: []faults.Spec{fault}, Seed: new(uint64(1)), Duration: new(time.Duration(0)),
		Target: experiment.Target{To: []string{fmt.Sprintf(":%d", port)}, NetNS: fmt.Sprintf("/proc/self/fd/%d", p.lab.Router.NS.Fd())},
	})
	if err != nil {
		return nil, err
	}
	p.plan = plan
	plan.Observe(experiment.Observer{Packet: p.touch})
	return experiment.Start(ctx, plan)
}

// play is a story under way.
type play struct {
	lab   *lab.Lab
	fault faults.Spec
	demo  faults.Demo
	plan  *experiment.Plan
	start time.Time
	last  bool // the request is the last one

	toClient, toServer *lab.Capture // at the router
	apps               []*lab.App
	touched            map[string]injector.Fate // what faultctl says it did, by the segment as it came
}

// touch takes down a segment that leaves late, or as something else: on the
// wire a slow router looks the same, and a checksum is easily overlooked.
func (p *play) touch(pkt injector.Packet) {
	if seg, err := packet.Parse(pkt.Bytes); err == nil && (pkt.Fate == injector.Delayed || pkt.Fate == injector.Rewritten) {
		p.touched[segmentKey(seg)] = pkt.Fate
	}
}

func (p *play) capture() (err error) {
	if p.toClient, err = p.lab.Router.Capture("c0"); err != nil {
		return err
	}
	p.toServer, err = p.lab.Router.Capture("s0")
	return err
}

func (p *play) stopCapture() {
	p.toClient.Close()
	p.toServer.Close()
}

// act is the script: connect, a request and its answer, a pause, a second
// request, and the server's close.
func (p *play) act(ctx context.Context) error {
	ln, at, err := p.lab.Server.Listen(netip.AddrPortFrom(p.lab.Server.V4, port), 16)
	if err != nil {
		return err
	}
	defer ln.Close()
	client, err := p.lab.Client.Client(at.Addr())
	if err != nil {
		return err
	}
	defer client.Close()
	p.apps = append(p.apps, client)
	client.Timeout(3200 * time.Millisecond)
	ln.Timeout(300 * time.Millisecond)
	p.keepalive(client)
	if client.Connect(at) != "ok" {
		return nil
	}
	client.Timeout(p.patience())
	server, err := ln.Accept()
	if err != nil {
		server = nil // the client believes that it is connected
	} else {
		defer server.Close()
		p.apps = append(p.apps, server)
		server.Timeout(300 * time.Millisecond)
		server.SetInt(unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // each send is a segment
	}
	return p.talk(ctx, client, server)
}

func (p *play) talk(ctx context.Context, client, server *lab.App) error {
	second := p.demo.Answer
	if second == nil {
		second = []string{"2 rows"}
	}
	alive := p.exchange(client, server, "SELECT 1", "1 row")
	if err := pause(ctx, p.quiet()); err != nil {
		return err
	}
	if alive {
		p.last = true
		alive = p.exchange(client, server, "SELECT 2", second...)
	}
	if server != nil && alive {
		server.CloseWrite()
		client.Recv()
	}
	if !alive {
		client.Send("SELECT 3")
	}
	return pause(ctx, 50*time.Millisecond) // before the sockets are closed: what is held arrives
}

// working is how long the server works on an answer that the client's FIN is to overtake:
// the FIN takes the way through the queue, which a busy host makes longer.
const working = 100 * time.Millisecond

// exchange is a request and its answer, which may come in pieces. It reports
// whether as much arrived as was sent, whatever it was.
func (p *play) exchange(client, server *lab.App, request string, answer ...string) bool {
	if client.Send(request) != fmt.Sprint(len(request)) {
		return false
	}
	if p.last && p.demo.HalfClose {
		client.CloseWrite()
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if server != nil && received(server, len(request)) {
			if p.last && p.demo.HalfClose {
				time.Sleep(working)
			}
			for _, piece := range answer {
				server.Send(piece)
			}
		}
	}()
	got := received(client, len(strings.Join(answer, "")))
	<-answered
	return got
}

// received receives n bytes, as many calls as that takes. It reports whether
// they came.
func received(app *lab.App, n int) bool {
	for n > 0 {
		got := app.Recv()
		if calls := app.Calls(); calls[len(calls)-1].Err != nil || got == "EOF" {
			return false
		}
		n -= len(got)
	}
	return true
}

// keepalive turns probes on where the fault is about them.
func (p *play) keepalive(client *lab.App) {
	if !p.demo.Keepalive {
		return
	}
	client.SetInt(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	client.SetInt(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1)
	client.SetInt(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1)
	client.SetInt(unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 2)
}

// quiet is the pause between the requests: longer than the idle time of a fault
// that waits for one.
func (p *play) quiet() time.Duration {
	quiet := 200 * time.Millisecond
	if m, err := p.fault.Model(); err == nil {
		quiet += m.Diverts().Idle
	}
	return max(p.demo.Quiet, quiet)
}

// patience is how long the client waits for an answer.
func (p *play) patience() time.Duration { return 1500 * time.Millisecond }

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (p *play) calls() []Call {
	var out []Call
	for i, app := range p.apps {
		who := [...]string{"client", "server"}[i]
		for _, c := range app.Calls() {
			out = append(out, Call{
				At: c.Start.Add(c.Took).Sub(p.start), Who: who, Text: c.Text, Result: result(c), Failed: c.Err != nil,
			})
		}
	}
	slices.SortStableFunc(out, func(a, b Call) int { return cmp.Compare(a.At, b.At) })
	return out
}

// result puts what was received in quotes.
func result(c lab.Call) string {
	switch {
	case c.Text != "recv()" || c.Err != nil || c.Result == "EOF":
		return c.Result
	case len(c.Result) > 20:
		return fmt.Sprintf("%d bytes", len(c.Result))
	}
	return strconv.Quote(c.Result)
}
