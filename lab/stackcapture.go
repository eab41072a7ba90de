package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	nl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// StackCapture records what the host's own TCP sends and receives: after every
// netfilter rule on the way in, and before every rule on the way out. A capture on
// an interface shows the same, unless something on the host drops, rewrites or
// forges packets. Outgoing packets whose priority has the value skip under the
// mask are left out, because the host's TCP did not send them; a mask of 0 leaves
// none out.
//
// A segment between two programs of the host is recorded twice: as it is sent
// (Out) and as it is received. The rules that this adds stay until the host is
// gone. It needs CONFIG_NETFILTER_NETLINK_LOG.
func (n *Node) StackCapture(skip, mask uint32) (*Capture, error) {
	c := &Capture{done: make(chan struct{})}
	conn, err := nl.Dial(unix.NETLINK_NETFILTER, &nl.Config{NetNS: int(n.NS.Fd())})
	if err == nil {
		err = errors.Join(conn.SetReadBuffer(8<<20), bindLog(conn))
	}
	if err != nil {
		return nil, fmt.Errorf("bind to the packet log of %s (CONFIG_NETFILTER_NETLINK_LOG): %w", n.Name, err)
	}
	if err := n.logTCP(skip, mask); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go c.readLog(conn)
	return c, nil
}

// stackGroup is the group of the packet log. Nothing else logs in these namespaces.
const stackGroup = 77

// The messages and attributes of the packet log (linux/netfilter/nfnetlink_log.h).
const (
	ulogPacket, ulogConfig                     = unix.NFNL_SUBSYS_ULOG << 8, unix.NFNL_SUBSYS_ULOG<<8 | 1
	cfgCommand, cfgMode, cfgTimeout, cfgThresh = 1, 2, 4, 5
	cmdBind, copyPacket                        = 1, 2
	logHeader, logPayload                      = 1, 9
)

// bindLog requests every logged packet, complete and without batching.
func bindLog(conn *nl.Conn) error {
	group := binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, 0}, stackGroup)
	for _, a := range [][]nl.Attribute{
		{{Type: cfgCommand, Data: []byte{cmdBind}}},
		{
			{Type: cfgMode, Data: []byte{0, 0, 0xff, 0xff, copyPacket, 0}},
			{Type: cfgTimeout, Data: binaryutil.BigEndian.PutUint32(1)},
			{Type: cfgThresh, Data: binaryutil.BigEndian.PutUint32(1)},
		},
	} {
		attrs, err := nl.MarshalAttributes(a)
		if err != nil {
			return err
		}
		_, err = conn.Execute(nl.Message{
			Header: nl.Header{Type: ulogConfig, Flags: nl.Request | nl.Acknowledge},
			Data:   append(group[:len(group):len(group)], attrs...),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// logTCP makes the kernel log what TCP sends and receives. The rules stay until
// the host is gone.
func (n *Node) logTCP(skip, mask uint32) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.NS.Fd())))
	if err != nil {
		return fmt.Errorf("nftables on %s: %w", n.Name, err)
	}
	t := c.AddTable(&nftables.Table{Name: "stack", Family: nftables.TableFamilyINet})
	for _, h := range []struct {
		name string
		hook *nftables.ChainHook
		at   nftables.ChainPriority
	}{{"in", nftables.ChainHookInput, 300}, {"out", nftables.ChainHookOutput, -350}} {
		chain := c.AddChain(&nftables.Chain{
			Name: h.name, Table: t, Type: nftables.ChainTypeFilter, Hooknum: h.hook, Priority: nftables.ChainPriorityRef(h.at),
		})
		for _, proto := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6} {
			es := []expr.Any{
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
			}
			if h.name == "out" && mask != 0 {
				es = append(es, &expr.Meta{Key: expr.MetaKeyPRIORITY, Register: 1},
					&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: make([]byte, 4)},
					&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(skip)})
			}
			es = append(es, &expr.Log{
				Key:   1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_QTHRESHOLD,
				Group: stackGroup, QThreshold: 1,
			})
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: es})
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("log packets of %s: %w", n.Name, err)
	}
	return nil
}

func (c *Capture) readLog(conn *nl.Conn) {
	defer conn.Close()
	for {
		select {
		case <-c.done:
			return
		default:
		}
		conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		msgs, err := conn.Receive()
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		for _, m := range msgs {
			if m.Header.Type == ulogPacket && len(m.Data) > 4 {
				c.logged(m.Data[4:])
			}
		}
	}
}

func (c *Capture) logged(attrs []byte) {
	ad, err := nl.NewAttributeDecoder(attrs)
	if err != nil {
		return
	}
	var out bool
	var payload []byte
	for ad.Next() {
		switch ad.Type() {
		case logHeader:
			b := ad.Bytes()
			out = len(b) > 2 && b[2] == unix.NF_INET_LOCAL_OUT
		case logPayload:
			payload = ad.Bytes()
		}
	}
	c.add(time.Now(), out, payload)
}
