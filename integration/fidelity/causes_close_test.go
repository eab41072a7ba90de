package fidelity

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/integration/lab"
	"golang.org/x/sys/unix"
)

// closeCauses are closes that end in a reset.
var closeCauses = []cause{
	{
		name: "closed-socket", fault: "closed-socket:pass-response=true", watch: faults.Client, lazy: true,
		genuine: "the server reads a request, answers it and calls close; the client goes on sending",
		script:  goesOnSending,
		act:     func(p *play) { p.server.Close() },
		shows:   closedByServer,
		says:    []string{`recv() = pong`, `recv() = EOF`, `send("hello") = 5`, `send("world") = EPIPE`, `recv() = EOF`},
	},
	{
		name: "closed-socket, keepalive", fault: "closed-socket:pass-response=true", watch: faults.Client, lazy: true,
		genuine: "the server answers and calls close; the client keeps the connection, with keepalive",
		script: func(p *play) {
			p.open()
			p.keepalive(p.client)
			p.request()
			p.server.Send("pong")
			p.do()
			p.client.Recv()
			p.client.Recv()
			p.acknowledge()
			p.await(func(l line) bool { return l.Way == "C>S" && l.Seq == 4 })
		},
		act: func(p *play) { p.server.Close() },
		shows: []string{
			"S>C [F.] seq=5 ack=5", "C>S [.] seq=5 ack=6", "C>S [.] seq=4 ack=6 len=0", "S>C [.] seq=6 ack=5 len=0 TS id=0 DF label=own",
		},
		says: []string{`recv() = pong`, `recv() = EOF`},
	},
	{
		name: "closed-socket, process killed", fault: "closed-socket:at=age=1s", watch: faults.Client,
		genuine: "the server's process is killed (SIGKILL) while the connection is idle; its kernel closes it",
		script: func(p *play) {
			p.open()
			p.exchange()
			p.do()
			p.idle(1300 * time.Millisecond)
			p.client.Recv()
			p.client.Send("hello")
			p.await(isRST)
			p.client.Send("world")
			p.client.Recv()
		},
		act: func(p *play) { p.killServer() },
		shows: []string{
			"S>C [F.] seq=5 ack=5 len=0 TS id=+1", "C>S [.] seq=5 ack=6", "C>S [P.] seq=5 ack=6 len=5",
			"S>C [R] seq=6 len=0 win=0 !TS id=0 DF label=own",
		},
		says: []string{`recv() = EOF`, `send("hello") = 5`, `send("world") = EPIPE`, `recv() = EOF`},
	},
	{
		name: "closed-socket, FIN lost", fault: "closed-socket:pass-response=true,fin-lost=true", watch: faults.Client, lazy: true, rerolls: true,
		genuine: "the server answers and calls close; a router on the way loses every FIN of it",
		prepare: func(p *play) { p.filter(match(fromService(), flags(fin, fin), drop())) },
		script: func(p *play) {
			p.open()
			p.request()
			p.server.Send("pong")
			p.do()
			p.client.Recv()
			p.acknowledge()
			p.client.Send("hello")
			p.await(isRST)
			p.client.Recv()
			p.client.Send("world")
		},
		act: func(p *play) { p.server.Close() },
		shows: []string{
			"S>C [P.] seq=1 ack=5 len=4 TS", "C>S [.] seq=5 ack=5", "C>S [P.] seq=5 ack=5 len=5",
			"S>C [R] seq=5 len=0 win=0 !TS id=0 DF",
		},
		says: []string{`recv() = pong`, `send("hello") = 5`, `recv() = ECONNRESET`, `send("world") = EPIPE`},
	},
	{
		name: "linger-reset", fault: "linger-reset", watch: faults.Client,
		genuine: "the server closes with SO_LINGER on and a time of zero",
		script: func(p *play) {
			p.open()
			p.exchange()
			p.do()
			p.client.Recv()
			p.client.Recv()
			p.client.Send("hello")
		},
		act:     func(p *play) { p.must(p.server.Linger()); p.server.Close() },
		healthy: func(p *play) { p.server.Close() },
		shows:   []string{"S>C [R.] seq=5 ack=5 len=0 TS id=+1 DF label=own"},
		says:    []string{`recv() = ECONNRESET`, `recv() = EOF`, `send("hello") = EPIPE`},
	},
	{
		name: "linger-reset, answer first", fault: "linger-reset", watch: faults.Client, lazy: true,
		genuine: "the server answers and at once closes with SO_LINGER on and a time of zero",
		script: func(p *play) {
			p.open()
			p.request()
			p.server.Send("pong")
			p.do()
			p.client.Recv()
			p.client.Recv()
			p.client.Send("hello")
		},
		act:     func(p *play) { p.must(p.server.Linger()); p.server.Close() },
		healthy: func(p *play) { p.server.Close() },
		shows:   []string{"S>C [P.] seq=1 ack=5 len=4", "S>C [R.] seq=5 ack=5 len=0 TS id=+1 DF label=own"},
		says:    []string{`recv() = pong`, `recv() = ECONNRESET`, `send("hello") = EPIPE`},
	},
	{
		name: "linger-reset, killed with unread data", fault: "linger-reset", watch: faults.Client,
		genuine: "the server's process is killed (SIGKILL) with a request unread; its kernel aborts the connection",
		script: func(p *play) {
			p.open()
			p.exchange()
			p.client.Send("more")
			p.quiet()
			p.do()
			p.await(isRST)
			p.client.Recv()
			p.client.Recv()
			p.client.Send("hello")
		},
		act:     func(p *play) { p.killServer() },
		healthy: func(p *play) { p.server.Recv(); p.server.Close() },
		shows:   []string{"C>S [P.] seq=5 ack=5 len=4", "S>C [R.] seq=5 ack=9 len=0 TS id=+1 DF label=own"},
		says:    []string{`recv() = ECONNRESET`, `recv() = EOF`, `send("hello") = EPIPE`},
	},
	{
		name: "linger-reset, open before", fault: "linger-reset", watch: faults.Client, late: true,
		genuine: "the server closes with SO_LINGER on and a time of zero; faultctl came when the connection was open",
		script: func(p *play) {
			p.open()
			p.exchange()
			p.start()
			p.do()
			p.client.Recv()
			p.client.Recv()
			p.client.Send("hello")
		},
		act:     func(p *play) { p.must(p.server.Linger()); p.server.Close() },
		healthy: func(p *play) { p.server.Close() },
		shows:   []string{"S>C [R.] seq=5 ack=5 len=0 TS id=+1 DF label=own"},
		says:    []string{`recv() = ECONNRESET`, `recv() = EOF`, `send("hello") = EPIPE`},
	},
	{
		name: "linger-reset, by the client", fault: "linger-reset:side=client", watch: faults.Server,
		genuine: "the client closes with SO_LINGER on and a time of zero",
		script: func(p *play) {
			p.open()
			p.exchange()
			p.do()
			p.server.Recv()
			p.server.Recv()
			p.server.Send("hello")
		},
		act:     func(p *play) { p.must(p.client.Linger()); p.client.Close() },
		healthy: func(p *play) { p.client.Close() },
		shows:   []string{"C>S [R.] seq=5 ack=5 len=0 TS id=+1 DF label=own"},
		says:    []string{`recv() = ECONNRESET`, `recv() = EOF`, `send("hello") = EPIPE`},
	},
	{
		name: "unread-close", fault: "unread-close", watch: faults.Client, lazy: true,
		genuine: "of two requests the server reads one, answers it and calls close",
		script: func(p *play) {
			p.open()
			p.request()
			p.client.Send("more")
			p.quiet()
			p.server.Send("pong")
			p.do()
			p.client.Recv()
			p.client.Recv()
			p.client.Recv()
			p.client.Send("hello")
		},
		act: func(p *play) { p.server.Close() },
		shows: []string{
			"C>S [P.] seq=5 ack=1 len=4", "S>C [.] seq=1 ack=9",
			"S>C [P.] seq=1 ack=9 len=4", "S>C [R.] seq=5 ack=9 len=0 TS id=+1 DF label=own",
		},
		says: []string{`recv() = pong`, `recv() = ECONNRESET`, `recv() = EOF`, `send("hello") = EPIPE`},
	},
	{
		name: "unread-close, upload", fault: "unread-close", watch: faults.Client, lazy: true,
		genuine: "the server reads nothing of an upload, answers early and calls close; the client goes on sending",
		script: func(p *play) {
			p.open()
			for range 3 {
				p.client.Send(strings.Repeat("x", 1000))
				p.quiet()
			}
			p.server.Send("no!\n")
			p.do()
			p.await(isRST)
			p.client.Send(strings.Repeat("x", 1000))
			p.client.Recv()
			p.client.Recv()
		},
		act: func(p *play) { p.server.Close() },
		shows: []string{
			"C>S [P.] seq=2001 ack=1 len=1000", "S>C [P.] seq=1 ack=3001 len=4", "S>C [R.] seq=5 ack=3001 len=0 TS id=+1 DF label=own",
		},
		says: []string{`send(1000 bytes) = ECONNRESET`, "recv() = no!\n", `recv() = EOF`},
	},
	{
		name: "rst-close", fault: "rst-close", watch: faults.Client,
		genuine: "the server half-closes nothing and sends no FIN: SO_LINGER 0 after everything was delivered",
		script: func(p *play) {
			p.open()
			p.exchange()
			p.do()
			p.await(isRST)
			p.client.Send("hello")
			p.client.Send("hello")
			p.client.Recv()
		},
		act:     func(p *play) { p.must(p.server.Linger()); p.server.Close() },
		healthy: func(p *play) { p.server.Close() },
		shows:   []string{"S>C [R.] seq=5 ack=5 len=0 TS id=+1 DF label=own"},
		says:    []string{`send("hello") = ECONNRESET`, `send("hello") = EPIPE`, `recv() = EOF`},
	},
	{
		name: "reset, socket destroyed", fault: "reset:at=response,hit=client", watch: faults.Client,
		genuine: "an administrator destroys the server's socket, as ss -K does (SOCK_DESTROY)",
		needs:   canDestroy,
		script: func(p *play) {
			p.open()
			p.request()
			p.do()
			p.client.Recv()
			p.client.Recv()
			p.client.Send("hello")
		},
		act:     func(p *play) { p.must(p.to.Destroy(p.service, p.client.Local())) },
		healthy: func(p *play) { p.server.Send("pong") },
		shows:   []string{"C>S [P.] seq=1 ack=1 len=4", "S>C [R.] seq=1 ack=5 len=0 TS id=+1 DF label=own"},
		says:    []string{`recv() = ECONNRESET`, `recv() = EOF`, `send("hello") = EPIPE`},
	},
	{
		name: "reset, by age", fault: "reset:at=age=1s,hit=client,shape=a", watch: faults.Client,
		genuine: "an administrator destroys the server's socket while the connection is idle (SOCK_DESTROY)",
		needs:   canDestroy,
		script: func(p *play) {
			p.open()
			p.exchange()
			p.do()
			p.idle(1300 * time.Millisecond)
			p.client.Recv()
			p.client.Recv()
			p.client.Send("hello")
		},
		act:   func(p *play) { p.must(p.to.Destroy(p.service, p.client.Local())) },
		shows: []string{"S>C [R.] seq=5 ack=5 len=0 TS id=+1 DF label=own"},
		says:  []string{`recv() = ECONNRESET`, `recv() = EOF`, `send("hello") = EPIPE`},
	},
	{
		name: "reset, listener closed", fault: "reset:at=established,hit=client,shape=a", watch: faults.Client,
		genuine: "the service ends while the connection waits to be accepted",
		script: func(p *play) {
			p.must(p.dial().Nonblock())
			p.connect()
			p.do()
			p.await(isRST)
			p.client.Recv()
			p.client.Recv()
			p.client.Send("hello")
		},
		act:   func(p *play) { p.waiting(1); p.ln.Close() },
		shows: []string{"C>S [.] seq=1 ack=1", "S>C [R.] seq=1 ack=1 len=0 TS DF label=own"},
		says:  []string{`recv() = ECONNRESET`, `recv() = EOF`, `send("hello") = EPIPE`},
	},
}

