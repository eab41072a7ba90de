// Package tap explains the connections of this network namespace while they go
// on. It listens as tcpdump does, asks the kernel what it knows, and changes nothing: no
// rule, no sysctl, no packet.
package tap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/explain/capture"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ErrPrivilege says that the process may not listen: it needs CAP_NET_RAW.
var ErrPrivilege = errors.New("listening needs CAP_NET_RAW: run it as root, or explain a capture, which needs no privilege")

// snap is how much of a packet is copied: its headers, with any options, and what
// an ICMP error quotes.
const snap = 192

// Tap listens on every interface of a network namespace.
type Tap struct {
	fd     int
	ring   ring
	match  target.Matcher
	parser capture.Parser
	host   host
	frames int
	lost   uint64
	record *pcapgo.NgWriter // nil: packets are not kept
}

// Listen opens a Tap in the network namespace of the calling thread for the
// connections that m matches; of m the owner is not asked. proc is where /proc is. The
// error is ErrPrivilege or the system's. What the kernel does not tell this process is
// no error: see capture.Totals.
func Listen(m target.Matcher, proc string) (*Tap, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		return nil, ErrPrivilege
	}
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	t := &Tap{fd: fd, match: m}
	if err := t.open(); err != nil {
		t.ring.close()
		unix.Close(fd)
		return nil, err
	}
	t.host.open(proc)
	return t, nil
}

func (t *Tap) open() error {
	lo := 0 // without a loopback interface there is none to leave out
	if i, err := net.InterfaceByName("lo"); err == nil {
		lo = i.Index
	}
	raw, err := bpf.Assemble(filter(uint32(lo)))
	if err != nil {
		return err
	}
	prog := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		prog[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	if err := unix.SetsockoptSockFprog(t.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}); err != nil {
		return os.NewSyscallError("attach the filter", err)
	}
	if err := t.ring.open(t.fd); err != nil {
		return err
	}
	all := uint16(unix.ETH_P_ALL)
	return os.NewSyscallError("bind", unix.Bind(t.fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8}))
}

// filter passes the headers of TCP, and ICMP. Behind extension headers of IPv6
// there may be TCP. The loopback interface shows each packet twice: as it is sent it is
// left out.
func filter(lo uint32) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: lo, SkipTrue: 2},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 10},
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4, SkipFalse: 3},
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_TCP, SkipTrue: 6},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ICMP, SkipTrue: 5, SkipFalse: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 6, SkipTrue: 3},
		bpf.LoadAbsolute{Off: 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ESP, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: snap},
	}
}

// Record has Run write the headers of the packets that it looks at to w, as pcapng.
// It is called before Run.
func (t *Tap) Record(w io.Writer) (err error) {
	t.record, err = pcapgo.NewNgWriter(w, layers.LinkTypeRaw)
	return err
}

// keep writes a packet of which the tap has the first bytes.
func (t *Tap) keep(h heard) error {
	if t.record == nil {
		return nil
	}
	return t.record.WritePacket(gopacket.CaptureInfo{Timestamp: h.at, CaptureLength: len(h.data), Length: max(h.length, len(h.data))}, h.data)
}

// Run listens until ctx ends, and hands over what happened to each connection:
// those that ended about a second later, the others at the end.
func (t *Tap) Run(ctx context.Context, found func(explain.Finding)) (capture.Totals, error) {
	table := explain.New(func(f explain.Finding) {
		t.host.complete(&f)
		found(f)
	})
	table.Linger = time.Second
	add := func(h heard) error {
		p, ok := t.parser.Parse(h.data)
		if !ok || !t.matches(p) {
			return nil
		}
		t.frames++
		p.At, p.Frame, p.Iface = h.at, t.frames, h.iface
		table.Add(p)
		return t.keep(h)
	}
	swept := time.Now()
	for ctx.Err() == nil {
		if err := t.ring.wait(t.fd, 100*time.Millisecond); err != nil {
			return t.totals(table), fmt.Errorf("listen: %w", err)
		}
		if err := t.ring.read(add); err != nil {
			return t.totals(table), err
		}
		if now := time.Now(); now.Sub(swept) > 200*time.Millisecond {
			t.host.ask(now, table)
			table.Sweep(now)
			swept = now
		}
	}
	time.Sleep(handOver * time.Millisecond) // what came before the end is in a block that is not full yet
	if err := t.ring.read(add); err != nil {
		return t.totals(table), err
	}
	t.host.ask(time.Now(), table)
	table.End(time.Now())
	if t.record != nil {
		return t.totals(table), t.record.Flush()
	}
	return t.totals(table), nil
}

func (t *Tap) matches(p explain.Packet) bool {
	a, b := p.SrcAddrPort(), p.DstAddrPort()
	return t.match.Matches(a, b) || t.match.Matches(b, a)
}

func (t *Tap) totals(table *explain.Table) capture.Totals {
	if s, err := unix.GetsockoptTpacketStatsV3(t.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		t.lost += uint64(s.Drops)
	}
	return capture.Totals{
		Counts: table.Counts, Skipped: t.parser.Skipped, Frames: t.frames, Lost: t.lost, Unseen: t.host.unseen(), Kernel: t.host.counted(),
	}
}

// Close ends it.
func (t *Tap) Close() {
	t.host.close()
	t.ring.close()
	unix.Close(t.fd)
}
