package ruleset

import (
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/sign"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// Env is what expressions need to know about the kernel.
type Env struct {
	NFTQueue bool // it has nft's queue statement (CONFIG_NFT_QUEUE)

	// Set returns the name of a set in the kernel, and its number in the batch that
	// creates it.
	Set func(SetName) (name string, id uint32)
}

// Exprs returns the rule as expressions for the kernel.
func (s Statements) Exprs(env *Env) []expr.Any {
	var es []expr.Any
	for _, st := range s {
		es = append(es, st.exprs(env)...)
	}
	return es
}

// QueueExprs returns a rule that hands packets to the queue with that number, to try
// whether the kernel has what env says.
func QueueExprs(queue uint16, env *Env) []expr.Any {
	return Statements{isTCP{}, enqueue{queue, 1}}.Exprs(env)
}

// CgroupExprs returns a rule that matches the cgroup of a packet, to try whether the
// kernel can.
func CgroupExprs() []expr.Any {
	return Statements{isTCP{}, cgroupIs{ID: 1, Level: 1}}.Exprs(&Env{})
}

// NamesExprs returns a rule with everything that the rules for translated connections
// ask conntrack, to try whether the kernel can.
func NamesExprs(f Family) []expr.Any {
	return append(Statements{isTCP{}, ctStatus(ctDNAT), ctDirection(faults.Original), ctPortIn{1, 1}}.Exprs(&Env{}), ctAddr(f, r0), &expr.Notrack{})
}

// r0 is NFT_REG32_00, the first of the 32-bit registers.
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

func (isTCP) exprs(*Env) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyL4PROTO), compare(expr.CmpOpEq, []byte{unix.IPPROTO_TCP})}
}

// exprs of isFamily read the version that the packet itself says.
func (s isFamily) exprs(*Env) []expr.Any {
	version := byte(0x40)
	if Family(s) == IPv6 {
		version = 0x60
	}
	return append(word(expr.PayloadBaseNetworkHeader, 0, [4]byte{0xf0}), compare(expr.CmpOpEq, []byte{version, 0, 0, 0}))
}

// exprs of tcpIn read IPv4's own field; IPv6's may name an extension header.
func (s tcpIn) exprs(env *Env) []expr.Any {
	if Family(s) == IPv6 {
		return isTCP{}.exprs(env)
	}
	return []expr.Any{&expr.Payload{DestRegister: r0, Base: expr.PayloadBaseNetworkHeader, Offset: 9, Len: 1}, compare(expr.CmpOpEq, []byte{unix.IPPROTO_TCP})}
}

func (oifLoopback) exprs(*Env) []expr.Any { return oifType(expr.CmpOpEq) }
func (oifForeign) exprs(*Env) []expr.Any  { return oifType(expr.CmpOpNeq) }

// exprs of fromHere: what this host sends has not come in by any device.
func (fromHere) exprs(*Env) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyIIF), compare(expr.CmpOpEq, host32(0))}
}

func oifType(op expr.CmpOp) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyOIFTYPE), compare(op, binaryutil.NativeEndian.PutUint16(unix.ARPHRD_LOOPBACK))}
}

func (s ours) exprs(*Env) []expr.Any    { return sign.Tag(s).Ours() }
func (s atLeast) exprs(*Env) []expr.Any { return sign.AtLeast(int(s)) }

func (s priorityHas) exprs(*Env) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyPRIORITY), masked(host32(uint32(s))), compare(expr.CmpOpNeq, host32(0))}
}

func (prioritySet) exprs(*Env) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyPRIORITY), compare(expr.CmpOpNeq, host32(0))}
}

func (clearSignals) exprs(*Env) []expr.Any {
	return []expr.Any{
		meta(expr.MetaKeyPRIORITY), masked(host32(^uint32(allSignals))),
		&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: r0},
	}
}

func (s verdict) exprs(*Env) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: s.kind, Chain: string(s.to)}}
}

func (count) exprs(*Env) []expr.Any { return []expr.Any{&expr.Counter{}} }

// exprs of enqueue picks nft's own queue statement or, where the kernel was
// built without it (CONFIG_NFT_QUEUE), xt's NFQUEUE target, revision 3:
// number, how many, flags, all host-endian uint16, padded to 8 bytes.
func (s enqueue) exprs(env *Env) []expr.Any {
	if env.NFTQueue {
		return []expr.Any{&expr.Queue{Num: s.first, Total: s.total, Flag: expr.QueueFlagBypass}}
	}
	info := xt.Unknown{}
	for _, v := range []uint16{s.first, s.total, 1, 0} {
		info = append(info, binaryutil.NativeEndian.PutUint16(v)...)
	}
	return []expr.Any{&expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}}
}

