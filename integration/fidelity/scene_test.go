package fidelity

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// scene is where a cell of the audit is played: two hosts with a router between them, a
// client and a server, and an account of what the two programs saw. The account is made
// of their own system calls; nothing of it comes from the engine.
type scene struct {
	*lab.Lab
	t       *testing.T
	at      placement
	v6      bool
	from    *lab.Node // the client's host
	service netip.AddrPort
	ln      *lab.App

	client *lab.App
	leave  chan struct{} // closed when a server that only waits is to close
	served sync.WaitGroup

	mu       sync.Mutex
	manner   manner
	over     bool // what is seen from now on does not count
	seen     map[side][]string
	servers  []*lab.App
	problems []string // why the play is not what it should be
}

// manner is what the server does with a connection.
type manner int

const (
	answers manner = iota // reads and answers until the client closes
	once                  // reads and answers once, and closes without another call when it is told to
	hangs                 // reads once, and closes without an answer when it is told to
	lets                  // does nothing, and closes when it is told to
)

func newScene(t *testing.T, at placement, v6 bool) *scene {
	l, err := lab.New()
	if err != nil {
		t.Fatalf("build the lab: %v", err)
	}
	s := &scene{Lab: l, t: t, at: at, v6: v6, from: l.Client, leave: make(chan struct{}), seen: map[side][]string{}}
	addr := pick(v6, l.Server.V6, l.Server.V4)
	if at == loopback {
		s.from, addr = l.Server, pick(v6, netip.IPv6Loopback(), netip.MustParseAddr("127.0.0.1"))
	}
	s.ln, s.service, err = l.Server.Listen(netip.AddrPortFrom(addr, 5432), 16)
	if err != nil {
		t.Fatal(err)
	}
	s.served.Go(s.serve)
	return s
}

// host is where faultctl runs.
func (s *scene) host() *lab.Node {
	return map[placement]*lab.Node{atClient: s.Client, atServer: s.Server, atRouter: s.Router, loopback: s.Server}[s.at]
}

// end ends the programs. Nothing that they see from then on counts.
func (s *scene) end() {
	s.stopCounting()
	s.ln.Shutdown()
	s.mu.Lock()
	for _, a := range s.servers {
		a.Shutdown()
	}
	s.mu.Unlock()
	select {
	case <-s.leave:
	default:
		close(s.leave)
	}
	s.served.Wait()
	s.ln.Close()
	if s.client != nil {
		s.client.Close()
	}
	s.Lab.Close()
}

func (s *scene) stopCounting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// saw takes down what a program was told.
func (s *scene) saw(who side, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over && !slices.Contains(s.seen[who], what) {
		s.seen[who] = append(s.seen[who], what)
	}
}

// account is what both programs saw that a healthy connection does not show; empty if
// there is nothing.
func (s *scene) account() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, who := range []side{faults.Client, faults.Server} {
		if seen := s.seen[who]; len(seen) > 0 {
			slices.Sort(seen)
			all = append(all, fmt.Sprintf("%s: %s", who, strings.Join(seen, ", ")))
		}
	}
	return strings.Join(all, "; ")
}

// in says that something had to be done by then, and was not: the machine is too busy for
// the play.
func (s *scene) in(since time.Time, most time.Duration) {
	if took := time.Since(since); took > most {
		s.wrong("it took %v, and must take %v at most", took.Round(time.Millisecond), most)
	}
}

