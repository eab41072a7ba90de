package ruleset

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/sign"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/google/nftables/expr"
)

// Statements is a rule of a chain: its statements are evaluated from left to right,
// until one does not match.
type Statements []statement

// statement is one step of a rule. It prints itself in nft syntax, and gives the
// expressions that the kernel takes. A test compares both by means of the kernel's own
// listing.
type statement interface {
	nft() string
	exprs(env *Env) []expr.Any
}

// Queues reports whether matching packets are handed to user space.
func (s Statements) Queues() bool {
	_, is := s[len(s)-1].(enqueue)
	return is
}

// FullSet returns the kind of set for which the rule counts packets of flows that found
// no room in it, or NoSet if it counts something else or nothing.
func (s Statements) FullSet() SetKind {
	c, _ := s[len(s)-1].(count)
	return c.full
}

type (
	isTCP        struct{}
	tcpIn        Family // the same, for packets whose family is known
	isFamily     Family
	oifLoopback  struct{}
	oifForeign   struct{}
	fromHere     struct{} // a packet of a local sender, in output
	iifForeign   struct{}
	userIs       uint32
	cgroupIs     target.Cgroup
	ours         sign.Tag // a packet that a run has sent
	atLeast      int      // of those, one of a run with that level or a higher one
	priorityHas  Signal
	prioritySet  struct{} // the priority is not 0
	clearSignals struct{}
	longerThan   int

	// verdict ends the rule, and the packet's way through the chain.
	verdict struct {
		kind expr.VerdictKind
		to   ChainName // of a jump or a goto
	}

	// count counts packets. full is the kind of set in which their flow found no
	// room; NoSet counts something else.
	count struct{ full SetKind }

	// enqueue hands packets to one of total queues from the first on, by a hash of both
	// addresses that is the same in both directions (nfqueue_hash): both directions of a
	// flow reach the same queue.
	enqueue struct{ first, total uint16 }

	// addrIs matches the address of one end.
	addrIs struct {
		at     end
		prefix netip.Prefix
	}
	// portIn matches the port of one end.
	portIn struct {
		at        end
		low, high uint16
	}
	// endIn matches packets with one of the service ends in a set at that end.
	endIn struct {
		family Family
		at     end
		set    SetName
	}
	// flagsAre matches the flags under a mask.
	flagsAre struct{ mask, want packet.Flags }
	// flagsHave matches segments with at least one of the flags.
	flagsHave packet.Flags
	// payloadIs matches segments with a header of doff words and a payload of min to max
	// bytes; max -1 means no upper bound. IPv4 options and IPv6 extension headers count
	// as payload, because rules cannot add.
	payloadIs struct {
		family         Family
		doff, min, max int
	}
	// flowIn matches packets that travel in that direction of a flow in a set.
	flowIn struct {
		family Family
		dir    faults.Direction
		set    SetName
	}
	// notIn matches packets whose flow is not in the set.
	notIn struct{ flowIn }
	// change adds, updates or deletes the flow in a set. A timeout of 0 means that of
	// the set.
	change struct {
		flowIn
		op      SetOp
		timeout time.Duration
	}
)

// passes matches packets that a run of that level does not judge.
func passes(tag sign.Tag, level int) Statements {
	s := Statements{ours(tag)}
	if level > 0 {
		s = append(s, atLeast(level))
	}
	return s
}

// The verdicts.
var (
	accept = verdict{kind: expr.VerdictAccept}
	drop   = verdict{kind: expr.VerdictDrop}
	ret    = verdict{kind: expr.VerdictReturn}
)

// jump goes through a chain, and comes back if that does not decide.
func jump(to ChainName) verdict { return verdict{expr.VerdictJump, to} }

// goTo goes through a chain, and does not come back.
func goTo(to ChainName) verdict { return verdict{expr.VerdictGoto, to} }

// key returns the key of a flow in a set, in the order of a packet of that direction.
func key(f Family, dir faults.Direction) string {
	ip := f.header()
	if dir == faults.Reply {
		return ip + " daddr . tcp dport . " + ip + " saddr . tcp sport"
	}
	return ip + " saddr . tcp sport . " + ip + " daddr . tcp dport"
}

// flagWords are nft's names of the flags, in the order in which it prints them.
var flagWords = [...]struct {
	flag packet.Flags
	word string
}{{packet.SYN, "syn"}, {packet.FIN, "fin"}, {packet.RST, "rst"}, {packet.ACK, "ack"}}

