package injector

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/faultctl/faultctl/injector/internal/minirun"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/lab"
)

// TestNamesByHook checks what ruleset relies on where a host translates the destinations
// of its own programs: behind the translation in output and in front of it in input,
// packets of both directions carry the server's own address; in front of the one and
// behind the other, the address that the client asked for.
func TestNamesByHook(t *testing.T) {
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	virtual := []netip.Addr{netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("fd99::1")}[:len(addrsOf(l.Client))]
	translate(t, l.Client, l.Server, virtual, false)
	lines := "add table inet k\n"
	for _, at := range []struct {
		name, hook string
		priority   int
		port       string
	}{
		{"out_before", "output", -150, fmt.Sprintf("tcp dport %d", publishedPort)},
		{"out_behind", "output", ruleset.AfterDNAT, fmt.Sprintf("tcp dport %d", innerPort)},
		{"in_before", "input", -150, fmt.Sprintf("tcp sport %d", innerPort)},
		{"in_behind", "input", 101, fmt.Sprintf("tcp sport %d", publishedPort)},
	} {
		lines += fmt.Sprintf("add chain inet k %s { type filter hook %s priority %d; }\nadd rule inet k %s %s counter\nadd rule inet k %s meta l4proto tcp counter\n",
			at.name, at.hook, at.priority, at.name, at.port, at.name)
	}
	minirun.Shell(t, l.Client.NS, "nft -f - <<'X'\n"+lines+"X")
	for i, to := range virtual {
		listener, _, err := l.Server.Listen(netip.AddrPortFrom(addrsOf(l.Server)[i], innerPort), 8)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		client, err := l.Client.Client(to)
		if err != nil {
			t.Fatal(err)
		}
		if got := client.Connect(netip.AddrPortFrom(to, publishedPort)); got != "ok" {
			t.Fatal(got)
		}
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		client.Send("hello")
		server.Recv()
		server.Send("answer")
		client.Recv()
		client.Close()
		server.Close()
	}
	// In each chain the packets of the one port are all there are of TCP.
	minirun.Shell(t, l.Client.NS, `for c in out_before out_behind in_before in_behind; do
		nft list chain inet k $c | grep -o 'packets [0-9]*' | uniq | awk -v c=$c 'END { if (NR != 1 || $2 == 0) { print c, NR, $0; exit 1 } }' || exit 1
	done`)
}
