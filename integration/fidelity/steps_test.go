package fidelity

import (
	"fmt"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// The programs' actions, and what the plays wait for.

// dial creates the client's program, which is not connected yet.
func (p *play) dial() *lab.App {
	p.t.Helper()
	c, err := p.from.Client(p.service.Addr())
	p.must(err)
	p.cleanup(c.Close)
	p.client = c
	return c
}

// connect calls connect, and records the client's port.
func (p *play) connect() string {
	p.t.Helper()
	if p.client == nil {
		p.dial()
	}
	got := p.client.Connect(p.service)
	if p.cause.lazy {
		p.must(p.client.SetInt(unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0))
	}
	p.port = p.client.Local().Port()
	return got
}

// open opens the connection.
func (p *play) open() {
	p.t.Helper()
	if got := p.connect(); got != "ok" {
		p.t.Fatalf("%s lane: connect: %s", p.lane, got)
	}
	p.accept()
}

func (p *play) accept() {
	p.t.Helper()
	var err error
	p.server, err = p.ln.Accept()
	p.must(err)
	p.cleanup(p.server.Close)
}

// request sends a request and has the server read it.
func (p *play) request() {
	p.client.Send("ping")
	p.server.Recv()
	p.quiet()
}

// response sends the response and has the client read it.
func (p *play) response() {
	p.server.Send("pong")
	p.client.Recv()
	p.quiet()
}

// exchange is a request and its response.
func (p *play) exchange() {
	p.request()
	p.response()
}

// quiet waits until everything that either end has sent is acknowledged.
func (p *play) quiet() {
	p.t.Helper()
	for _, a := range []*lab.App{p.client, p.server} {
		if !lab.Eventually(func() bool { i, err := a.Info(); return err != nil || i.Unacked == 0 }) {
			p.t.Fatalf("%s lane: data stays unacknowledged", p.lane)
		}
	}
}

// acknowledge makes a lazy client send its delayed acknowledgment.
func (p *play) acknowledge() {
	p.t.Helper()
	p.must(p.client.SetInt(unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1))
}

// do performs the act: in the genuine lane the cause itself, in the injected lane
// what a healthy program does at that moment.
func (p *play) do() {
	p.t.Helper()
	for s, a := range map[side]*lab.App{faults.Client: p.client, faults.Server: p.server} {
		if a != nil {
			p.acted[s] = len(a.Calls())
		}
	}
	act := p.cause.act
	if p.lane == injected {
		act = p.cause.healthy
	}
	if act != nil {
		act(p)
	}
}

// app is the program at an end, or nil before there is one.
func (p *play) app(s side) *lab.App { return pick(s == faults.Client, p.client, p.server) }

// await waits until such a segment has crossed the first watched end, so that the
// script continues after its arrival.
func (p *play) await(what func(line) bool) {
	p.t.Helper()
	p.awaitAt(p.watched[0], what)
}

func (p *play) awaitAt(e *end, what func(line) bool) {
	p.t.Helper()
	if !lab.Eventually(func() bool {
		for _, l := range p.lines(e, p.stack(e)) {
			if what(l) {
				return true
			}
		}
		return false
	}) {
		p.vain = fmt.Sprintf("%s lane: waited in vain; the %s saw\n%s", p.lane, e.side, text(p.lines(e, p.stack(e))))
	}
}

// acts waits in the injected lane until faultctl has acted.
func (p *play) acts() {
	p.t.Helper()
	if p.lane == genuine {
		return
	}
	select {
	case <-p.struck:
	case <-time.After(10 * time.Second):
		p.t.Error("faultctl did not act")
	}
}

// idle leaves the connection idle: the cause depends on the time.
func (p *play) idle(d time.Duration) { time.Sleep(d) }