// flagsText returns the flags in nft syntax.
func flagsText(flags packet.Flags) string {
	var words []string
	for _, f := range flagWords {
		if flags.Has(f.flag) {
			words = append(words, f.word)
			flags &^= f.flag
		}
	}
	if flags != 0 || words == nil {
		words = append(words, fmt.Sprintf("%d", flags))
	}
	return strings.Join(words, "|")
}

func durationText(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return fmt.Sprintf("%dms", d.Milliseconds())
}

func (isTCP) nft() string { return "meta l4proto tcp" }
func (s isFamily) nft() string {
	if Family(s) == IPv6 {
		return "meta nfproto ipv6"
	}
	return "meta nfproto ipv4"
}
func (tcpIn) nft() string       { return isTCP{}.nft() }
func (oifForeign) nft() string  { return "meta oiftype != loopback" }
func (oifLoopback) nft() string { return "meta oiftype loopback" }
func (fromHere) nft() string    { return "iif 0" }
func (iifForeign) nft() string  { return "meta iiftype != loopback" }
func (s userIs) nft() string    { return fmt.Sprintf("meta skuid %d", uint32(s)) }
func (s cgroupIs) nft() string  { return fmt.Sprintf("socket cgroupv2 level %d %q", s.Level, s.Path) }
func (s ours) nft() string {
	return fmt.Sprintf("meta priority & %#x == %#x", uint32(sign.Mask), sign.Tag(s).Of(0))
}
func (s atLeast) nft() string {
	return fmt.Sprintf("meta priority & %#x >= %d", ^uint32(sign.Mask), int(s))
}
func (s priorityHas) nft() string { return fmt.Sprintf("meta priority & %#x != 0", uint32(s)) }
func (prioritySet) nft() string   { return "meta priority != 0" }
func (clearSignals) nft() string {
	return fmt.Sprintf("meta priority set meta priority & %#x", ^uint32(allSignals))
}
func (s longerThan) nft() string { return fmt.Sprintf("meta length > %d", int(s)) }
func (s verdict) nft() string {
	switch s.kind {
	case expr.VerdictAccept:
		return "accept"
	case expr.VerdictDrop:
		return "drop"
	case expr.VerdictJump:
		return "jump " + string(s.to)
	case expr.VerdictGoto:
		return "goto " + string(s.to)
	}
	return "return"
}
func (count) nft() string { return "counter" }
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
	return fmt.Sprintf("%s %saddr %s", FamilyOf(s.prefix.Addr()).header(), s.at.letter(), text)
}
func (s portIn) nft() string {
	if s.low == s.high {
		return fmt.Sprintf("th %sport %d", s.at.letter(), s.low)
	}
	return fmt.Sprintf("th %sport %d-%d", s.at.letter(), s.low, s.high)
}
func (s flagsAre) nft() string {
	return fmt.Sprintf("tcp flags & (%s) == %s", flagsText(s.mask), flagsText(s.want))
}
func (s flagsHave) nft() string {
	return fmt.Sprintf("tcp flags & (%s) != 0", flagsText(packet.Flags(s)))
}
func (s payloadIs) nft() string {
	low, high := s.bounds()
	if s.max < 0 {
		return fmt.Sprintf("tcp doff %d meta length >= %d", s.doff, low)
	}
	return fmt.Sprintf("tcp doff %d meta length %d-%d", s.doff, low, high)
}
func (s flowIn) nft() string { return key(s.family, s.dir) + " @" + string(s.set) }
func (s notIn) nft() string  { return key(s.family, s.dir) + " != @" + string(s.set) }
func (s change) nft() string {
	timeout := ""
	if s.timeout != 0 {
		timeout = " timeout " + durationText(s.timeout)
	}
	return fmt.Sprintf("%s @%s { %s%s }", s.op, s.set, key(s.family, s.dir), timeout)
}
func (s endIn) nft() string {
	return fmt.Sprintf("%s %saddr . th %sport @%s", s.family.header(), s.at.letter(), s.at.letter(), s.set)
}

// bounds returns the lengths that the whole packet may have with such a payload.
func (s payloadIs) bounds() (low, high int) {
	head := 20 + 4*s.doff
	if s.family == IPv6 {
		head += 20
	}
	return head + s.min, head + s.max
}