var closedByServer = []string{
	"S>C [P.] seq=1 ack=5 len=4 TS", "S>C [F.] seq=5 ack=5 len=0 TS id=+1", "C>S [.] seq=5 ack=6", "C>S [P.] seq=5 ack=6 len=5",
	"S>C [R] seq=6 len=0 win=0 !TS id=0 DF label=own",
}

// goesOnSending is a client that does not take the end of the stream for an end.
func goesOnSending(p *play) {
	p.open()
	p.request()
	p.server.Send("pong")
	p.do()
	p.client.Recv()
	p.client.Recv()
	p.acknowledge()
	p.client.Send("hello")
	p.await(isRST)
	p.client.Send("world")
	p.client.Recv()
}

func isRST(l line) bool { return l.Flags[0] == 'R' && l.ICMP == "" }

// killServer hands the server's connection to a process of its own and kills
// that.
func (p *play) killServer() {
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

// canDestroy reports whether this kernel destroys sockets on request. It asks
// for one that does not exist.
func canDestroy(p *play) error {
	nobody := netip.AddrPortFrom(p.service.Addr(), 1)
	if err := p.to.Destroy(nobody, nobody); !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("this kernel destroys no sockets (CONFIG_INET_DIAG_DESTROY): %w", err)
	}
	return nil
}

// forget makes an end lose all it knows of the connection, and say nothing: as
// if its host had been rebooted.
func (p *play) forget(a *lab.App) {
	p.t.Helper()
	p.must(a.SetInt(unix.IPPROTO_TCP, unix.TCP_REPAIR, 1))
	a.Close()
}
