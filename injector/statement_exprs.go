package injector

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// The kernel's side. Registers are the 32-bit ones: r0 is NFT_REG32_00.

const r0 = unix.NFT_REG32_00

func compare(op expr.CmpOp, data []byte) expr.Any {
	return &expr.Cmp{Op: op, Register: r0, Data: data}
}

func be16(v uint16) []byte { return binaryutil.BigEndian.PutUint16(v) }
func be32(v uint32) []byte { return binaryutil.BigEndian.PutUint32(v) }
func host32(v uint32) []byte {
	return binaryutil.NativeEndian.PutUint32(v)
}

func masked(mask []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: r0, DestRegister: r0, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))}
}

func meta(k expr.MetaKey) expr.Any { return &expr.Meta{Key: k, Register: r0} }

func (isTCP) exprs(*applier) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyL4PROTO), compare(expr.CmpOpEq, []byte{unix.IPPROTO_TCP})}
}

// exprs of isFamily read the version that the packet itself says.
func (s isFamily) exprs(*applier) []expr.Any {
	version := byte(0x40)
	if s.v6 {
		version = 0x60
	}
	return append(word(expr.PayloadBaseNetworkHeader, 0, [4]byte{0xf0}), compare(expr.CmpOpEq, []byte{version, 0, 0, 0}))
}

// exprs of tcpIn read IPv4's own field; IPv6's may name an extension header.
func (s tcpIn) exprs(a *applier) []expr.Any {
	if s.v6 {
		return isTCP{}.exprs(a)
	}
	return []expr.Any{&expr.Payload{DestRegister: r0, Base: expr.PayloadBaseNetworkHeader, Offset: 9, Len: 1}, compare(expr.CmpOpEq, []byte{unix.IPPROTO_TCP})}
}

func (oifLoopback) exprs(*applier) []expr.Any { return oifType(expr.CmpOpEq) }
func (oifForeign) exprs(*applier) []expr.Any  { return oifType(expr.CmpOpNeq) }

// exprs of fromHere: what this host sends has not come in by any device.
func (fromHere) exprs(*applier) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyIIF), compare(expr.CmpOpEq, host32(0))}
}

func oifType(op expr.CmpOp) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyOIFTYPE), compare(op, binaryutil.NativeEndian.PutUint16(unix.ARPHRD_LOOPBACK))}
}

func (s priorityIs) exprs(*applier) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyPRIORITY), compare(expr.CmpOpEq, host32(uint32(s)))}
}

func (s priorityHas) exprs(*applier) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyPRIORITY), masked(host32(uint32(s))), compare(expr.CmpOpNeq, host32(0))}
}

func (prioritySet) exprs(*applier) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyPRIORITY), compare(expr.CmpOpNeq, host32(0))}
}

func (clearSignals) exprs(*applier) []expr.Any {
	return []expr.Any{
		meta(expr.MetaKeyPRIORITY), masked(host32(^uint32(sigAll))),
		&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: r0},
	}
}

func (s verdict) exprs(*applier) []expr.Any {
	var word, target string
	fmt.Sscan(string(s), &word, &target)
	kind := map[string]expr.VerdictKind{
		"accept": expr.VerdictAccept, "drop": expr.VerdictDrop, "return": expr.VerdictReturn,
		"jump": expr.VerdictJump, "goto": expr.VerdictGoto,
	}[word]
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: target}}
}

func (count) exprs(*applier) []expr.Any { return []expr.Any{&expr.Counter{}} }

// exprs of enqueue picks nft's own queue statement or, where the kernel was
// built without it (CONFIG_NFT_QUEUE), xt's NFQUEUE target, revision 3:
// number, how many, flags, all host-endian uint16, padded to 8 bytes.
func (s enqueue) exprs(a *applier) []expr.Any {
	if a.nftQueue {
		return []expr.Any{&expr.Queue{Num: s.first, Total: s.total, Flag: expr.QueueFlagBypass}}
	}
	info := xt.Unknown{}
	for _, v := range []uint16{s.first, s.total, 1, 0} {
		info = append(info, binaryutil.NativeEndian.PutUint16(v)...)
	}
	return []expr.Any{&expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}}
}

// exprs of addrIs compare an address word by word, see word.
func (s addrIs) exprs(*applier) []expr.Any {
	addr := s.prefix.Masked().Addr().AsSlice()
	offset := uint32(12)
	if len(addr) == 16 {
		offset = 8
	}
	if s.dst {
		offset += uint32(len(addr))
	}
	var es []expr.Any
	for at := 0; at < len(addr) && 8*at < s.prefix.Bits(); at += 4 {
		es = append(es, &expr.Payload{DestRegister: r0, Base: expr.PayloadBaseNetworkHeader, Offset: offset + uint32(at), Len: 4})
		if bits := s.prefix.Bits() - 8*at; bits < 32 {
			es = append(es, masked(be32(^uint32(0)<<(32-bits))))
		}
		es = append(es, compare(expr.CmpOpEq, addr[at:at+4]))
	}
	return es
}

