// Package ctnames tells what the client of a translated connection calls its
// server.
//
// Where a destination is rewritten (DNAT: a published port, a cluster's service
// address) packets are judged under the server's own address, but the client knows
// another one. An answer of ours to its SYN is of no connection yet for conntrack,
// so nothing translates it: it must be sent in the name that the client knows.
// Conntrack knows it, and a rule can ask: it is put into a map, by the packet's own
// addresses, before the packet is queued.
//
// NFQA_CT would say it with the packet, but kernels are built without it
// (CONFIG_NETFILTER_NETLINK_GLUE_CT).
package ctnames

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Remembered is for how long a name is kept after the last SYN.
const Remembered = time.Hour

const most = 1 << 16 // names a map holds

const r0 = unix.NFT_REG32_00

// Names is what was put in.
type Names struct{ maps [2]*nftables.Set }

// Add puts the maps and their rules into the table, with the connection's next
// Flush. They sit in front of the priority before which a forwarded packet must be
// known, and behind the translation in output.
func Add(c *nftables.Conn, table *nftables.Table, before int32) (*Names, error) {
	n := &Names{}
	for i, v6 := range []bool{false, true} {
		m, err := addMap(c, table, v6)
		if err != nil {
			return nil, err
		}
		n.maps[i] = m
	}
	for _, at := range []struct {
		name     string
		hook     *nftables.ChainHook
		priority int32
	}{
		{"names_input", nftables.ChainHookInput, before - 1},
		{"names_forward", nftables.ChainHookForward, before - 1},
		{"names_output", nftables.ChainHookOutput, AfterDNAT},
	} {
		accept := nftables.ChainPolicyAccept
		chain := c.AddChain(&nftables.Chain{
			Name: at.name, Table: table, Type: nftables.ChainTypeFilter, Policy: &accept,
			Hooknum: at.hook, Priority: nftables.ChainPriorityRef(nftables.ChainPriority(at.priority)),
		})
		for i, v6 := range []bool{false, true} {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: learn(n.maps[i], v6)})
		}
	}
	return n, nil
}

// AfterDNAT is a priority in output behind the translation of destinations
// (NF_IP_PRI_NAT_DST, -100).
const AfterDNAT = -99

func addMap(c *nftables.Conn, table *nftables.Table, v6 bool) (*nftables.Set, error) {
	addr, name := nftables.TypeIPAddr, "names4"
	if v6 {
		addr, name = nftables.TypeIP6Addr, "names6"
	}
	m := &nftables.Set{
		Table: table, Name: name, IsMap: true, Dynamic: true, HasTimeout: true, Timeout: Remembered, Size: most,
		KeyType:  nftables.MustConcatSetType(addr, nftables.TypeInetService, addr, nftables.TypeInetService),
		DataType: nftables.MustConcatSetType(addr, nftables.TypeInetService),
	}
	if err := c.AddSet(m, nil); err != nil {
		return nil, fmt.Errorf("add map %s: %w", name, err)
	}
	return m, nil
}

const (
	statusDNAT = 1 << 5 // IPS_DST_NAT
	flagsSYN   = 0x02
	flagsACK   = 0x10
)

// learn is the rule: a SYN of a connection whose destination is translated.
func learn(m *nftables.Set, v6 bool) []expr.Any {
	version, offset, size, ctDst := byte(0x40), uint32(12), uint32(4), expr.CtKeyDSTIP
	if v6 {
		version, offset, size, ctDst = 0x60, 8, 16, expr.CtKeyDSTIP6
	}
	host := binaryutil.NativeEndian.PutUint32
	load := func(base expr.PayloadBase, reg, offset, size uint32) expr.Any {
		return &expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: size}
	}
	masked := func(size uint32, mask []byte) expr.Any {
		return &expr.Bitwise{SourceRegister: r0, DestRegister: r0, Len: size, Mask: mask, Xor: make([]byte, size)}
	}
	es := []expr.Any{
		load(expr.PayloadBaseNetworkHeader, r0, 0, 1), masked(1, []byte{0xf0}), &expr.Cmp{Op: expr.CmpOpEq, Register: r0, Data: []byte{version}},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: r0}, &expr.Cmp{Op: expr.CmpOpEq, Register: r0, Data: []byte{unix.IPPROTO_TCP}},
		load(expr.PayloadBaseTransportHeader, r0, 13, 1), masked(1, []byte{flagsSYN | flagsACK}), &expr.Cmp{Op: expr.CmpOpEq, Register: r0, Data: []byte{flagsSYN}},
		&expr.Ct{Key: expr.CtKeySTATUS, Register: r0}, masked(4, host(statusDNAT)), &expr.Cmp{Op: expr.CmpOpNeq, Register: r0, Data: host(0)},
	}
	words, reg := size/4, uint32(r0)
	for end := range uint32(2) {
		es = append(es, load(expr.PayloadBaseNetworkHeader, reg, offset+end*size, size),
			load(expr.PayloadBaseTransportHeader, reg+words, end*2, 2))
		reg += words + 1
	}
	return append(es,
		&expr.Ct{Key: ctDst, Direction: expr.CtDirOriginal, OptDirection: true, Register: reg},
		&expr.Ct{Key: expr.CtKeyPROTODST, Direction: expr.CtDirOriginal, OptDirection: true, Register: reg + words},
		&expr.Dynset{SrcRegKey: r0, SrcRegData: reg, SetName: m.Name, SetID: m.ID, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: Remembered},
	)
}

// Server returns what the client of a connection calls its server, given both ends
// as a packet of the client carries them where it is judged. It reports false if
// the connection is not translated.
func (n *Names) Server(c *nftables.Conn, client, server netip.AddrPort) (as netip.AddrPort, ok bool, err error) {
	m := n.maps[0]
	if client.Addr().Is6() {
		m = n.maps[1]
	}
	var key []byte
	for _, e := range []netip.AddrPort{client, server} {
		key = append(append(key, e.Addr().AsSlice()...), byte(e.Port()>>8), byte(e.Port()), 0, 0)
	}
	found, err := c.FindSetElements(m, []nftables.SetElement{{Key: key}})
	switch {
	case errors.Is(err, syscall.ENOENT) || err == nil && len(found) == 0:
		return as, false, nil
	case err != nil:
		return as, false, fmt.Errorf("look for a name in map %s: %w", m.Name, err)
	}
	size := len(client.Addr().AsSlice())
	val := found[0].Val
	if len(val) < size+2 {
		return as, false, fmt.Errorf("look for a name in map %s: %d bytes of data", m.Name, len(val))
	}
	a, _ := netip.AddrFromSlice(val[:size])
	return netip.AddrPortFrom(a, binaryutil.BigEndian.Uint16(val[size:size+2])), true, nil
}
