package injector

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/faultctl/faultctl/injector/target"

	"github.com/google/nftables/expr"
)

// statement is one step of a rule: it prints itself in nft syntax and as the
// expressions that the kernel takes. A test compares the two by the kernel's
// own listing.
type statement interface {
	nft() string
	exprs(a *applier) []expr.Any
}

type (
	isTCP        struct{}
	tcpIn        struct{ v6 bool } // the same, of packets whose family is known
	isFamily     struct{ v6 bool }
	oifLoopback  struct{}
	oifForeign   struct{}
	fromHere     struct{} // a local sender's, in output
	iifForeign   struct{}
	userIs       uint32
	cgroupIs     target.Cgroup
	priorityIs   uint32
	priorityHas  signal
	prioritySet  struct{} // it is not 0
	clearSignals struct{}
	verdict      string // accept, drop, return, jump X, goto X
	longerThan   int

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
	// endIn matches packets to (dst) or from one of the service ends in a set.
	endIn struct {
		v6, dst bool
		set     string
	}
	// flagsAre matches the flags under a mask, both as nft names them.
	flagsAre struct{ mask, want string }
	// flagsHave matches segments with one of the flags at least.
	flagsHave struct{ mask string }
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

func (e faultEnd) endpoint() target.Endpoint {
	a := e.Addr().Unmap()
	return target.Endpoint{Prefix: netip.PrefixFrom(a, a.BitLen()), LowPort: e.Port(), HighPort: e.Port()}
}

// ofFamily reports whether e can match a packet of that family.
func ofFamily(e target.Endpoint, v6 bool) bool {
	return !e.Prefix.IsValid() || e.Prefix.Addr().Is6() == v6
}

// matchEnd returns the statements for a packet of the family to (dst) or from e: its
// port first, which tells most others apart.
func matchEnd(e target.Endpoint, v6, dst bool) rule {
	var r rule
	if !e.AnyPort() {
		r = append(r, portIn{dst, e.LowPort, e.HighPort})
	}
	r = append(r, isFamily{v6})
	if e.Prefix.IsValid() && e.Prefix.Bits() > 0 {
		r = append(r, addrIs{dst, e.Prefix})
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
func (tcpIn) nft() string         { return isTCP{}.nft() }
func (oifForeign) nft() string    { return "meta oiftype != loopback" }
func (oifLoopback) nft() string   { return "meta oiftype loopback" }
func (fromHere) nft() string      { return "iif 0" }
func (iifForeign) nft() string    { return "meta iiftype != loopback" }
func (s userIs) nft() string      { return fmt.Sprintf("meta skuid %d", uint32(s)) }
func (s cgroupIs) nft() string    { return fmt.Sprintf("socket cgroupv2 level %d %q", s.Level, s.Path) }
func (s priorityIs) nft() string  { return fmt.Sprintf("meta priority %#x", uint32(s)) }
func (s priorityHas) nft() string { return fmt.Sprintf("meta priority & %#x != 0", uint32(s)) }
func (prioritySet) nft() string   { return "meta priority != 0" }
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
		return fmt.Sprintf("th %sport %d", end(s.dst), s.low)
	}
	return fmt.Sprintf("th %sport %d-%d", end(s.dst), s.low, s.high)
}
func (s flagsAre) nft() string  { return fmt.Sprintf("tcp flags & (%s) == %s", s.mask, s.want) }
func (s flagsHave) nft() string { return fmt.Sprintf("tcp flags & (%s) != 0", s.mask) }
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

func (s endIn) nft() string {
	return fmt.Sprintf("%s %saddr . th %sport @%s", ipWord(s.v6), end(s.dst), end(s.dst), s.set)
}

func (s payloadIs) bounds() (low, high int) {
	head := 20 + 4*s.doff
	if s.v6 {
		head += 20
	}
	return head + s.min, head + s.max
}
