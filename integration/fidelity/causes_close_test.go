package fidelity

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// closeCauses are ways to close that end in a reset.
var closeCauses = []cause{
	{
		name: "closed-socket", fault: "closed-socket:pass-response=true", watch: faults.Client, lazy: true,
		genuine: "the server reads a request, answers it and, when the answer has arrived, calls close; the client keeps sending",
		before:  answered, act: closesLater,
		then: []string{`recv() = pong`, `recv() = EOF`, "ack", `send("hello") = 5`, "RST", `send("world") = EPIPE`, `recv() = EOF`},
		shows: []string{
			"S>C [P.] seq=1 ack=5 len=4 TS", "C>S [.] seq=5 ack=5", "S>C [F.] seq=5 ack=5 len=0 TS", "C>S [.] seq=5 ack=6", "C>S [P.] seq=5 ack=6 len=5",
			shapeB("S>C", 6) + " label=own",
		},
	},
	{
		name: "closed-socket, at once", fault: "closed-socket:pass-response=true", watch: faults.Client, lazy: true,
		genuine: "the server answers and at once calls close; the client keeps sending",
		before:  answered, act: closes, healthy: closes,
		then: []string{`recv() = pong`, `recv() = EOF`, "ack", `send("hello") = 5`, "RST", `send("world") = EPIPE`, `recv() = EOF`},
		shows: []string{
			"S>C [P.] seq=1 ack=5 len=4 TS", "S>C [F.] seq=5 ack=5 len=0 TS id=+1", "C>S [.] seq=5 ack=6", "C>S [P.] seq=5 ack=6 len=5",
			shapeB("S>C", 6) + " label=own",
		},
	},
	{
		name: "closed-socket, keepalive", fault: "closed-socket:pass-response=true", watch: faults.Client, lazy: true,
		genuine: "the server answers and, when the answer has arrived, calls close; the client keeps the connection, with keepalive",
		before:  probing(answered), act: closesLater,
		then: []string{`recv() = pong`, `recv() = EOF`, "ack", "C>S [.] seq=4"},
		shows: []string{
			"S>C [F.] seq=5 ack=5", "C>S [.] seq=5 ack=6", "C>S [.] seq=4 ack=6 len=0", "S>C [.] seq=6 ack=5 len=0 TS id=0 DF label=own",
		},
	},
	{
		name: "closed-socket, process killed", fault: "closed-socket:at=age=1s", watch: faults.Client,
		genuine: "the server's process is killed (SIGKILL) while the connection is idle; its kernel closes it",
		before:  exchanged, act: killed,
		then: later(`recv() = EOF`, `send("hello") = 5`, "RST", `send("world") = EPIPE`, `recv() = EOF`),
		shows: []string{
			"S>C [F.] seq=5 ack=5 len=0 TS id=+1", "C>S [.] seq=5 ack=6", "C>S [P.] seq=5 ack=6 len=5", shapeB("S>C", 6) + " label=own",
		},
	},
	{
		name: "closed-socket, FIN lost", fault: "closed-socket:pass-response=true,fin-lost=true", watch: faults.Client, lazy: true, rerolls: true,
		genuine: "the server answers and calls close; a router on the path drops each of its FINs",
		prepare: filters(match(fromService(), flags(fin, fin), drop())),
		before:  answered, act: closes,
		then:  []string{`recv() = pong`, "ack", `send("hello") = 5`, "RST", `recv() = ECONNRESET`, `send("world") = EPIPE`},
		shows: []string{"S>C [P.] seq=1 ack=5 len=4 TS", "C>S [.] seq=5 ack=5", "C>S [P.] seq=5 ack=5 len=5", shapeB("S>C", 5)},
	},
	{
		name: "linger-reset", fault: "linger-reset", watch: faults.Client,
		genuine: "the server closes with SO_LINGER on and a timeout of zero",
		before:  exchanged, act: aborts, healthy: closes,
		then:  reading,
		shows: []string{shapeA("S>C", 5, 5)},
	},
	{
		name: "linger-reset, answer first", fault: "linger-reset", watch: faults.Client, lazy: true,
		genuine: "the server answers and at once closes with SO_LINGER on and a timeout of zero",
		before:  answered, act: aborts, healthy: closes,
		then:  []string{`recv() = pong`, `recv() = ECONNRESET`, `send("hello") = EPIPE`},
		shows: []string{"S>C [P.] seq=1 ack=5 len=4", shapeA("S>C", 5, 5)},
	},
	{
		name: "linger-reset, unsent data lost", fault: "linger-reset:discard=2", watch: faults.Client, lazy: true,
		genuine: "the server closes with SO_LINGER on and a timeout of zero while the end of its answer waits to be sent (TCP_CORK)",
		before:  requested,
		act: func(p *play) {
			p.server.Send("po")
			p.must(p.server.SetInt(unix.IPPROTO_TCP, unix.TCP_CORK, 1))
			p.server.Send("ng")
			aborts(p)
		},
		healthy: func(p *play) { p.server.Send("pong"); p.server.Close() },
		then:    append([]string{`recv() = po`}, reading...),
		shows:   []string{"S>C [P.] seq=1 ack=5 len=2", shapeA("S>C", 3, 5)},
	},
	{
		name: "linger-reset, killed with unread data", fault: "linger-reset", watch: faults.Client,
		genuine: "the server's process is killed (SIGKILL) with a request unread; its kernel aborts the connection",
		before:  func(p *play) { exchanged(p); p.client.Send("more"); p.quiet() },
		act:     killed,
		healthy: func(p *play) { p.server.Recv(); p.server.Close() },
		then:    append([]string{"RST"}, reading...),
		shows:   []string{"C>S [P.] seq=5 ack=5 len=4", shapeA("S>C", 5, 9)},
	},
	{
		name: "linger-reset, open before", fault: "linger-reset", watch: faults.Client, late: true,
		genuine: "the server closes with SO_LINGER on and a timeout of zero; faultctl started when the connection was already open",
		before:  exchanged, act: aborts, healthy: closes,
		then:  reading,
		shows: []string{shapeA("S>C", 5, 5)},
	},
	{
		name: "linger-reset, by the client", fault: "linger-reset:side=client", watch: faults.Server,
		genuine: "the client closes with SO_LINGER on and a timeout of zero",
		before:  exchanged, act: clientAborts, healthy: clientCloses,
		then:  reading,
		shows: []string{shapeA("C>S", 5, 5)},
	},
	{
		name: "unread-close", fault: "unread-close", watch: faults.Client, lazy: true,
		genuine: "of two requests the server reads one, answers it and, when the answer has arrived, calls close",
		before:  func(p *play) { unread(p); p.server.Send("pong") },
		act:     closesLater,
		then:    append([]string{`recv() = pong`}, reading...),
		shows: []string{
			"C>S [P.] seq=5 ack=1 len=4", "S>C [.] seq=1 ack=9", "S>C [P.] seq=1 ack=9 len=4", "C>S [.] seq=9 ack=5", shapeA("S>C", 5, 9),
		},
	},
	{
		name: "unread-close, at once", fault: "unread-close", watch: faults.Client, lazy: true,
		genuine: "of two requests the server reads one, answers it and at once calls close",
		before:  func(p *play) { unread(p); p.server.Send("pong") },
		act:     closes, healthy: readsCloses,
		then: append([]string{`recv() = pong`}, reading...),
		shows: []string{
			"C>S [P.] seq=5 ack=1 len=4", "S>C [.] seq=1 ack=9", "S>C [P.] seq=1 ack=9 len=4", shapeA("S>C", 5, 9),
		},
	},
	{
		name: "unread-close, upload", fault: "unread-close", watch: faults.Client, lazy: true,
		genuine: "the server reads nothing of an upload, answers early and, when the answer has arrived, calls close; the client keeps sending",
		before: func(p *play) {
			p.open()
			for range 3 {
				p.client.Send(strings.Repeat("x", 1000))
				p.quiet()
			}
			p.server.Send("no!\n")
		},
		act:   closesLater,
		then:  []string{"RST", `send(1000 bytes) = ECONNRESET`, "recv() = no!\n", `recv() = EOF`},
		shows: []string{"C>S [P.] seq=2001 ack=1 len=1000", "S>C [P.] seq=1 ack=3001 len=4", shapeA("S>C", 5, 3001)},
	},
	{
		name: "rst-close", fault: "rst-close", watch: faults.Client,
		genuine: "the server closes with SO_LINGER 0 after everything was delivered, so it sends a RST and no FIN",
		before:  exchanged, act: aborts, healthy: closes,
		then:  []string{"RST", `send("hello") = ECONNRESET`, `send("hello") = EPIPE`, `recv() = EOF`},
		shows: []string{shapeA("S>C", 5, 5)},
	},
	{
		name: "reset, socket destroyed", fault: "reset:at=response,hit=client", watch: faults.Client,
		genuine: "an administrator destroys the server's socket, as ss -K does (SOCK_DESTROY)",
		needs:   canDestroy,
		before:  requested, act: destroyed,
		healthy: func(p *play) { p.server.Send("pong") },
		then:    reading,
		shows:   []string{"C>S [P.] seq=1 ack=1 len=4", shapeA("S>C", 1, 5)},
	},
	{
		name: "reset, by age", fault: "reset:at=age=1s,hit=client,shape=a", watch: faults.Client,
		genuine: "an administrator destroys the server's socket while the connection is idle (SOCK_DESTROY)",
		needs:   canDestroy,
		before:  exchanged, act: destroyed,
		then:  later(reading...),
		shows: []string{shapeA("S>C", 5, 5)},
	},
	{
		name: "reset, listener closed", fault: "reset:at=established,hit=client,shape=a", watch: faults.Client,
		genuine: "the service ends while the connection waits to be accepted",
		before:  func(p *play) { p.must(p.dial().Nonblock()); p.connect() },
		act:     func(p *play) { p.waiting(1); p.ln.Close() },
		then:    append([]string{"RST"}, reading...),
		shows:   []string{"C>S [.] seq=1 ack=1", "S>C [R.] seq=1 ack=1 len=0 TS DF label=own"},
	},
	halfClosed("half-close-intolerant", "half-close-intolerant", "calls close", closes, `recv() = EOF`),
	halfClosed("half-close-intolerant, abort", "half-close-intolerant:abort=true", "closes with SO_LINGER on and a timeout of zero", aborts, `recv() = ECONNRESET`),
}

