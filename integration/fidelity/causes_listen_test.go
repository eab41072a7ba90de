package fidelity

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/lab"
)

// listenCauses are connections that are never established.
var listenCauses = []cause{
	nobodyListens("refuse", "refuse"),
	nobodyListens("reset, at the SYN", "reset:at=syn,hit=client"),
	nobodyListens("reset, at the SYN-ACK", "reset:at=synack,hit=client"),
	{
		name: "syn-drop", fault: "syn-drop", watch: faults.Client,
		genuine: "the listener's accept queue is full: listen(0), and one connection waits in it",
		prepare: func(p *play) { p.crowd(1) },
		counts:  "ListenOverflows", counted: faults.Server,
		before: dialing(2500 * time.Millisecond),
		then:   []string{`connect() = EINPROGRESS`},
		shows:  []string{"C>S [S] seq=0", "C>S [S] seq=0 (again)"},
	},
	{
		name: "syn-drop, room again", fault: "syn-drop:attempts=1", watch: faults.Client,
		genuine: "the listener's accept queue is full, and has room again half a second later",
		prepare: func(p *play) { p.crowd(1) },
		before:  func(p *play) { p.dial().Timeout(500 * time.Millisecond); p.connect() },
		act:     (*play).makeRoom,
		then: []string{
			"within 5s", `connect() = ok`, "accept", `send("ping") = 4`,
			`server: recv() = ping`, "quiet", `server: send("pong") = 4`, `recv() = pong`, "quiet",
		},
		shows: []string{"C>S [S] seq=0", "C>S [S] seq=0 (again)", "S>C [S.] seq=0 ack=1", "C>S [P.] seq=1 ack=1 len=4", "S>C [P.] seq=1 ack=5"},
	},
	{
		name: "syn-drop, SYN queue full", fault: "syn-drop", watch: faults.Client,
		genuine: "half-open connections fill the listener's SYN queue (listen(0) and tcp_syncookies=0): another client sends a SYN and never completes the handshake",
		prepare: (*play).crowdSYNs,
		counts:  "TCPReqQFullDrop", counted: faults.Server,
		before: dialing(2500 * time.Millisecond),
		then:   []string{`connect() = EINPROGRESS`},
		shows:  []string{"C>S [S] seq=0", "C>S [S] seq=0 (again)"},
	},
	{
		name: "accept-overflow", fault: "accept-overflow", watch: faults.Client,
		genuine: "the accept queue fills up between the SYN and the handshake's last ACK",
		prepare: (*play).crowdBehindSYN,
		then:    []string{`connect() = ok`, `send("hello") = 5`, "within 1.3s", `recv() = EAGAIN`},
		shows: []string{
			"S>C [S.] seq=0 ack=1", "C>S [.] seq=1 ack=1", "C>S [P.] seq=1 ack=1 len=5", "C>S [P.] seq=1 ack=1 len=5 (again)",
			"S>C [S.] seq=0 ack=1 (again)", "C>S [.] seq=6 ack=1",
		},
	},
	{
		name: "accept-overflow, room again", fault: "accept-overflow:room-after=600ms", watch: faults.Client,
		genuine: "the accept queue fills up in the middle of the handshake, and has room again after 600 ms; the retransmitted data completes the handshake",
		prepare: (*play).crowdBehindSYN,
		before:  func(p *play) { p.connect(); p.client.Send("hello"); p.idle(600 * time.Millisecond) },
		act:     (*play).makeRoom,
		then:    []string{"accept", `server: recv() = hello`, "quiet", `server: send("pong") = 4`, `recv() = pong`, "quiet"},
		shows: []string{
			"C>S [.] seq=1 ack=1", "C>S [P.] seq=1 ack=1 len=5", "C>S [P.] seq=1 ack=1 len=5 (again)", "S>C [.] seq=1 ack=6", "S>C [P.] seq=1 ack=6 len=4",
		},
	},
	{
		name: "accept-overflow, abort", fault: "accept-overflow:abort=true", watch: faults.Client,
		genuine: "the accept queue fills up between the SYN and the handshake's last ACK, with tcp_abort_on_overflow=1",
		prepare: func(p *play) {
			p.must(p.to.Sysctl("net/ipv4/tcp_abort_on_overflow", "1"))
			p.crowdBehindSYN()
		},
		before: func(p *play) { p.must(p.dial().Nonblock()) },
		then:   []string{`connect() = EINPROGRESS`, "RST", `recv() = ECONNRESET`, `recv() = EOF`},
		shows:  []string{"S>C [S.] seq=0 ack=1", "C>S [.] seq=1 ack=1", shapeB("S>C", 1)},
	},
	{
		name: "connect-stall", fault: "connect-stall:for=700ms", watch: faults.Both,
		genuine: "a slow hop holds the SYN-ACK; the client gives up and closes before it arrives",
		prepare: func(p *play) { p.slow = p.hold(match(fromService(), flags(syn|ack, syn|ack))) },
		before:  func(p *play) { p.dial().Timeout(300 * time.Millisecond); p.connect(); p.client.Close() },
		act:     func(p *play) { p.slow.wait(); p.slow.release() },
		then:    []string{"RST"},
		shows:   []string{"C>S [S] seq=0", "S>C [S.] seq=0 ack=1", shapeB("C>S", 1)},
	},
	unreachableAtSYN("host", "host unreachable (3/1; IPv6: address unreachable, 1/3)", 1, 3, `connect() = EHOSTUNREACH`),
	{
		name: "unreachable, established", fault: "unreachable:code=port,established=true", watch: faults.Client, device: true, late: true,
		genuine: "a router starts to answer port unreachable while the connection is open: a soft error, which is reported when TCP gives up",
		before:  limited(exchanged, 1000),
		act:     func(p *play) { p.filter(match(toService(), p.unreachable(3, 4))) },
		then:    []string{`send("hello") = 5`, `recv() = ECONNREFUSED`, `send("world") = EPIPE`},
		shows:   []string{"C>S [P.] seq=5 ack=5 len=5", "S>C ICMP unreachable", "C>S [P.] seq=5 ack=5 len=5 (again)"},
	},
	unreachableAtSYN("port", "port unreachable (3/3; IPv6: 1/4)", 3, 4, `connect() = ECONNREFUSED`),
	unreachableAtSYN("net", "net unreachable (3/0; IPv6: no route, 1/0)", 0, 0, `connect() = ENETUNREACH`),
	unreachableAtSYN("admin", "administratively prohibited (3/13; IPv6: 1/1)", 13, 1, `connect() = EHOSTUNREACH; IPv6: EACCES`),
}

