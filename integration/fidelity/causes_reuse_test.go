package fidelity

import (
	"net/netip"
	"time"

	"github.com/faultctl/faultctl/faults"
	"golang.org/x/sys/unix"
)

// reuseCauses are connections on ports of which the server still has another one.
var reuseCauses = []cause{
	{
		name: "syn-challenge", fault: "syn-challenge", watch: faults.Client, late: true, reused: true,
		genuine: "the client's host no longer knows a connection (TCP_REPAIR) that the server still has, and opens another one on the same port",
		counts:  "TCPSYNChallenge", counted: faults.Server,
		script: func(p *play) {
			exchanged(p)
			stale, port := p.server, p.client.Local()
			p.forget(p.client)
			if p.lane == injected {
				p.forget(p.server)
			}
			p.flush()
			p.since = time.Now()
			p.start()
			p.client = nil
			p.bind(port)
			exchanged(p)
			if p.lane == genuine {
				if got := stale.Recv(); got != "ECONNRESET" {
					p.t.Errorf("the old connection's server gets %s", got)
				}
			}
		},
		shows: []string{
			"C>S [S] seq=0", "S>C [.] len=0 DF", "C>S [R] len=0 win=0 !TS id=0 DF", "C>S [S] seq=0 (again)", "S>C [S.] seq=0 ack=1", "C>S [.] seq=1 ack=1",
			"C>S [P.] seq=1 ack=1 len=4", "S>C [P.] seq=1 ack=5 len=4",
		},
	},
}

// bind creates the client's program, with that address.
func (p *play) bind(at netip.AddrPort) {
	p.t.Helper()
	f, err := p.dial().File()
	p.must(err)
	defer f.Close()
	var addr unix.Sockaddr = &unix.SockaddrInet6{Addr: at.Addr().As16(), Port: int(at.Port())}
	if !p.v6 {
		addr = &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}
	}
	p.must(unix.Bind(int(f.Fd()), addr))
}
