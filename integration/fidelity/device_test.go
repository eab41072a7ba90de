package fidelity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/faultctl/faultctl/lab"
	"github.com/florianl/go-nfqueue/v2"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// The device of a genuine lane is the kernel of the router, or on loopback the
// host's own firewall, configured by nftables. Nothing here depends on faultctl.

// rule is one rule of the device: its matches and its action.
type rule []expr.Any

func match(parts ...rule) rule {
	r := rule{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}}}
	for _, p := range parts {
		r = append(r, p...)
	}
	return r
}

func toService() rule   { return port(2) }
func fromService() rule { return port(0) }

func port(offset uint32) rule {
	return rule{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(5432)},
	}
}

const (
	fin = 1
	syn = 2
	rst = 4
	ack = 16
)

// flags matches segments that have exactly these flags of those in the mask.
func flags(mask, want byte) rule {
	return rule{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{mask}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{want}},
	}
}

// bare matches segments without payload that have a timestamp as their only option.
func (p *play) bare() rule {
	return append(flags(0xff, ack), &expr.Meta{Key: expr.MetaKeyLEN, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(pick[uint32](p.v6, 72, 52))})
}

// longerThan matches packets of more bytes.
func longerThan(bytes uint32) rule {
	return rule{
		&expr.Meta{Key: expr.MetaKeyLEN, Register: 1},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: binaryutil.BigEndian.PutUint32(bytes)},
	}
}

// oneInTen matches one packet in ten, randomly.
func oneInTen() rule {
	return rule{
		&expr.Numgen{Register: 1, Modulus: 10, Type: unix.NFT_NG_RANDOM},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
	}
}

// unknown matches packets of connections that the device does not know.
func unknown() rule {
	const invalid = 1 // NF_CT_STATE_INVALID_BIT
	return rule{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(invalid), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func drop() rule { return rule{&expr.Verdict{Kind: expr.VerdictDrop}} }

// reject answers with a RST.
func reject() rule { return rule{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}} }

// unreachable answers with that ICMP code.
func (p *play) unreachable(v4, v6 uint8) rule {
	return rule{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: pick(p.v6, v6, v4)}}
}

// filter makes the device apply the rules, in this order.
func (p *play) filter(rules ...rule) {
	p.t.Helper()
	p.chain("filter", 0, rules)
}

func (p *play) chain(name string, priority nftables.ChainPriority, rules []rule) {
	p.t.Helper()
	p.chainAt(name, pick(p.at == loopback, nftables.ChainHookInput, nftables.ChainHookForward), priority, rules)
}

func (p *play) chainAt(name string, hook *nftables.ChainHook, priority nftables.ChainPriority, rules []rule) {
	p.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(p.path.NS.Fd())))
	p.must(err)
	t := c.AddTable(&nftables.Table{Name: "device_" + name, Family: pick(p.v6, nftables.TableFamilyIPv6, nftables.TableFamilyIPv4)})
	ch := c.AddChain(&nftables.Chain{
		Name: name, Table: t, Type: nftables.ChainTypeFilter, Priority: nftables.ChainPriorityRef(priority),
		Hooknum: hook,
	})
	for _, r := range rules {
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: r})
	}
	if err := c.Flush(); err != nil {
		p.t.Fatalf("rules of the device: %v", err)
	}
}

// track makes the device stateful: it forgets a connection that was idle for that
// many seconds, and does not pick up connections in the middle.
func (p *play) track(seconds int) {
	p.t.Helper()
	p.must(
		p.path.Sysctl("net/netfilter/nf_conntrack_tcp_loose", "0"),
		p.path.Sysctl("net/netfilter/nf_conntrack_tcp_timeout_established", fmt.Sprint(seconds)),
	)
}

// canTrack returns an error if this kernel does not track connections in the
// device's namespace.
func canTrack(p *play) error {
	if err := p.path.Sysctl("net/netfilter/nf_conntrack_tcp_loose", "0"); err != nil {
		return fmt.Errorf("this kernel tracks no connections (CONFIG_NF_CONNTRACK): %w", err)
	}
	return nil
}