// wrong takes down that the play did not go as it should.
func (s *scene) wrong(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

const (
	deadline = 1500 * time.Millisecond // of the client's calls: longer than the first retransmission of a SYN takes
	lateBy   = 400 * time.Millisecond  // what takes longer is late
	request  = "give me an answer\n"
	large    = "give me much\n" // the answer has several segments
	answer   = "here is the answer"
)

// dial opens the client's connection.
func (s *scene) dial() bool {
	c, err := s.from.Client(s.service.Addr())
	if err != nil {
		s.wrong("socket: %v", err)
		return false
	}
	s.client = c
	c.Timeout(deadline)
	got := c.Connect(s.service)
	s.told(faults.Client, c)
	return got == "ok"
}

// told takes down what the last call of a program says, and whether it took long.
func (s *scene) told(who side, a *lab.App) string {
	calls := a.Calls()
	c := calls[len(calls)-1]
	if c.Err == nil {
		if who == faults.Client && c.Took > lateBy {
			s.saw(who, "late")
		}
		return ""
	}
	word := c.Result
	if errors.Is(c.Err, unix.EAGAIN) || errors.Is(c.Err, unix.EINPROGRESS) {
		word = "timeout"
	}
	s.saw(who, word)
	return word
}

// send sends on the client's connection.
func (s *scene) send(text string) bool {
	s.client.Send(text)
	return s.told(faults.Client, s.client) == ""
}

// receive has the client read until the text is there, and says whether it came to that.
func (s *scene) receive(text string) bool {
	got := ""
	for n := 1; len(got) < len(text); n++ {
		part := s.client.Recv()
		switch {
		case s.told(faults.Client, s.client) != "":
			return false
		case part == "EOF":
			s.saw(faults.Client, "EOF")
			return false
		case n > 1 && len(text) < 1000:
			s.saw(faults.Client, "pieces")
		}
		got += part
	}
	if got != text {
		s.saw(faults.Client, "other bytes")
		return false
	}
	return true
}

// ask sends a request and awaits its answer.
func (s *scene) ask() bool { return s.send(request) && s.receive(answer) }

// end of stream is what a client reads for that takes it for the end of an answer.
func (s *scene) toEnd() {
	got := s.client.Recv()
	if s.told(faults.Client, s.client) == "" && got != "EOF" {
		s.saw(faults.Client, "other bytes")
	}
}

// hangUp closes the client's connection.
func (s *scene) hangUp() {
	if s.client != nil {
		s.client.Close()
		s.client = nil
	}
}

// again is what a client does that survives: it tries once more on another connection,
// which is not struck.
func (s *scene) again() {
	s.hangUp()
	c, err := s.from.Client(s.service.Addr())
	if err != nil {
		s.wrong("socket: %v", err)
		return
	}
	defer c.Close()
	c.Timeout(5 * time.Second)
	s.be(answers)
	if got := c.Connect(s.service); got != "ok" {
		s.wrong("the second connection: connect() = %s", got)
	}
	c.Send(request)
	if got := c.Recv(); got != answer {
		s.wrong("the second connection: recv() = %s", got)
	}
}

// be says what the server does with the connections that it accepts next.
func (s *scene) be(m manner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manner = m
}

// sockets takes down what the client's kernel knows: these faults are felt by TCP, and
// the program sees a delay at most.
func (s *scene) sockets() {
	type sock struct {
		who  side
		info lab.Info
	}
	var all []sock
	s.mu.Lock()
	for n, a := range append([]*lab.App{s.client}, s.servers...) {
		if a == nil {
			continue
		}
		if i, err := a.Info(); err == nil {
			all = append(all, sock{pick(n == 0, faults.Client, faults.Server), i})
		}
	}
	s.mu.Unlock()
	for _, one := range all {
		switch {
		case one.info.Duplicates > 0:
			s.saw(one.who, "duplicates")
		case one.info.TotalRetrans > 0:
			s.saw(one.who, "retransmissions")
		}
	}
}

// closes tells servers that wait for it to close.
func (s *scene) closes() { close(s.leave) }

// serve accepts connections until the listener is shut down.
func (s *scene) serve() {
	for {
		a, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		over, how := s.over, s.manner
		s.servers = append(s.servers, a)
		s.mu.Unlock()
		if over {
			s.gone(a)
			continue
		}
		s.served.Go(func() { s.attend(a, how) })
	}
}

// attend serves one connection.
func (s *scene) attend(a *lab.App, how manner) {
	for got := ""; how != lets; {
		part := a.Recv()
		if s.told(faults.Server, a) != "" || part == "EOF" || how == hangs {
			break
		}
		if got += part; !strings.HasSuffix(got, "\n") {
			continue
		}
		a.Send(reply(got))
		if s.told(faults.Server, a) != "" || how == once {
			break
		}
		got = ""
	}
	if how != answers {
		<-s.leave
	}
	s.gone(a)
}

// gone closes the server's end of a connection.
func (s *scene) gone(a *lab.App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers = slices.DeleteFunc(s.servers, func(o *lab.App) bool { return o == a })
	a.Close()
}

// reply is the answer to a request. A request that is damaged gets one as well.
func reply(request string) string {
	if strings.Contains(request, "much") {
		return strings.Repeat("x", 3000)
	}
	return answer
}
