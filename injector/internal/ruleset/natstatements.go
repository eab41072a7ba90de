package ruleset

import (
	"fmt"
	"net/netip"

	"github.com/faultctl/faultctl/faults"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The bits of a connection's status (linux/netfilter/nf_conntrack_common.h).
const (
	ctSNAT = 1 << 4 // IPS_SRC_NAT
	ctDNAT = 1 << 5 // IPS_DST_NAT
)

type (
	ctStatus    uint32 // one bit of the connection's status
	ctDirection faults.Direction
	ctAddrIs    netip.Prefix // the address that the client asked for
	ctPortIn    struct{ low, high uint16 }
	addrIn      struct {
		family Family
		at     end
		set    SetName
	}
	// nameIn changes the address by which the client knows its server.
	nameIn struct {
		flowIn
		op SetOp
	}
	// knownIn adds the client, with that name, to a set.
	knownIn struct {
		family Family
		dir    faults.Direction
		set    SetName
	}
	// quotesKnown matches ICMP errors about a packet from the client to that name.
	quotesKnown struct {
		family Family
		set    SetName
	}
	notrack    struct{}
	flag       struct{} // for the judging chain
	notFlagged struct{}
)

func (s ctStatus) nft() string { return fmt.Sprintf("ct status & %#x != 0", uint32(s)) }

func (s ctDirection) nft() string {
	if faults.Direction(s) == faults.Reply {
		return "ct direction reply"
	}
	return "ct direction original"
}

func (s ctAddrIs) nft() string {
	p := netip.Prefix(s)
	text := p.Masked().String()
	if p.IsSingleIP() {
		text = p.Addr().String()
	}
	return fmt.Sprintf("ct original %s daddr %s", FamilyOf(p.Addr()).header(), text)
}

func (s ctPortIn) nft() string {
	if s.low == s.high {
		return fmt.Sprintf("ct original proto-dst %d", s.low)
	}
	return fmt.Sprintf("ct original proto-dst %d-%d", s.low, s.high)
}

func (s addrIn) nft() string {
	return fmt.Sprintf("%s %saddr @%s", s.family.header(), s.at.letter(), s.set)
}

func asked(f Family) string {
	return fmt.Sprintf("ct original %s daddr . ct original proto-dst", f.header())
}

func (s nameIn) nft() string {
	return fmt.Sprintf("%s @%s { %s timeout %s : %s }", s.op, s.set, key(s.family, s.dir), durationText(namesFor), asked(s.family))
}

func (s knownIn) nft() string {
	at := source
	if s.dir == faults.Reply {
		at = destination
	}
	return fmt.Sprintf("update @%s { %s %saddr . tcp %sport . %s timeout %s }", s.set, s.family.header(), at.letter(), at.letter(), asked(s.family), durationText(namesFor))
}

func (s quotesKnown) nft() string {
	if s.family == IPv6 {
		return fmt.Sprintf("meta l4proto ipv6-icmp @th,128,128 . @th,384,16 . @th,256,128 . @th,400,16 @%s", s.set)
	}
	return fmt.Sprintf("meta l4proto icmp @th,160,32 . @th,224,16 . @th,192,32 . @th,240,16 @%s", s.set)
}

func (notrack) nft() string { return "notrack" }

func (flag) nft() string { return fmt.Sprintf("meta priority set meta priority | %#x", uint32(named)) }

func (notFlagged) nft() string {
	return fmt.Sprintf("meta priority & %#x != %#x", uint32(allSignals), uint32(named))
}

func (s ctStatus) exprs(*Env) []expr.Any {
	return []expr.Any{&expr.Ct{Key: expr.CtKeySTATUS, Register: r0}, masked(host32(uint32(s))), compare(expr.CmpOpNeq, host32(0))}
}

func (s ctDirection) exprs(*Env) []expr.Any {
	return []expr.Any{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: r0}, compare(expr.CmpOpEq, []byte{byte(s)})}
}

func ctAddr(f Family, reg uint32) expr.Any {
	k := expr.CtKeyDSTIP
	if f == IPv6 {
		k = expr.CtKeyDSTIP6
	}
	return &expr.Ct{Key: k, Direction: expr.CtDirOriginal, OptDirection: true, Register: reg}
}

