package fidelity

import (
	"fmt"
	"slices"

	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/lab"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// blocks has a firewall drop what matches, in a hook of a host.
func (s *scene) blocks(n *lab.Node, hook *nftables.ChainHook, rules ...[]expr.Any) {
	s.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(n.NS.Fd())))
	if err != nil {
		s.t.Fatal(err)
	}
	t := c.AddTable(&nftables.Table{Name: fmt.Sprintf("firewall%d", *hook), Family: nftables.TableFamilyINet})
	ch := c.AddChain(&nftables.Chain{Name: "c", Table: t, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityFilter})
	for _, r := range rules {
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: append(slices.Clone(r), drop()...)})
	}
	if err := c.Flush(); err != nil {
		s.t.Fatalf("rules of the firewall: %v", err)
	}
}

// what firewalls drop.
type blocked string

const (
	rstBlocked  blocked = "RST"
	endBlocked  blocked = "FIN and RST"
	icmpBlocked blocked = "ICMP"
	oursBlocked blocked = "what is ours"
)

func (s *scene) exprs(what blocked) [][]expr.Any {
	switch what {
	case rstBlocked:
		return [][]expr.Any{match(flags(rst, rst))}
	case endBlocked:
		return [][]expr.Any{match(flags(fin, fin)), match(flags(rst, rst))}
	case icmpBlocked:
		of := func(proto byte) []expr.Any {
			return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{pick[byte](proto == unix.IPPROTO_ICMP, 3, 1)}}}
		}
		return [][]expr.Any{of(unix.IPPROTO_ICMP), of(unix.IPPROTO_ICMPV6)}
	}
	own, mask, err := injector.Sign(s.host().NS)
	if err != nil {
		s.t.Fatal(err)
	}
	const leaves = 1 << 31 // what goes on in a verdict's place
	sign := func(mask, value uint32) []expr.Any {
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(value)}}
	}
	return [][]expr.Any{sign(mask, own), sign(leaves, leaves)}
}

// ours puts a firewall behind faultctl's hooks, on its own host.
func (s *scene) ours(what blocked) {
	for _, hook := range []*nftables.ChainHook{nftables.ChainHookOutput, nftables.ChainHookForward, nftables.ChainHookInput} {
		s.blocks(s.host(), hook, s.exprs(what)...)
	}
}

// theirs puts a firewall before the TCP of both ends.
func (s *scene) theirs(what blocked) {
	s.blocks(s.Server, nftables.ChainHookInput, s.exprs(what)...)
	if s.from != s.Server {
		s.blocks(s.from, nftables.ChainHookInput, s.exprs(what)...)
	}
}
