package fidelity

import (
	"strings"
	"time"

	"github.com/faultctl/faultctl/faults"
	"golang.org/x/sys/unix"
)

// Plays.

// asks sends a request and awaits its answer; whatever comes of it, it then goes on with
// another connection.
func asks(s *scene) {
	if s.dial() {
		s.ask()
	}
	s.again()
}

// asksOnce is asks with time for the server to be told after it has answered.
func asksOnce(s *scene) {
	if s.dial() && s.ask() {
		time.Sleep(150 * ms)
	}
	s.again()
}

// fetches is asks with a large answer.
func fetches(s *scene) {
	if s.dial() && s.send(large) {
		s.receive(strings.Repeat("x", 3000))
	}
	s.again()
}

// exchanges does what a link's fault makes slow, and looks at what TCP knows of it.
func exchanges(s *scene) {
	if s.dial() {
		for range 4 {
			s.ask()
		}
		s.sockets()
	}
	s.again()
}

// leavesIdle has one exchange, and leaves the connection alone until the moment is over,
// without a call; then both ends close.
func leavesIdle(moment time.Duration) func(*scene) {
	return func(s *scene) {
		s.be(once)
		begun := time.Now()
		if s.dial() && s.ask() {
			s.in(begun, moment-400*ms) // an answer is over after 250 ms
			time.Sleep(moment + 300*ms)
		}
		s.hangUp()
		s.closes()
		time.Sleep(100 * ms)
	}
}

// asksLater has one exchange, leaves the connection alone for that long, and asks again.
func asksLater(d time.Duration) func(*scene) {
	return func(s *scene) {
		if s.dial() && s.ask() {
			time.Sleep(d)
			s.ask()
		}
		s.again()
	}
}

// shuts has one exchange, closes the connection in order, and waits until the moment is
// over.
func shuts(moment time.Duration) func(*scene) {
	return func(s *scene) {
		begun := time.Now()
		if s.dial() {
			s.ask()
		}
		s.hangUp()
		time.Sleep(50 * ms)
		s.in(begun, moment-50*ms)
		time.Sleep(moment + 200*ms)
	}
}

// beats asks several times, never as long apart as the fault waits.
func beats(wait time.Duration) func(*scene) {
	return func(s *scene) {
		if s.dial() {
			for range 8 {
				begun := time.Now()
				s.ask()
				time.Sleep(wait / 4)
				s.in(begun, wait-50*ms)
			}
		}
		s.hangUp()
		time.Sleep(50 * ms)
	}
}

// probes has TCP send keepalives while the connection is idle.
func probes(total time.Duration) func(*scene) {
	return func(s *scene) {
		if s.dial() {
			s.probe()
			s.ask()
			time.Sleep(total)
			s.ask()
		}
		s.hangUp()
		time.Sleep(50 * time.Millisecond)
	}
}

// probe turns the client's keepalive on: after a second of silence, then every second,
// and it gives up after two.
func (s *scene) probe() {
	for _, o := range [][3]int{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 2},
	} {
		if err := s.client.SetInt(o[0], o[1], o[2]); err != nil {
			s.wrong("%v", err)
		}
	}
}

// openBefore opens a connection and uses it.
func openBefore(s *scene) {
	s.be(once)
	if s.dial() {
		s.ask()
	}
	time.Sleep(50 * time.Millisecond) // its last acknowledgment
}

// onlyCloses closes at both ends, in order.
func onlyCloses(s *scene) {
	s.hangUp()
	s.closes()
	time.Sleep(500 * time.Millisecond)
}

// waits has one exchange, and then reads for what comes next, as a program does that is
// told of events.
func waits(s *scene) {
	if s.dial() && s.ask() {
		s.toEnd()
	}
	s.again()
}

// abandoned sends a request that the server reads, and closes without an answer.
func abandoned(s *scene) {
	s.be(hangs)
	if s.dial() && s.send(request) {
		time.Sleep(100 * ms)
		s.closes()
		s.receive(answer)
	}
	s.again()
}

// halfCloses sends a request, shuts down its sending side, and awaits an answer, which
// the server does not give before it closes.
func halfCloses(s *scene) {
	s.be(hangs)
	if s.dial() && s.send(request) {
		time.Sleep(100 * ms)
		s.client.CloseWrite()
		s.receive(answer)
	}
	s.closes()
	s.again()
}

// aborted has the client abort before the server closes.
func aborted(s *scene) {
	s.be(once)
	if s.dial() && s.ask() {
		time.Sleep(50 * ms)
		if err := s.client.Linger(); err != nil {
			s.wrong("%v", err)
		}
	}
	s.hangUp()
	time.Sleep(50 * ms)
	s.closes()
	time.Sleep(100 * ms)
}

// twice sends a second request when the first is answered.
func twice(s *scene) {
	if s.dial() && s.ask() {
		s.ask()
	}
	s.again()
}

// spare opens a connection that is never used.
func spare(s *scene) {
	s.be(lets)
	if !s.dial() {
		s.wrong("connect() was told")
	}
	time.Sleep(700 * ms)
	s.hangUp()
	s.closes()
	time.Sleep(100 * ms)
}

// givesUp has TCP probe until it gives the connection up.
func givesUp(s *scene) {
	if s.dial() {
		s.probe()
		s.ask()
		s.client.Timeout(8 * time.Second)
		s.client.Recv()
		s.told(faults.Client, s.client)
	}
	s.again()
}

// shutsProbing closes before the first probe.
func shutsProbing(s *scene) {
	if s.dial() {
		s.probe()
		s.ask()
	}
	s.hangUp()
	time.Sleep(1200 * ms)
}

// beatsProbing asks so often that no probe is sent.
func beatsProbing(s *scene) {
	if s.dial() {
		s.probe()
		for range 12 {
			s.ask()
			time.Sleep(200 * ms)
		}
	}
	s.hangUp()
	time.Sleep(50 * ms)
}

// exchangesWell asks and closes in order.
func exchangesWell(s *scene) {
	if s.dial() {
		s.ask()
		time.Sleep(400 * ms) // what comes later than that is no longer under way
		s.ask()
	}
	s.hangUp()
	time.Sleep(100 * ms)
}

// shutByServer has the server close first: that is no remedy of the client's.
func shutByServer(moment time.Duration) func(*scene) {
	return func(s *scene) {
		s.be(once)
		begun := time.Now()
		if s.dial() && s.ask() {
			s.closes()
			if got := s.client.Recv(); got != "EOF" {
				s.wrong("the server closes: recv() = %s", got)
			}
			s.in(begun, moment-50*ms)
		}
		s.hangUp()
		time.Sleep(moment + 200*ms)
	}
}
