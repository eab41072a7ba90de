package exitwatch

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/minirun"
	"github.com/faultctl/faultctl/lab"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

const (
	ownSign = 0x01a0_17c1
	watched = 1 << 31 // a bit of the priority of what goes on in a verdict's place
)

var signs = []Sign{
	{Mask: watched, Value: watched, Clear: watched},
	{Mask: ^uint32(0), Value: ownSign},
}

// firewalls drop every RST in a hook. The host's own rules stand behind ours.
var firewalls = []struct{ name, rule string }{
	{"none", ""},
	{"nft drop", "nft add table inet fw; nft add chain inet fw c '{ type filter hook HOOK priority 0; }'; nft add rule inet fw c tcp flags rst drop"},
	{"nft policy drop", "nft add table inet fw; nft add chain inet fw c '{ type filter hook HOOK priority 0; }'; " +
		"nft add rule inet fw c meta l4proto != tcp accept; nft add rule inet fw c 'tcp flags & rst == 0 accept'; nft add chain inet fw c '{ type filter hook HOOK priority 0; policy drop; }'"},
	{"nft reject", "nft add table inet fw; nft add chain inet fw c '{ type filter hook HOOK priority 0; }'; nft add rule inet fw c tcp flags rst reject"},
	{"iptables-nft drop", "for i in iptables-nft ip6tables-nft; do $i -A CHAIN -p tcp --tcp-flags RST RST -j DROP; done"},
	{"iptables-legacy drop", "for i in iptables-legacy ip6tables-legacy; do $i -A CHAIN -p tcp --tcp-flags RST RST -j DROP; done"},
	{"iptables-legacy reject", "for i in iptables-legacy ip6tables-legacy; do $i -A CHAIN -p tcp --tcp-flags RST RST -j REJECT; done"},
	{"nft drop in the last place", "nft add table inet fw; nft add chain inet fw c '{ type filter hook HOOK priority 2147483646; }'; nft add rule inet fw c tcp flags rst drop"},
}

// TestEaten checks that what a firewall behind ours drops is not taken for sent,
// and what none drops is: in each hook, by a verdict and by a raw socket, with
// what people have for firewalls.
func TestEaten(t *testing.T) {
	for _, way := range []struct {
		name, hook, chain string
		hooknum           *nftables.ChainHook
		raw               bool
	}{
		{"verdict in output", "output", "OUTPUT", nftables.ChainHookOutput, false},
		{"verdict in forward", "forward", "FORWARD", nftables.ChainHookForward, false},
		{"verdict in input", "input", "INPUT", nftables.ChainHookInput, false},
		{"raw socket to elsewhere", "output", "OUTPUT", nil, true},
		{"raw socket to a local socket", "input", "INPUT", nil, true},
	} {
		t.Run(way.name, func(t *testing.T) {
			for _, fw := range firewalls {
				t.Run(fw.name, func(t *testing.T) { eaten(t, way.hook, way.chain, way.hooknum, way.raw, fw.rule) })
			}
		})
	}
}

func eaten(t *testing.T, hook, chain string, hooknum *nftables.ChainHook, raw bool, firewall string) {
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	node := map[string]*lab.Node{"output": l.Client, "forward": l.Router, "input": l.Server}[hook]
	if raw {
		node = l.Client
	}
	c := minirun.Conn(t, node.NS)
	table := minirun.Table(c, "watch")
	w, err := Add(c, table, signs...)
	if err != nil {
		t.Fatal(err)
	}
	const port = 8080
	var rewritten atomic.Uint64 // seq and ack of the RST
	var seen atomic.Uint32      // of every data segment, what the judge saw
	if !raw {
		minirun.Queue(t, node.NS, 500, func(p minirun.Packet) minirun.Verdict {
			s, err := packet.Parse(p.Bytes)
			if err != nil || s.PayloadLen() == 0 {
				return minirun.Verdict{}
			}
			seen.Add(1)
			f := packet.FieldsOf(s)
			f.Flags = packet.RST | packet.ACK
			priority := p.Priority | watched
			rewritten.Store(uint64(f.Seq)<<32 | uint64(f.Ack))
			return minirun.Verdict{Bytes: f.Append(nil, nil), Priority: &priority}
		})
		ch := minirun.Chain(c, table, "judge", hooknum, -150)
		minirun.Rule(c, ch, minirun.Port(port, true), minirun.ToQueue(500))
	}
	minirun.Flush(t, c)
	if firewall != "" {
		minirun.Shell(t, node.NS, replace(firewall, hook, chain))
	}
	sender := minirun.NewRaw(t, node.NS, ownSign)
	for _, to := range []netip.Addr{l.Server.V4, l.Server.V6} {
		if !to.IsValid() {
			continue
		}
		listener, at, err := l.Server.Listen(netip.AddrPortFrom(to, port), 8)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		client, _ := l.Client.Client(to)
		defer client.Close()
		if got := client.Connect(at); got != "ok" {
			t.Fatalf("connect: %s", got)
		}
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		var errno error
		if raw {
			f := packet.Fields{Src: client.Local(), Dst: at, TTL: 64, DF: true, Flags: packet.RST | packet.ACK, Seq: 77, Ack: 78}
			if hook == "input" {
				f.Src, f.Dst = at, client.Local()
			}
			errno = sender.Send(f.Append(nil, nil))
			rewritten.Store(77<<32 | 78)
		} else {
			client.Send("hello")
			if !lab.Eventually(func() bool { return seen.Load() > 0 }) {
				t.Fatal("nothing came to the queue")
			}
			seen.Store(0)
		}
		want := firewall == ""
		left := func() bool {
			_, left, err := w.Left(c, uint32(rewritten.Load()>>32), uint32(rewritten.Load()))
			if err != nil {
				t.Fatal(err)
			}
			return left
		}
		if want && !lab.Eventually(left) {
			t.Errorf("%s: it left, and was not seen to", to)
		}
		if !want {
			time.Sleep(20 * time.Millisecond) // nothing comes to wait for
			if left() {
				t.Errorf("%s: it was eaten, and seen to leave", to)
			}
		}
		if refused := errno != nil; raw && refused != (!want && hook == "output") {
			t.Errorf("%s: the raw socket says %v", to, errno)
		}
		t.Logf("%s: left %v, errno of the raw socket %v", to, left(), errno)
	}
}