// halfClosed is a server that takes the client's FIN for a close.
func halfClosed(name, fault, does string, act func(*play), told string) cause {
	return cause{
		name: name, fault: fault, watch: faults.Client,
		genuine: "the client sends a request and shuts down its sending side; the server reads the end of the stream, takes it for a close and " + does,
		before: func(p *play) {
			p.open()
			p.client.Send("hello")
			p.server.Recv()
			p.quiet()
			p.client.CloseWrite()
			p.server.Recv()
		},
		act:     act,
		healthy: func(p *play) { p.server.Send("pong") },
		then:    []string{told, `send("more") = EPIPE`},
		shows: []string{
			"C>S [P.] seq=1 ack=1 len=5", "C>S [F.] seq=6 ack=1", "S>C [.] seq=1 ack=7 len=0",
			pick(fault == "half-close-intolerant", "S>C [F.] seq=1 ack=7 len=0 TS id=+1 DF label=own", shapeA("S>C", 1, 7)),
		},
	}
}

func isRST(l line) bool { return l.Flags[0] == 'R' && l.ICMP == "" }

// killed passes the server's connection to a separate process and kills it.
func killed(p *play) {
	p.t.Helper()
	f, err := p.server.File()
	p.must(err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), bystandEnv+"=1")
	cmd.ExtraFiles = []*os.File{f}
	p.must(cmd.Start(), f.Close())
	p.server.Close()
	p.must(cmd.Process.Kill())
	cmd.Wait()
}

// canDestroy returns an error if this kernel cannot destroy sockets. It tries one
// that does not exist.
func canDestroy(p *play) error {
	nobody := netip.AddrPortFrom(p.service.Addr(), 1)
	if err := p.to.Destroy(nobody, nobody); !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("this kernel cannot destroy sockets (CONFIG_INET_DIAG_DESTROY): %w", err)
	}
	return nil
}

// forget makes an end lose all state of the connection silently, as if its host
// had been rebooted.
func (p *play) forget(a *lab.App) {
	p.t.Helper()
	p.must(a.SetInt(unix.IPPROTO_TCP, unix.TCP_REPAIR, 1))
	a.Close()
}
