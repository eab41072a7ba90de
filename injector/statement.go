package injector

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// statement is one step of a rule: it prints itself in nft syntax and as the
// expressions that the kernel takes. A test compares the two by the kernel's
// own listing.
type statement interface {
	nft() string
	exprs(a *applier) []expr.Any
}

type (
	isTCP         struct{}
	isFamily      struct{ v6 bool }
	oifLoopback   struct{}
	iifForeign    struct{}
	userIs        uint32
	cgroupIs      Cgroup
	priorityIs    uint32
	priorityHas   signal
	priorityLacks signal
	clearSignals  struct{}
	verdict       string // accept, drop, return, jump X, goto X
	longerThan    int

	// count counts packets. full names the set in which their flow found no
	// room; empty counts something else.
	count struct{ full string }

	// enqueue hands packets to one of total queues from the first on, by a hash
	// of both addresses that does not mind their order (nfqueue_hash): both
	// directions of a flow reach the same one.
	enqueue struct{ first, total uint16 }

	// addrIs matches the source or destination address.
	addrIs struct {
		dst    bool
		prefix netip.Prefix
	}
	// portIn matches the source or destination port.
	portIn struct {
		dst       bool
		low, high uint16
	}
	// flagsAre matches the flags under a mask, both as nft names them.
	flagsAre struct{ mask, want string }
	// payloadIs matches segments with a header of doff words and a payload of
	// min to max bytes; max -1 means no upper bound. IPv4 options and IPv6
	// extension headers count as payload: the kernel cannot add.
	payloadIs struct {
		v6             bool
		doff, min, max int
	}
	// lookup matches flows in a set. The key is read in the packet's own
	// order, or mirrored for packets from server to client.
	lookup struct {
		v6, mirror, not bool
		set             string
	}
	// change adds, updates or deletes the flow in a set.
	change struct {
		lookup
		op      string
		timeout time.Duration
	}
)

// faultEnd is one end of a protected connection.
type faultEnd struct{ netip.AddrPort }

func (e faultEnd) endpoint() Endpoint {
	a := e.Addr().Unmap()
	return Endpoint{Prefix: netip.PrefixFrom(a, a.BitLen()), LowPort: e.Port(), HiPort: e.Port()}
}

// of reports whether e can match a packet of that family.
func (e Endpoint) of(v6 bool) bool { return !e.Prefix.IsValid() || e.Prefix.Addr().Is6() == v6 }

// match returns the statements for a packet to (dst) or from e.
func (e Endpoint) match(dst bool) rule {
	var r rule
	if e.Prefix.IsValid() && e.Prefix.Bits() > 0 {
		r = append(r, addrIs{dst, e.Prefix})
	}
	if !e.anyPort() {
		r = append(r, portIn{dst, e.LowPort, e.HiPort})
	}
	return r
}

func family(v6 bool) string {
	if v6 {
		return "ip6"
	}
	return "ip4"
}

func ipWord(v6 bool) string {
	if v6 {
		return "ip6"
	}
	return "ip"
}

func end(dst bool) string {
	if dst {
		return "d"
	}
	return "s"
}

func key(v6, mirror bool) string {
	ip := ipWord(v6)
	if mirror {
		return ip + " daddr . tcp dport . " + ip + " saddr . tcp sport"
	}
	return ip + " saddr . tcp sport . " + ip + " daddr . tcp dport"
}

func nftDuration(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return fmt.Sprintf("%dms", d.Milliseconds())
}

func (isTCP) nft() string { return "meta l4proto tcp" }
func (s isFamily) nft() string {
	return "meta nfproto " + map[bool]string{false: "ipv4", true: "ipv6"}[s.v6]
}
func (oifLoopback) nft() string     { return "meta oiftype loopback" }
func (iifForeign) nft() string      { return "meta iiftype != loopback" }
func (s userIs) nft() string        { return fmt.Sprintf("meta skuid %d", uint32(s)) }
func (s cgroupIs) nft() string      { return fmt.Sprintf("socket cgroupv2 level %d %q", s.Level, s.Path) }
func (s priorityIs) nft() string    { return fmt.Sprintf("meta priority %#x", uint32(s)) }
func (s priorityHas) nft() string   { return fmt.Sprintf("meta priority & %#x != 0", uint32(s)) }
func (s priorityLacks) nft() string { return fmt.Sprintf("meta priority & %#x == 0", uint32(s)) }
func (clearSignals) nft() string {
	return fmt.Sprintf("meta priority set meta priority & %#x", ^uint32(sigAll))
}
func (s longerThan) nft() string { return fmt.Sprintf("meta length > %d", int(s)) }
func (s verdict) nft() string    { return string(s) }
func (count) nft() string        { return "counter" }
func (s enqueue) nft() string {
	if s.total > 1 {
		return fmt.Sprintf("queue flags bypass to %d-%d", s.first, s.first+s.total-1)
	}
	return fmt.Sprintf("queue flags bypass to %d", s.first)
}
func (s addrIs) nft() string {
	text := s.prefix.Masked().String()
	if s.prefix.IsSingleIP() {
		text = s.prefix.Addr().String()
	}
	return fmt.Sprintf("%s %saddr %s", ipWord(s.prefix.Addr().Is6()), end(s.dst), text)
}
func (s portIn) nft() string {
	if s.low == s.high {
		return fmt.Sprintf("tcp %sport %d", end(s.dst), s.low)
	}
	return fmt.Sprintf("tcp %sport %d-%d", end(s.dst), s.low, s.high)
}
func (s flagsAre) nft() string { return fmt.Sprintf("tcp flags & (%s) == %s", s.mask, s.want) }
func (s payloadIs) nft() string {
	low, high := s.bounds()
	if s.max < 0 {
		return fmt.Sprintf("tcp doff %d meta length >= %d", s.doff, low)
	}
	return fmt.Sprintf("tcp doff %d meta length %d-%d", s.doff, low, high)
}
func (s lookup) nft() string {
	not := ""
	if s.not {
		not = "!= "
	}
	return key(s.v6, s.mirror) + " " + not + "@" + s.set
}
func (s change) nft() string {
	timeout := ""
	if s.timeout != 0 {
		timeout = " timeout " + nftDuration(s.timeout)
	}
	return fmt.Sprintf("%s @%s { %s%s }", s.op, s.set, key(s.v6, s.mirror), timeout)
}