func (s portIn) exprs(*applier) []expr.Any {
	offset := uint32(0)
	if s.dst {
		offset = 2
	}
	load := &expr.Payload{DestRegister: r0, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}
	if s.low == s.high {
		return []expr.Any{load, compare(expr.CmpOpEq, be16(s.low))}
	}
	return []expr.Any{load, compare(expr.CmpOpGte, be16(s.low)), compare(expr.CmpOpLte, be16(s.high))}
}

func (s longerThan) exprs(*applier) []expr.Any {
	return []expr.Any{
		meta(expr.MetaKeyLEN),
		&expr.Byteorder{SourceRegister: r0, DestRegister: r0, Op: expr.ByteorderHton, Len: 4, Size: 4},
		compare(expr.CmpOpGt, be32(uint32(s))),
	}
}

var flagBits = map[string]byte{
	"0": 0, "fin": 1, "syn": 2, "rst": 4, "syn|ack": 0x12, "syn|fin": 3, "syn|rst": 6, "syn|fin|rst": 7,
}

func (s flagsAre) exprs(*applier) []expr.Any {
	return append(flags(s.mask), compare(expr.CmpOpEq, []byte{0, flagBits[s.want], 0, 0}))
}

func (s flagsHave) exprs(*applier) []expr.Any {
	return append(flags(s.mask), compare(expr.CmpOpNeq, make([]byte, 4)))
}

// flags loads the word with the flags under the mask.
func flags(mask string) []expr.Any {
	return word(expr.PayloadBaseTransportHeader, 12, [4]byte{1: flagBits[mask]})
}

// word loads a word of a header under a mask. All of one size, aligned: so the
// kernel does it in its loop, without calling a function, which is a tenth of
// the cost (nft_payload_fast, nft_bitwise_fast).
func word(base expr.PayloadBase, offset uint32, mask [4]byte) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: r0, Base: base, Offset: offset, Len: 4}, masked(mask[:])}
}

func (s payloadIs) exprs(*applier) []expr.Any {
	low, high := s.bounds()
	// The length is host-endian in its register; greater and less compare
	// bytes, so it is turned round first.
	es := append(word(expr.PayloadBaseTransportHeader, 12, [4]byte{0xf0}),
		compare(expr.CmpOpEq, []byte{byte(s.doff << 4), 0, 0, 0}),
		meta(expr.MetaKeyLEN),
		&expr.Byteorder{SourceRegister: r0, DestRegister: r0, Op: expr.ByteorderHton, Len: 4, Size: 4},
		compare(expr.CmpOpGte, be32(uint32(low))))
	if s.max >= 0 {
		es = append(es, compare(expr.CmpOpLte, be32(uint32(high))))
	}
	return es
}

// load puts the flow's key into consecutive registers from r0 on.
func (s lookup) load() []expr.Any {
	addr, size := uint32(12), uint32(4)
	if s.v6 {
		addr, size = 8, 16
	}
	port := uint32(0)
	first, second := uint32(0), uint32(1)
	if s.mirror {
		first, second = 1, 0
	}
	reg := uint32(r0)
	var es []expr.Any
	for _, end := range []uint32{first, second} {
		for at := uint32(0); at < size; at += 4 { // by words, see word
			es = append(es, &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: addr + end*size + at, Len: 4})
			reg++
		}
		es = append(es, &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: port + end*2, Len: 2})
		reg++
	}
	return es
}

func (s lookup) exprs(a *applier) []expr.Any {
	set := a.sets[s.set]
	return append(s.load(), &expr.Lookup{SourceRegister: r0, SetName: set.Name, SetID: set.ID, Invert: s.not})
}

func (s change) exprs(a *applier) []expr.Any {
	set := a.sets[s.set]
	op := map[string]uint32{"add": unix.NFT_DYNSET_OP_ADD, "update": unix.NFT_DYNSET_OP_UPDATE, "delete": 2}[s.op]
	return append(s.load(), &expr.Dynset{SrcRegKey: r0, SetName: set.Name, SetID: set.ID, Operation: op, Timeout: s.timeout})
}

func (s endIn) exprs(a *applier) []expr.Any {
	set, flow := a.sets[s.set], lookup{v6: s.v6, mirror: s.dst}
	es := flow.load()
	return append(es[:len(es)/2:len(es)/2], &expr.Lookup{SourceRegister: r0, SetName: set.Name, SetID: set.ID})
}

// endType is the type of the key of a set of service ends.
func endType(v6 bool) nftables.SetDatatype {
	if v6 {
		return nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetService)
	}
	return nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
}

// keyType is the type of a set's key.
func keyType(v6 bool) nftables.SetDatatype {
	addr := nftables.TypeIPAddr
	if v6 {
		addr = nftables.TypeIP6Addr
	}
	return nftables.MustConcatSetType(addr, nftables.TypeInetService, addr, nftables.TypeInetService)
}