// nobodyListens is a cause where the port has no listener.
func nobodyListens(name, fault string) cause {
	return cause{
		name: name, fault: fault, watch: faults.Client,
		genuine: "nobody listens on the port",
		prepare: func(p *play) { p.ln.Close() },
		then:    []string{`connect() = ECONNREFUSED`},
		shows:   []string{"C>S [S] seq=0", shapeC},
	}
}

// unreachableAtSYN is a router's ICMP error in answer to the SYN: its codes in
// IPv4 and IPv6, and what connect returns.
func unreachableAtSYN(code, says string, v4, v6 uint8, told string) cause {
	return cause{
		name: "unreachable, " + code, fault: "unreachable:code=" + code, watch: faults.Client, device: true,
		genuine: "a router's rule says " + says,
		prepare: func(p *play) { p.rejectSYN(v4, v6) },
		then:    []string{told},
		shows:   []string{"C>S [S] seq=0", "S>C ICMP unreachable"},
	}
}

// crowd replaces the listener by one with the shortest possible accept queue, one
// connection long, and puts n connections in it.
func (p *play) crowd(n int) {
	p.t.Helper()
	p.ln.Close()
	p.ln = p.listen(0)
	for range n {
		p.fill()
	}
}

// fill puts a connection from the server's own host into the accept queue.
func (p *play) fill() {
	p.t.Helper()
	c, err := p.to.Client(p.service.Addr())
	p.must(err)
	p.cleanup(c.Close)
	if got := c.Connect(p.service); got != "ok" {
		p.t.Errorf("take a place in the accept queue: %s", got)
	}
	p.waiting(1)
}

// crowdSYNs fills the listener's SYN queue with a handshake that is never
// completed: its SYN-ACKs are lost.
func (p *play) crowdSYNs() {
	p.t.Helper()
	p.must(p.to.Sysctl("net/ipv4/tcp_syncookies", "0"))
	p.crowd(0)
	p.filter(match(fromService(), flags(syn|ack, syn|ack), drop()))
	p.must(p.raw(p.from, p.strangerSYN(1), 0))
	if !lab.Eventually(func() bool { return len(p.ends[faults.Server].stack.Segments(strangerPort)) > 1 }) {
		p.t.Error("no handshake is in the SYN queue")
	}
}

// makeRoom accepts the connection that filled the accept queue.
func (p *play) makeRoom() {
	p.t.Helper()
	filler, err := p.ln.Accept()
	p.must(err)
	p.cleanup(filler.Close)
}

// waiting waits until n connections are in the accept queue.
func (p *play) waiting(n uint32) {
	p.t.Helper()
	if !lab.Eventually(func() bool { i, err := p.ln.Info(); return err == nil && i.Unacked == n }) {
		p.t.Errorf("the accept queue did not reach %d connections", n)
	}
}

// crowdBehindSYN fills the accept queue while the handshake's last ACK is in
// flight.
func (p *play) crowdBehindSYN() {
	p.t.Helper()
	p.crowd(0)
	h := p.hold(match(toService(), flags(syn|rst|ack, ack)))
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.wait()
		h.only()
		p.fill()
		h.release()
	}()
	p.cleanup(func() { <-done })
}

// rejectSYN makes the device answer SYNs with an ICMP error after 20 ms, as on a
// long path.
func (p *play) rejectSYN(v4, v6 uint8) {
	p.t.Helper()
	p.filter(match(toService(), flags(syn|ack, syn), p.unreachable(v4, v6)))
	h := p.hold(match(toService(), flags(syn|ack, syn)))
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.wait()
		time.Sleep(20 * time.Millisecond) // connect has released the socket lock by now
		h.release()
	}()
	p.cleanup(func() { <-done })
}