// The queues of the genuine lanes; faultctl's are far above.
const (
	slowHopQueue = 7
	farQueue     = 8
)

// divert passes the packets that the rule matches to f, until ctx is done.
func (p *play) divert(ctx context.Context, queue uint16, priority nftables.ChainPriority, r rule, f func(nfqueue.Attribute)) *nfqueue.Nfqueue {
	p.t.Helper()
	q, err := nfqueue.Open(&nfqueue.Config{
		NetNS: int(p.path.NS.Fd()), NfQueue: queue, MaxPacketLen: 128, MaxQueueLen: 1024,
		Copymode: nfqueue.NfQnlCopyPacket, WriteTimeout: time.Second,
	})
	p.must(err)
	p.must(q.RegisterWithErrorFunc(ctx,
		func(a nfqueue.Attribute) int { f(a); return 0 },
		func(error) int { return pick(ctx.Err() != nil, 1, 0) }))
	// CONFIG_NFT_QUEUE is missing on some kernels; xt's target does the same.
	info := xt.Unknown{}
	for _, v := range []uint16{queue, 1, 0, 0} {
		info = append(info, binaryutil.NativeEndian.PutUint16(v)...)
	}
	p.chain(fmt.Sprintf("queue%d", queue), priority, []rule{append(r, &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info})})
	return q
}

// loseOne makes the device drop the first packet that the rule matches.
func (p *play) loseOne(r rule) {
	p.t.Helper()
	lost := false
	ctx, cancel := context.WithCancel(context.Background())
	var q *nfqueue.Nfqueue
	ready := make(chan struct{}) // q is known
	q = p.divert(ctx, slowHopQueue, -10, r, func(a nfqueue.Attribute) {
		<-ready
		q.SetVerdict(*a.PacketID, pick(lost, nfqueue.NfAccept, nfqueue.NfDrop))
		lost = true
	})
	close(ready)
	p.cleanup(func() { cancel(); q.Close() })
}

// slowHop is a device that holds packets until it is told to release them.
type slowHop struct {
	p     *play
	queue *nfqueue.Nfqueue

	mu    sync.Mutex
	held  []uint32
	from  []byte // the source port of the last one
	open  bool
	alone bool // hold only packets from that port
}

// hold makes the device hold the packets that the rule matches.
func (p *play) hold(r rule) *slowHop {
	p.t.Helper()
	h := &slowHop{p: p}
	ctx, cancel := context.WithCancel(context.Background())
	h.mu.Lock() // until h.queue is set
	h.queue = p.divert(ctx, slowHopQueue, -10, r, func(a nfqueue.Attribute) {
		h.mu.Lock()
		defer h.mu.Unlock()
		from := (*a.Payload)[pick(p.v6, 40, 20):][:2]
		if h.open || h.alone && !bytes.Equal(from, h.from) {
			h.queue.SetVerdict(*a.PacketID, nfqueue.NfAccept)
		} else {
			h.held, h.from = append(h.held, *a.PacketID), bytes.Clone(from)
		}
	})
	h.mu.Unlock()
	p.cleanup(func() {
		h.release()
		cancel()
		h.queue.Close()
	})
	return h
}

// wait waits until something is held.
func (h *slowHop) wait() {
	h.p.t.Helper()
	if !lab.Eventually(func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.held) > 0 }) {
		h.p.t.Error("no packet was held")
	}
}

// only limits the hold to the connection that is already held.
func (h *slowHop) only() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.alone = true
}

// release releases all held packets, and holds no more.
func (h *slowHop) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = true
	var errs []error
	for _, id := range h.held {
		errs = append(errs, h.queue.SetVerdict(id, nfqueue.NfAccept))
	}
	h.held = nil
	if err := errors.Join(errs...); err != nil {
		h.p.t.Errorf("release: %v", err)
	}
}
