package fidelity

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// The parts that causes are composed of.

// What an application learns of a RST depends on what it does next.
var (
	reading  = []string{`recv() = ECONNRESET`, `recv() = EOF`, `send("hello") = EPIPE`}
	speaking = []string{`send("hello") = 5`, "RST", `recv() = ECONNRESET`, `send("world") = EPIPE`, `recv() = EOF`}
	writing  = []string{`send("hello") = 5`, "RST", `send("world") = ECONNRESET`, `send("again") = EPIPE`}
)

// The shapes of a RST, as measured: A from a socket that aborts, B from a host
// that does not know the connection, C from a host where nothing listens.
func shapeA(way string, seq, ack int) string {
	return fmt.Sprintf("%s [R.] seq=%d ack=%d len=0 TS id=+1 DF label=own", way, seq, ack)
}

func shapeB(way string, seq int) string {
	return fmt.Sprintf("%s [R] seq=%d len=0 win=0 !TS id=0 DF", way, seq)
}

const shapeC = "S>C [R.] seq=0 ack=1 len=0 win=0 !TS id=0 DF"

// States of a connection before the act.

func opened(p *play)    { p.open() }
func exchanged(p *play) { p.open(); p.exchange() }
func requested(p *play) { p.open(); p.request() }

// answered: the client has not read the response yet.
func answered(p *play) { requested(p); p.server.Send("pong") }

// unread: the server has read only the first of two requests.
func unread(p *play) {
	requested(p)
	p.client.Send("more")
	p.quiet()
}

// dialing: the client is about to connect, with that timeout.
func dialing(limit time.Duration) func(*play) {
	return func(p *play) { p.dial().Timeout(limit) }
}

// limited: the client's TCP gives up after ms milliseconds without an
// acknowledgment (TCP_USER_TIMEOUT).
func limited(before func(*play), ms int) func(*play) {
	return func(p *play) {
		before(p)
		p.must(p.client.SetInt(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, ms))
	}
}

// probing: the client has keepalive on: a probe after one second of silence, then
// every second, and it gives up after two.
func probing(before func(*play)) func(*play) {
	return func(p *play) {
		before(p)
		for _, o := range [][3]int{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 2},
		} {
			p.must(p.client.SetInt(o[0], o[1], o[2]))
		}
	}
}

// Acts.

func closes(p *play)       { p.server.Close() }
func closesLater(p *play)  { p.quiet(); p.server.Close() }
func readsCloses(p *play)  { p.server.Recv(); p.server.Close() }
func aborts(p *play)       { p.must(p.server.Linger()); p.server.Close() }
func clientCloses(p *play) { p.client.Close() }
func clientAborts(p *play) { p.must(p.client.Linger()); p.client.Close() }

// destroyed: an administrator destroys the server's socket, as ss -K does.
func destroyed(p *play) { p.must(p.to.Destroy(p.service, p.client.Local())) }

// forgotten: the server's host silently loses all state of the connection, as if
// it had been rebooted.
func forgotten(p *play) { p.forget(p.server) }

// filters: the device starts to apply these rules.
func filters(rules ...rule) func(*play) {
	return func(p *play) { p.filter(rules...) }
}

// forgets: the device is stateful, forgets a connection that was idle for a
// second, and applies these rules to unknown connections.
func forgets(rules ...rule) func(*play) {
	return func(p *play) {
		p.check(canTrack(p))
		p.track(1)
		p.filter(rules...)
	}
}

// later returns the steps after a silence that is longer than the idle timeout of
// the devices here.
func later(steps ...string) []string { return append([]string{"idle 1.4s"}, steps...) }
