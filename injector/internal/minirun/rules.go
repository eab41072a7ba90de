package minirun

import (
	"errors"
	"os"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// Raw sends packets through raw sockets with that priority, in the namespace.
type Raw struct{ fd4, fd6 int }

// NewRaw opens the sockets until the test is over.
func NewRaw(t testing.TB, ns *os.File, priority uint32) *Raw {
	t.Helper()
	r := &Raw{}
	err := In(ns, func() (err error) {
		if r.fd4, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
			return err
		}
		r.fd6, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return errors.Join(err,
			unix.SetsockoptInt(r.fd4, unix.SOL_SOCKET, unix.SO_PRIORITY, int(priority)),
			unix.SetsockoptInt(r.fd6, unix.SOL_SOCKET, unix.SO_PRIORITY, int(priority)))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(r.fd4)
		unix.Close(r.fd6)
	})
	return r
}

// Send sends a packet.
func (r *Raw) Send(pkt []byte) error {
	if pkt[0]>>4 == 6 {
		return unix.Sendto(r.fd6, pkt, 0, &unix.SockaddrInet6{Addr: [16]byte(pkt[24:40])})
	}
	return unix.Sendto(r.fd4, pkt, 0, &unix.SockaddrInet4{Addr: [4]byte(pkt[16:20])})
}

// Conn opens nftables in the namespace. What is added by it stays until the test ends.
func Conn(t testing.TB, ns *os.File) *nftables.Conn {
	t.Helper()
	opts := []nftables.ConnOption{nftables.AsLasting()}
	if ns != nil {
		opts = append(opts, nftables.WithNetNSFd(int(ns.Fd())))
	}
	c, err := nftables.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseLasting() })
	return c
}

// Table adds a table that ends with the connection.
func Table(c *nftables.Conn, name string) *nftables.Table {
	return c.AddTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet, Flags: nftables.TableFlagOwner})
}

// Chain adds a chain in a hook.
func Chain(c *nftables.Conn, t *nftables.Table, name string, hook *nftables.ChainHook, priority int) *nftables.Chain {
	accept := nftables.ChainPolicyAccept
	return c.AddChain(&nftables.Chain{
		Name: name, Table: t, Type: nftables.ChainTypeFilter, Policy: &accept,
		Hooknum: hook, Priority: nftables.ChainPriorityRef(nftables.ChainPriority(priority)),
	})
}

// Rule adds a rule.
func Rule(c *nftables.Conn, ch *nftables.Chain, parts ...[]expr.Any) {
	var es []expr.Any
	for _, p := range parts {
		es = append(es, p...)
	}
	c.AddRule(&nftables.Rule{Table: ch.Table, Chain: ch, Exprs: es})
}

// Port matches TCP with that port, as the destination or the source.
func Port(port uint16, dst bool) []expr.Any {
	offset := uint32(0)
	if dst {
		offset = 2
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: unix.NFT_REG32_00},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG32_00, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: unix.NFT_REG32_00, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG32_00, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

// Flags matches a TCP flag that is set.
func Flags(bit byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: unix.NFT_REG32_00, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: unix.NFT_REG32_00, DestRegister: unix.NFT_REG32_00, Len: 1, Mask: []byte{bit}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: unix.NFT_REG32_00, Data: []byte{0}},
	}
}

// Priority matches a masked priority.
func Priority(op expr.CmpOp, mask, value uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: unix.NFT_REG32_00},
		&expr.Bitwise{SourceRegister: unix.NFT_REG32_00, DestRegister: unix.NFT_REG32_00, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: unix.NFT_REG32_00, Data: binaryutil.NativeEndian.PutUint32(value)},
	}
}

// Accept ends the chain.
func Accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }

// ToQueue hands the packet to a queue, by xt's target, which every kernel has.
func ToQueue(number uint16) []expr.Any {
	info := xt.Unknown{}
	for _, v := range []uint16{number, 1, 1, 0} {
		info = append(info, binaryutil.NativeEndian.PutUint16(v)...)
	}
	return []expr.Any{&expr.Counter{}, &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}}
}

// Flush puts in what was added.
func Flush(t testing.TB, c *nftables.Conn) {
	t.Helper()
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}
