package fidelity

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/lab"
)

// haproxyCauses are what a proxy does. In the genuine lane it is a real HAProxy.
var haproxyCauses = []cause{
	{
		name: "rst-close, HAProxy", fault: "rst-close:side=client", watch: faults.Server,
		genuine: "HAProxy on the client's host closes its connection to the server after the response (option http-server-close)",
		needs:   haveHAProxy,
		prepare: func(p *play) {
			p.haproxy(`
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen proxy
  bind 127.0.0.1:8080
  option http-server-close
  server service %s
`, p.service)
		},
		script: func(p *play) {
			p.do()
			p.server.Recv()
			p.server.Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
			if p.lane == injected {
				p.client.Recv()
				p.client.Close()
			}
			p.await(isRST)
			p.server.Recv()
			p.server.Send("late")
		},
		act: func(p *play) {
			user := p.user(p.from, netip.MustParseAddrPort("127.0.0.1:8080"))
			user.Send(httpRequest)
			p.accept()
			p.port = p.server.Peer().Port()
		},
		healthy: func(p *play) {
			p.open()
			p.client.Send(httpPassed)
		},
		shows: []string{"C>S [P.] seq=1 ack=1", "S>C [P.] seq=1", "C>S [R.] len=0 TS id=+1 DF label=own"},
	},
	{
		name: "idle-expire, HAProxy", fault: "idle-expire:after=1s,then=fin-both", watch: faults.Client,
		genuine: "HAProxy on the server's host closes a connection that was idle for a second (timeout client)",
		needs:   haveHAProxy,
		prepare: func(p *play) { p.haproxyIdle("1s") },
		before:  exchanged,
		then:    later(`recv() = EOF`, `send("hello") = 5`, "RST", `send("world") = EPIPE`),
		shows:   []string{"S>C [F.] seq=5 ack=5", "C>S [.] seq=5 ack=6", "C>S [P.] seq=5 ack=6", shapeB("S>C", 6)},
	},
	{
		name: "idle-expire, HAProxy, keepalive", fault: "idle-expire:preset=haproxy,after=1500ms", watch: faults.Client,
		genuine: "HAProxy on the server's host closes a connection that was idle for 1.5 s, although the client sends keepalive probes, which the host's TCP answers",
		needs:   haveHAProxy,
		prepare: func(p *play) { p.haproxyIdle("1500ms") },
		before:  probing(exchanged),
		then:    []string{`recv() = EOF`, "idle 200ms", `send("hello") = 5`, "RST", `send("world") = EPIPE`}, // HAProxy shuts down first, then closes
		shows: []string{
			"C>S [.] seq=4 ack=5 len=0", "S>C [F.] seq=5 ack=5", "C>S [.] seq=5 ack=6", "C>S [P.] seq=5 ack=6", shapeB("S>C", 6),
		},
	},
}

// httpPassed is what HAProxy forwards for httpRequest.
const (
	httpRequest = "GET / HTTP/1.1\r\nhost: service\r\n\r\n"
	httpPassed  = "GET / HTTP/1.1\r\nhost: service\r\nconnection: close\r\n\r\n"
)

func haveHAProxy(*play) error {
	if _, err := haproxyPath(); err != nil {
		return errors.New("haproxy is not installed: make deps")
	}
	return nil
}

func haproxyPath() (string, error) {
	if path, err := exec.LookPath("haproxy"); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/haproxy")
}

// haproxy starts HAProxy with that configuration: on the server's host if args has
// a second address, where it listens on the service's address, else on the
// client's host.
func (p *play) haproxy(format string, args ...any) {
	p.t.Helper()
	path, err := haproxyPath()
	p.must(err)
	file := filepath.Join(p.t.TempDir(), "haproxy.cfg")
	p.must(os.WriteFile(file, fmt.Appendf(nil, format, args...), 0o600))
	at, ready := p.from, netip.MustParseAddrPort("127.0.0.1:8080")
	if len(args) > 1 {
		at, ready = p.to, p.service
	}
	cmd := exec.Command(path, "-db", "-f", file)
	p.must(at.Do(cmd.Start))
	p.cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if !lab.Eventually(func() bool { return at.Listens(ready) }) {
		p.t.Fatal("haproxy does not listen")
	}
}

// haproxyIdle starts HAProxy on the server's host, in front of the service, with
// that idle timeout.
func (p *play) haproxyIdle(timeout string) {
	p.t.Helper()
	p.ln.Close()
	behind := netip.MustParseAddrPort("127.0.0.1:6000")
	ln, _, err := p.to.Listen(behind, 16)
	p.must(err)
	p.cleanup(ln.Close)
	p.ln = ln
	p.haproxy(`
defaults
  mode tcp
  timeout connect 5s
  timeout client `+timeout+`
  timeout server `+timeout+`
listen proxy
  bind %s
  server service %s
`, p.service, behind)
}

// user connects a program to a proxy.
func (p *play) user(at *lab.Node, to netip.AddrPort) *lab.App {
	p.t.Helper()
	a, err := at.Client(to.Addr())
	p.must(err)
	p.cleanup(a.Close)
	if got := a.Connect(to); got != "ok" {
		p.t.Fatalf("connect to the proxy: %s", got)
	}
	return a
}
