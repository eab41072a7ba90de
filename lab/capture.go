package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
	"golang.org/x/sys/unix"
)

// Capture records the TCP segments that cross an interface of a host.
type Capture struct {
	fd   int
	done chan struct{}

	mu       sync.Mutex
	segments []Captured
}

// Captured is a segment as it crossed the interface. For an ICMP error it is the
// segment that the error quotes.
type Captured struct {
	At  time.Time
	Out bool // the host sent it
	packet.Segment
	ICMP []byte // the complete packet of an ICMP error, else nil
}

// Capture starts to record on an interface: eth0 of the client or server, c0 or s0
// of the router, or lo. A segment that crosses lo is recorded once, on arrival.
func (n *Node) Capture(iface string) (*Capture, error) {
	c := &Capture{done: make(chan struct{})}
	err := n.Do(func() error {
		link, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		const all = unix.ETH_P_ALL
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(all))); err != nil {
			return err
		}
		unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20)
		unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		// The reader wakes regularly to check whether it should end.
		tv := unix.NsecToTimeval(int64(20 * time.Millisecond))
		unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
		return unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: htons(all), Ifindex: link.Index})
	})
	if err != nil {
		return nil, fmt.Errorf("capture on %s of %s: %w", iface, n.Name, err)
	}
	go c.record(iface == "lo")
	return c, nil
}

func (c *Capture) record(loopback bool) {
	buf, oob := make([]byte, 1<<17), make([]byte, 128)
	for {
		select {
		case <-c.done:
			unix.Close(c.fd)
			return
		default:
		}
		n, oobn, _, from, err := unix.Recvmsg(c.fd, buf, oob, 0)
		if err != nil {
			continue
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		out := ok && ll.Pkttype == unix.PACKET_OUTGOING
		if loopback && out {
			continue
		}
		c.add(stamp(oob[:oobn]), out, buf[:n])
	}
}

// add records a packet, if it is a TCP segment or an error about one.
func (c *Capture) add(at time.Time, out bool, b []byte) {
	b = append([]byte(nil), b...)
	rec := Captured{At: at, Out: out}
	var err error
	if rec.Segment, err = packet.Parse(b); err != nil {
		quoted, ok := quote(b)
		if !ok {
			return
		}
		if rec.Segment, err = packet.Parse(quoted); err != nil {
			return
		}
		rec.ICMP = b
	}
	c.mu.Lock()
	c.segments = append(c.segments, rec)
	c.mu.Unlock()
}

// quote returns the packet that an ICMP error quotes.
func quote(b []byte) ([]byte, bool) {
	switch {
	case len(b) > 28 && b[0] == 0x45 && b[9] == unix.IPPROTO_ICMP && b[20] == 3:
		return b[28:], true
	case len(b) > 48 && b[0]>>4 == 6 && b[6] == unix.IPPROTO_ICMPV6 && b[40] == 1:
		return b[48:], true
	}
	return nil, false
}

// stamp returns the kernel's timestamp of a packet.
func stamp(oob []byte) time.Time {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) == 0 || msgs[0].Header.Type != unix.SCM_TIMESTAMPNS || len(msgs[0].Data) < 16 {
		return time.Now()
	}
	d := msgs[0].Data
	return time.Unix(int64(binary.NativeEndian.Uint64(d)), int64(binary.NativeEndian.Uint64(d[8:])))
}

// Close ends the recording. What was recorded stays available. It is called once.
func (c *Capture) Close() { close(c.done) }

// Segments returns the segments recorded so far that have that port at one end.
func (c *Capture) Segments(port uint16) []Captured {
	return slices.DeleteFunc(c.Packets(port), func(s Captured) bool { return s.ICMP != nil })
}

// Packets returns the same as Segments, and the ICMP errors that quote such
// segments.
func (c *Capture) Packets(port uint16) []Captured {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Captured
	for _, s := range c.segments {
		if s.SrcPort() == port || s.DstPort() == port {
			out = append(out, s)
		}
	}
	return out
}

// Wait waits until the condition holds for the segments of that port, and reports
// whether it did within 30 s.
func (c *Capture) Wait(port uint16, holds func([]Captured) bool) bool {
	return Eventually(func() bool { return holds(c.Segments(port)) })
}

// Eventually waits until the condition holds, and reports whether it did within
// 30 s.
func Eventually(holds func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if holds() {
			return true
		}
	}
	return holds()
}

// Conversation prints one segment per line, in tcpdump's style. Sequence and
// acknowledgment numbers are relative to the first ones seen from each side.
//
//	C>S [P.] seq=1 ack=1 len=5 win=502 TS ttl=64 id=7245 DF
func Conversation(segs []Captured, server netip.AddrPort) string {
	var b strings.Builder
	base := map[netip.AddrPort]packet.Seq{}
	for _, s := range segs {
		src, dst := s.SrcAddrPort(), s.DstAddrPort()
		flags := s.Flags()
		if _, ok := base[src]; !ok && !(flags.Has(packet.RST) && s.Seq() == 0) {
			base[src] = s.Seq()
		}
		if _, ok := base[dst]; !ok && flags.Has(packet.ACK) {
			base[dst] = s.Ack() - 1
		}
		way := "C>S"
		if src == server {
			way = "S>C"
		}
		seq := uint32(s.Seq() - base[src])
		if flags.Has(packet.RST) && s.Seq() == 0 {
			seq = 0
		}
		fmt.Fprintf(&b, "%s [%s] seq=%d", way, flags, seq)
		if flags.Has(packet.ACK) {
			fmt.Fprintf(&b, " ack=%d", uint32(s.Ack()-base[dst]))
		}
		fmt.Fprintf(&b, " len=%d win=%d", s.PayloadLen(), s.Window())
		if _, _, ok := s.Timestamps(); ok {
			b.WriteString(" TS")
		}
		fmt.Fprintf(&b, " ttl=%d", s.TTL())
		if s.TOS() != 0 {
			fmt.Fprintf(&b, " tos=%#x", s.TOS())
		}
		if s.Version() == 4 {
			fmt.Fprintf(&b, " id=%d", s.ID())
			if s.DF() {
				b.WriteString(" DF")
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