func (s payloadIs) bounds() (low, high int) {
	head := 20 + 4*s.doff
	if s.v6 {
		head += 20
	}
	return head + s.min, head + s.max
}

// The kernel's side. Registers are the 32-bit ones: r0 is NFT_REG32_00.

const r0 = unix.NFT_REG32_00

func compare(op expr.CmpOp, data []byte) expr.Any {
	return &expr.Cmp{Op: op, Register: r0, Data: data}
}

func be16(v uint16) []byte { return binaryutil.BigEndian.PutUint16(v) }
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

func (s isFamily) exprs(*applier) []expr.Any {
	proto := byte(unix.NFPROTO_IPV4)
	if s.v6 {
		proto = unix.NFPROTO_IPV6
	}
	return []expr.Any{meta(expr.MetaKeyNFPROTO), compare(expr.CmpOpEq, []byte{proto})}
}

func (oifLoopback) exprs(*applier) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyOIFTYPE), compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint16(unix.ARPHRD_LOOPBACK))}
}

func (s priorityIs) exprs(*applier) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyPRIORITY), compare(expr.CmpOpEq, host32(uint32(s)))}
}

func (s priorityHas) exprs(*applier) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyPRIORITY), masked(host32(uint32(s))), compare(expr.CmpOpNeq, host32(0))}
}

func (s priorityLacks) exprs(*applier) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyPRIORITY), masked(host32(uint32(s))), compare(expr.CmpOpEq, host32(0))}
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

func (s addrIs) exprs(*applier) []expr.Any {
	p := s.prefix.Masked()
	offset, size := uint32(12), uint32(4)
	if p.Addr().Is6() {
		offset, size = 8, 16
	}
	if s.dst {
		offset += size
	}
	es := []expr.Any{&expr.Payload{DestRegister: r0, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size}}
	if !p.IsSingleIP() {
		mask := make([]byte, size)
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		es = append(es, masked(mask))
	}
	return append(es, compare(expr.CmpOpEq, p.Addr().AsSlice()))
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
		compare(expr.CmpOpGt, binaryutil.BigEndian.PutUint32(uint32(s))),
	}
}

var flagBits = map[string]byte{
	"0": 0, "fin": 1, "syn": 2, "rst": 4, "syn|ack": 0x12, "syn|fin|rst": 7,
}

func (s flagsAre) exprs(*applier) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: r0, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		masked([]byte{flagBits[s.mask]}),
		compare(expr.CmpOpEq, []byte{flagBits[s.want]}),
	}
}

func (s payloadIs) exprs(*applier) []expr.Any {
	low, high := s.bounds()
	// The length is host-endian in its register; greater and less compare
	// bytes, so it is turned round first.
	es := []expr.Any{
		&expr.Payload{DestRegister: r0, Base: expr.PayloadBaseTransportHeader, Offset: 12, Len: 1},
		masked([]byte{0xf0}),
		compare(expr.CmpOpEq, []byte{byte(s.doff << 4)}),
		meta(expr.MetaKeyLEN),
		&expr.Byteorder{SourceRegister: r0, DestRegister: r0, Op: expr.ByteorderHton, Len: 4, Size: 4},
		compare(expr.CmpOpGte, binaryutil.BigEndian.PutUint32(uint32(low))),
	}
	if s.max >= 0 {
		es = append(es, compare(expr.CmpOpLte, binaryutil.BigEndian.PutUint32(uint32(high))))
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
		es = append(es,
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: addr + end*size, Len: size},
			&expr.Payload{DestRegister: reg + size/4, Base: expr.PayloadBaseTransportHeader, Offset: port + end*2, Len: 2})
		reg += size/4 + 1
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

// keyType is the type of a set's key.
func keyType(v6 bool) nftables.SetDatatype {
	addr := nftables.TypeIPAddr
	if v6 {
		addr = nftables.TypeIP6Addr
	}
	return nftables.MustConcatSetType(addr, nftables.TypeInetService, addr, nftables.TypeInetService)
}