func ctPort(reg uint32) expr.Any {
	return &expr.Ct{Key: expr.CtKeyPROTODST, Direction: expr.CtDirOriginal, OptDirection: true, Register: reg}
}

func (s ctAddrIs) exprs(*Env) []expr.Any {
	p := netip.Prefix(s)
	addr := p.Masked().Addr().AsSlice()
	es := []expr.Any{ctAddr(FamilyOf(p.Addr()), r0)}
	if !p.IsSingleIP() {
		mask := make([]byte, len(addr))
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		es = append(es, masked(mask))
	}
	return append(es, compare(expr.CmpOpEq, addr))
}

func (s ctPortIn) exprs(*Env) []expr.Any {
	if s.low == s.high {
		return []expr.Any{ctPort(r0), compare(expr.CmpOpEq, be16(s.low))}
	}
	return []expr.Any{ctPort(r0), compare(expr.CmpOpGte, be16(s.low)), compare(expr.CmpOpLte, be16(s.high))}
}

func (s addrIn) exprs(env *Env) []expr.Any {
	name, id := env.Set(s.set)
	offset, size := uint32(12), uint32(4)
	if s.family == IPv6 {
		offset, size = 8, 16
	}
	if s.at == destination {
		offset += size
	}
	return []expr.Any{
		&expr.Payload{DestRegister: r0, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Lookup{SourceRegister: r0, SetName: name, SetID: id},
	}
}

// words returns how many registers an address takes.
func (f Family) words() uint32 {
	if f == IPv6 {
		return 4
	}
	return 1
}

func (s nameIn) exprs(env *Env) []expr.Any {
	name, id := env.Set(s.set)
	reg := r0 + 2*(s.family.words()+1)
	return append(s.load(), ctAddr(s.family, reg), ctPort(reg+s.family.words()),
		&expr.Dynset{SrcRegKey: r0, SrcRegData: reg, SetName: name, SetID: id, Operation: dynsetOps[s.op], Timeout: namesFor})
}

func (s knownIn) exprs(env *Env) []expr.Any {
	name, id := env.Set(s.set)
	es := flowIn{family: s.family, dir: s.dir}.load()
	reg := r0 + s.family.words() + 1
	return append(es[:len(es)/2:len(es)/2], ctAddr(s.family, reg), ctPort(reg+s.family.words()),
		&expr.Dynset{SrcRegKey: r0, SetName: name, SetID: id, Operation: dynsetOps[Update], Timeout: namesFor})
}

func (s quotesKnown) exprs(env *Env) []expr.Any {
	name, id := env.Set(s.set)
	proto, at, size, ports := byte(unix.IPPROTO_ICMP), uint32(8+12), uint32(4), uint32(8+20)
	if s.family == IPv6 {
		proto, at, size, ports = unix.IPPROTO_ICMPV6, 8+8, 16, 8+40
	}
	es := []expr.Any{meta(expr.MetaKeyL4PROTO), compare(expr.CmpOpEq, []byte{proto})}
	reg := uint32(r0)
	for end := range uint32(2) {
		es = append(es,
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: at + end*size, Len: size},
			&expr.Payload{DestRegister: reg + s.family.words(), Base: expr.PayloadBaseTransportHeader, Offset: ports + end*2, Len: 2})
		reg += s.family.words() + 1
	}
	return append(es, &expr.Lookup{SourceRegister: r0, SetName: name, SetID: id})
}

func (notrack) exprs(*Env) []expr.Any { return []expr.Any{&expr.Notrack{}} }

func (flag) exprs(*Env) []expr.Any {
	return []expr.Any{
		meta(expr.MetaKeyPRIORITY),
		&expr.Bitwise{SourceRegister: r0, DestRegister: r0, Len: 4, Mask: host32(^uint32(named)), Xor: host32(uint32(named))},
		&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: r0},
	}
}

func (notFlagged) exprs(*Env) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyPRIORITY), masked(host32(uint32(allSignals))), compare(expr.CmpOpNeq, host32(uint32(named)))}
}