// exprs of addrIs compare an address word by word, see word.
func (s addrIs) exprs(*Env) []expr.Any {
	addr := s.prefix.Masked().Addr().AsSlice()
	offset := uint32(12)
	if len(addr) == 16 {
		offset = 8
	}
	if s.at == destination {
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

func (s portIn) exprs(*Env) []expr.Any {
	offset := uint32(0)
	if s.at == destination {
		offset = 2
	}
	load := &expr.Payload{DestRegister: r0, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}
	if s.low == s.high {
		return []expr.Any{load, compare(expr.CmpOpEq, be16(s.low))}
	}
	return []expr.Any{load, compare(expr.CmpOpGte, be16(s.low)), compare(expr.CmpOpLte, be16(s.high))}
}

func (s longerThan) exprs(*Env) []expr.Any {
	return []expr.Any{
		meta(expr.MetaKeyLEN),
		&expr.Byteorder{SourceRegister: r0, DestRegister: r0, Op: expr.ByteorderHton, Len: 4, Size: 4},
		compare(expr.CmpOpGt, be32(uint32(s))),
	}
}

func (s flagsAre) exprs(*Env) []expr.Any {
	return append(flags(s.mask), compare(expr.CmpOpEq, []byte{0, byte(s.want), 0, 0}))
}

func (s flagsHave) exprs(*Env) []expr.Any {
	return append(flags(packet.Flags(s)), compare(expr.CmpOpNeq, make([]byte, 4)))
}

// flags loads the word with the flags under the mask.
func flags(mask packet.Flags) []expr.Any {
	return word(expr.PayloadBaseTransportHeader, 12, [4]byte{1: byte(mask)})
}

// word loads a word of a header under a mask. All loads have the same size and are
// aligned, because the kernel executes these without calling a function, at a tenth of
// the cost (nft_payload_fast, nft_bitwise_fast).
func word(base expr.PayloadBase, offset uint32, mask [4]byte) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: r0, Base: base, Offset: offset, Len: 4}, masked(mask[:])}
}

func (s payloadIs) exprs(*Env) []expr.Any {
	low, high := s.bounds()
	// The length is in the byte order of the host, but greater and less compare bytes,
	// so its bytes are swapped first.
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

// load loads the key of the flow into consecutive registers from r0 on.
func (s flowIn) load() []expr.Any {
	addr, size := uint32(12), uint32(4)
	if s.family == IPv6 {
		addr, size = 8, 16
	}
	port := uint32(0)
	first, second := uint32(0), uint32(1)
	if s.dir == faults.Reply {
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

func (s flowIn) exprs(env *Env) []expr.Any {
	name, id := env.Set(s.set)
	return append(s.load(), &expr.Lookup{SourceRegister: r0, SetName: name, SetID: id})
}

func (s notIn) exprs(env *Env) []expr.Any {
	name, id := env.Set(s.set)
	return append(s.load(), &expr.Lookup{SourceRegister: r0, SetName: name, SetID: id, Invert: true})
}

// dynsetOps are the kernel's numbers of the changes; NFT_DYNSET_OP_DELETE is not in
// unix.
var dynsetOps = [...]uint32{Add: unix.NFT_DYNSET_OP_ADD, Update: unix.NFT_DYNSET_OP_UPDATE, Delete: 2}

func (s change) exprs(env *Env) []expr.Any {
	name, id := env.Set(s.set)
	return append(s.load(), &expr.Dynset{SrcRegKey: r0, SetName: name, SetID: id, Operation: dynsetOps[s.op], Timeout: s.timeout})
}

func (s endIn) exprs(env *Env) []expr.Any {
	name, id := env.Set(s.set)
	flow := flowIn{family: s.family} // its key begins with the end that is looked up
	if s.at == destination {
		flow.dir = faults.Reply
	}
	es := flow.load()
	return append(es[:len(es)/2:len(es)/2], &expr.Lookup{SourceRegister: r0, SetName: name, SetID: id})
}

func (iifForeign) exprs(*Env) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyIIFTYPE), compare(expr.CmpOpNeq, binaryutil.NativeEndian.PutUint16(unix.ARPHRD_LOOPBACK))}
}

func (s userIs) exprs(*Env) []expr.Any {
	return []expr.Any{meta(expr.MetaKeySKUID), compare(expr.CmpOpEq, host32(uint32(s)))}
}

// exprs of cgroupIs compare the ancestor of the socket's cgroup at that level
// with its id, the inode number of its directory.
func (s cgroupIs) exprs(*Env) []expr.Any {
	return []expr.Any{
		&expr.Socket{Key: expr.SocketKeyCgroupv2, Level: s.Level, Register: r0},
		compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint64(s.ID)),
	}
}
