package injector

import (
	"net"
	"net/netip"
	"testing"

	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// TestTranslations has the kernel lead a port elsewhere, as a published port of
// a container is, and asks conntrack for it.
func TestTranslations(t *testing.T) {
	ns := kerneltest.NetNS(t)
	nft, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	table := nft.AddTable(&nftables.Table{Name: "published", Family: nftables.TableFamilyIPv4})
	chain := nft.AddChain(&nftables.Chain{Name: "out", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest})
	nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0x1f, 0x90}}, // 8080
		&expr.Immediate{Register: 1, Data: []byte{127, 0, 0, 2}},
		&expr.Immediate{Register: 2, Data: []byte{0x15, 0x38}}, // 5432
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
	}})
	if err := nft.Flush(); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.2:5432")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	port := func(low, high uint16) target.Matcher {
		return target.Matcher{To: []target.Endpoint{{LowPort: low, HighPort: high}}}
	}
	want := []Translation{{netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("127.0.0.2:5432")}}
	for name, tc := range map[string]struct {
		m    target.Matcher
		want []Translation
	}{
		"the published port":  {port(8080, 8080), want},
		"among others":        {port(8000, 9000), want},
		"both":                {port(1, 65535), nil},
		"the port behind it":  {port(5432, 5432), nil},
		"another one":         {port(80, 80), nil},
		"another client":      {target.Matcher{To: port(8080, 8080).To, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, nil},
		"any, but its client": {target.Matcher{From: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, nil},
	} {
		got, err := Translations(ns, tc.m)
		if d := cmp.Diff(tc.want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
	}
}
