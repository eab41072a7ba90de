// Package exitwatch tells whether a segment of ours has passed all rules of this host:
// chains behind all others remember those that did.
//
// A firewall's rule that drops packets behind our rules is a normal case. If the packet
// leaves by output and postrouting, the call on the raw socket returns an error. But
// nothing tells of a packet that a verdict let pass, nor of one that is dropped in
// input after it came by loopback.
//
// The sequence and acknowledgment number of the segment are remembered: no NAT on the
// way changes them, and they are the same for IPv4 and IPv6. What happens to a packet
// behind netfilter (tc, XDP, the device's queue, IPsec) is not seen.
package exitwatch

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Remembered is how long a segment is remembered.
const Remembered = time.Minute

// most is how many segments are remembered at a time. Beyond that, new ones are not.
const most = 1 << 16

// Watch is the installed set.
type Watch struct {
	set *nftables.Set
}

// Sign selects the packets that are remembered: those whose priority has Value under
// Mask. The bits in Clear are then cleared in the priority.
type Sign struct {
	Mask, Value uint32
	Clear       uint32
}

const r0 = unix.NFT_REG32_00

// Add adds a set and two chains to the table, with the next Flush of the connection.
func Add(c *nftables.Conn, table *nftables.Table, signs ...Sign) (*Watch, error) {
	w := &Watch{set: &nftables.Set{
		Table: table, Name: "left", Dynamic: true, HasTimeout: true, Timeout: Remembered, Size: most,
		// They are not marks, but nft can print marks; at two integers it aborts (1.0.6).
		KeyType: nftables.MustConcatSetType(nftables.TypeMark, nftables.TypeMark),
	}}
	if err := c.AddSet(w.set, nil); err != nil {
		return nil, fmt.Errorf("add set left: %w", err)
	}
	for _, at := range []struct {
		name string
		hook *nftables.ChainHook
	}{{"left_input", nftables.ChainHookInput}, {"left_postrouting", nftables.ChainHookPostrouting}} {
		accept := nftables.ChainPolicyAccept
		chain := c.AddChain(&nftables.Chain{
			Name: at.name, Table: table, Type: nftables.ChainTypeFilter, Policy: &accept,
			Hooknum: at.hook, Priority: nftables.ChainPriorityRef(math.MaxInt32),
		})
		add := func(es ...expr.Any) {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: es})
		}
		// Most packets are not ours, and have no priority: they pass only this.
		add(&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: r0},
			&expr.Cmp{Op: expr.CmpOpEq, Register: r0, Data: make([]byte, 4)},
			&expr.Verdict{Kind: expr.VerdictAccept})
		if at.hook == nftables.ChainHookPostrouting { // what leaves by loopback still has to pass input
			add(&expr.Meta{Key: expr.MetaKeyOIFTYPE, Register: r0},
				&expr.Cmp{Op: expr.CmpOpEq, Register: r0, Data: binaryutil.NativeEndian.PutUint16(unix.ARPHRD_LOOPBACK)},
				&expr.Verdict{Kind: expr.VerdictAccept})
		}
		for _, s := range signs {
			add(w.rule(s)...)
		}
	}
	return w, nil
}

// Text returns what Add adds, in nft syntax, as it appears in a table.
func Text(signs ...Sign) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n\tset left {\n\t\ttypeof tcp sequence . tcp ackseq\n\t\tsize %d\n\t\tflags dynamic,timeout\n\t\ttimeout %s\n\t}\n", most, remembered)
	for _, hook := range []string{"input", "postrouting"} {
		fmt.Fprintf(&b, "\n\tchain left_%s {\n\t\ttype filter hook %[1]s priority %d; policy accept;\n\t\tmeta priority 0 accept\n", hook, math.MaxInt32)
		if hook == "postrouting" {
			fmt.Fprintf(&b, "\t\toiftype loopback accept\n")
		}
		for _, s := range signs {
			fmt.Fprintf(&b, "\t\tmeta priority & %#x == %#x ", s.Mask, s.Value)
			if s.Clear != 0 {
				fmt.Fprintf(&b, "meta priority set meta priority & %#x ", ^s.Clear)
			}
			fmt.Fprintf(&b, "meta l4proto tcp update @left { tcp sequence . tcp ackseq timeout %s } counter\n", remembered)
		}
		fmt.Fprintf(&b, "\t}\n")
	}
	return b.String()
}

// remembered is Remembered in nft syntax.
const remembered = "1m"

// rule returns the rule that remembers segments with a sign.
func (w *Watch) rule(s Sign) []expr.Any {
	host := binaryutil.NativeEndian.PutUint32
	masked := func(mask uint32) expr.Any {
		return &expr.Bitwise{SourceRegister: r0, DestRegister: r0, Len: 4, Mask: host(mask), Xor: make([]byte, 4)}
	}
	es := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: r0}, masked(s.Mask),
		&expr.Cmp{Op: expr.CmpOpEq, Register: r0, Data: host(s.Value)},
	}
	if s.Clear != 0 {
		es = append(es, &expr.Meta{Key: expr.MetaKeyPRIORITY, Register: r0}, masked(^s.Clear),
			&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: r0})
	}
	return append(es,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: r0},
		&expr.Cmp{Op: expr.CmpOpEq, Register: r0, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: r0, Base: expr.PayloadBaseTransportHeader, Offset: 4, Len: 4},
		&expr.Payload{DestRegister: r0 + 1, Base: expr.PayloadBaseTransportHeader, Offset: 8, Len: 4},
		&expr.Dynset{SrcRegKey: r0, SetName: w.set.Name, SetID: w.set.ID, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: Remembered},
		&expr.Counter{})
}

// Left reports whether a segment with those numbers has passed, and how long ago. It
// takes some tens of microseconds, and longer while rules are being changed, so it is
// not for the packet path.
func (w *Watch) Left(c *nftables.Conn, seq, ack uint32) (ago time.Duration, left bool, err error) {
	key := append(binaryutil.BigEndian.PutUint32(seq), binaryutil.BigEndian.PutUint32(ack)...)
	found, err := c.FindSetElements(w.set, []nftables.SetElement{{Key: key}})
	switch {
	case errors.Is(err, syscall.ENOENT) || err == nil && len(found) == 0:
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("look for a segment in set left: %w", err)
	}
	return Remembered - found[0].Expires, true, nil
}