func replace(s, hook, chain string) string {
	out := ""
	for i := 0; i < len(s); {
		switch {
		case len(s)-i >= 4 && s[i:i+4] == "HOOK":
			out, i = out+hook, i+4
		case len(s)-i >= 5 && s[i:i+5] == "CHAIN":
			out, i = out+chain, i+5
		default:
			out, i = out+s[i:i+1], i+1
		}
	}
	return out
}

// TestText checks that the rules in nft syntax are what is put in: nft takes them, and
// they remember what has left.
func TestText(t *testing.T) {
	l, err := lab.NewIPv4()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := t.TempDir() + "/rules"
	if err := os.WriteFile(file, []byte("table inet text {"+Text(signs...)+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	minirun.Shell(t, l.Client.NS, "nft -f "+file)
	f := packet.Fields{Src: netip.AddrPortFrom(l.Client.V4, 9), Dst: netip.AddrPortFrom(l.Server.V4, 9), TTL: 64, Flags: packet.RST, Seq: 4711, Ack: 4712}
	if err := minirun.NewRaw(t, l.Client.NS, ownSign).Send(f.Append(nil, nil)); err != nil {
		t.Fatal(err)
	}
	minirun.Shell(t, l.Client.NS, "nft list set inet text left | grep -q '4711 . 4712'")
	if Remembered != time.Minute {
		t.Errorf("the text says %s, it is %v", remembered, Remembered)
	}
	c := minirun.Conn(t, l.Client.NS)
	if _, err := Add(c, minirun.Table(c, "watch"), signs...); err != nil {
		t.Fatal(err)
	}
	minirun.Flush(t, c)
	listing := func(table string) string {
		file, chain := t.TempDir()+"/list", false
		minirun.Shell(t, l.Client.NS, "nft list table inet "+table+" > "+file)
		out, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var rules []string
		for line := range strings.Lines(string(out)) { // sets are shown by the words that made them
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "chain") {
				chain = true
			}
			if chain {
				rules = append(rules, counters.ReplaceAllString(line, "counter"))
			}
		}
		return strings.Join(rules, "\n")
	}
	if text, added := listing("text"), listing("watch"); text != added {
		t.Errorf("the text gives\n%s\nwant\n%s", text, added)
	}
}

var counters = regexp.MustCompile(`counter packets \d+ bytes \d+`)

// TestClear checks that the sign's bits are taken off again: nothing behind sees
// them.
func TestClear(t *testing.T) {
	l, err := lab.NewIPv4()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := minirun.Conn(t, l.Client.NS)
	table := minirun.Table(c, "watch")
	if _, err := Add(c, table, Sign{Mask: watched, Value: watched, Clear: watched}); err != nil {
		t.Fatal(err)
	}
	set := minirun.Chain(c, table, "set", nftables.ChainHookOutput, -150)
	minirun.Rule(c, set, minirun.Flags(2), []expr.Any{
		&expr.Immediate{Register: r0, Data: []byte{7, 0, 0, 0x80}},
		&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: r0},
	})
	minirun.Flush(t, c)
	minirun.Shell(t, l.Client.NS, "nft add table netdev e; nft add chain netdev e c '{ type filter hook egress device eth0 priority 0; }'; "+
		"nft add rule netdev e c tcp flags syn meta priority 0:7 counter")
	client, _ := l.Client.Client(l.Server.V4)
	defer client.Close()
	client.Connect(netip.AddrPortFrom(l.Server.V4, 1))
	minirun.Shell(t, l.Client.NS, "nft list chain netdev e c | grep -q 'packets 1 '")
}

func BenchmarkLeft(b *testing.B) {
	l, err := lab.NewIPv4()
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	c := minirun.Conn(b, l.Client.NS)
	w, err := Add(c, minirun.Table(c, "watch"), signs...)
	if err != nil {
		b.Fatal(err)
	}
	minirun.Flush(b, c)
	raw := minirun.NewRaw(b, l.Client.NS, ownSign)
	f := packet.Fields{Src: netip.AddrPortFrom(l.Client.V4, 9), Dst: netip.AddrPortFrom(l.Server.V4, 9), TTL: 64, Flags: packet.RST, Seq: 1}
	pkt := f.Append(nil, nil)
	if err := raw.Send(pkt); err != nil {
		b.Fatal(err)
	}
	b.Run("ask", func(b *testing.B) {
		for b.Loop() {
			if _, left, err := w.Left(c, 1, 0); !left || err != nil {
				b.Fatal(left, err)
			}
		}
	})
	b.Run("send, watched", func(b *testing.B) {
		for b.Loop() {
			raw.Send(pkt)
		}
	})
	other := minirun.NewRaw(b, l.Client.NS, 0)
	b.Run("send, not ours", func(b *testing.B) {
		for b.Loop() {
			other.Send(pkt)
		}
	})
	c.DelTable(w.set.Table)
	minirun.Flush(b, c)
	b.Run("send, no rules", func(b *testing.B) {
		for b.Loop() {
			other.Send(pkt)
		}
	})
}
