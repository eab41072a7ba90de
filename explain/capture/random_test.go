package capture_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/explain/capture"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/gopacket/gopacket/layers"
)

// inputs is how many random inputs each of the tests below takes. An input follows
// from its number, which a failure says.
var (
	inputs = flag.Int("inputs", 3000, "random inputs per test")
	first  = flag.Uint64("first", 0, "number of the first random input")
)

// each has f take every input. A panic is one of its failures.
func each(t *testing.T, f func(r *rand.Rand) error) {
	t.Helper()
	one := func(n uint64) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		return f(rand.New(rand.NewPCG(n, 17)))
	}
	begun := time.Now()
	for n := *first; n < *first+uint64(*inputs); n++ {
		if err := one(n); err != nil {
			t.Fatalf("input %d (-first %d -inputs 1): %v", n, n, err)
		}
	}
	t.Logf("%d inputs, %.0f a second", *inputs, float64(*inputs)/time.Since(begun).Seconds())
}

// TestDamaged holds that no damage to a capture makes explain fail otherwise than
// with an error, and that it does not find more than there is.
func TestDamaged(t *testing.T) {
	var seeds [][]byte
	for link, wrap := range links {
		for _, v6 := range []bool{false, true} {
			var frames [][]byte
			for _, ip := range closed(v6) {
				frames = append(frames, wrap(ip))
			}
			seeds = append(seeds, file(t, link, false, 1<<16, frames), file(t, link, true, 68, frames))
		}
	}
	slices.SortFunc(seeds, bytes.Compare) // links is a map
	each(t, func(r *rand.Rand) error {
		b := slices.Clone(seeds[r.IntN(len(seeds))])
		for range 1 + r.IntN(8) {
			b = damage(r, b)
		}
		return sane(b)
	})
}

// damage changes, removes or repeats some bytes.
func damage(r *rand.Rand, b []byte) []byte {
	if len(b) < 64 {
		return b
	}
	at := 24 + r.IntN(len(b)-40) // the headers of files have a share of their own
	if r.IntN(8) == 0 {
		at = r.IntN(24)
	}
	n := 1 + r.IntN(16)
	switch r.IntN(6) {
	case 0:
		return append(b[:at], b[at+n:]...)
	case 1:
		return slices.Insert(b, at, b[at:at+n]...)
	case 2:
		b[at] ^= 1 << r.IntN(8)
	case 3:
		b[at] = []byte{0, 1, 0x7f, 0x80, 0xff}[r.IntN(5)]
	default:
		b[at] = byte(r.Uint32())
	}
	return b
}

func sane(b []byte) error {
	n := 0
	totals, err := capture.Explain(bytes.NewReader(b), func(x explain.Finding) { n++; x.Evidence(); x.Comments() }, nil)
	if err == nil && (n > totals.Packets || totals.Connections > totals.Packets) {
		return fmt.Errorf("%d findings of %+v", n, totals)
	}
	return nil
}

// TestConversations holds the same of segments that follow one another at random, as
// no TCP would send them: of one connection or two, whole, cut, again, and ICMP errors
// about them.
func TestConversations(t *testing.T) {
	var parser capture.Parser
	each(t, func(r *rand.Rand) error {
		n, packets := 0, 1+r.IntN(40)
		table := explain.New(func(f explain.Finding) { n++; f.Evidence(); f.Comments() })
		at, seq := start, [2]packet.Seq{packet.Seq(r.Uint32()), packet.Seq(r.Uint32())}
		v6 := r.IntN(2) == 0
		for i := range packets {
			at = at.Add(time.Duration(r.ExpFloat64() * float64([]time.Duration{time.Millisecond, time.Second, time.Minute}[r.IntN(3)])))
			p, ok := parser.Parse(odd(r, v6, &seq))
			if !ok {
				continue
			}
			p.At, p.Frame, p.Iface, p.Fate = at, i+1, r.IntN(3), explain.Fate(r.IntN(30)/28)
			table.Add(p)
			if r.IntN(50) == 0 {
				table.Sweep(at)
			}
		}
		table.End(at.Add(time.Duration(r.IntN(100)) * time.Second))
		if c := table.Counts; n > c.Packets || n+c.InOrder != c.Connections {
			return fmt.Errorf("%d findings of %+v", n, c)
		}
		return nil
	})
}

// odd is a packet with numbers that are near those of the ones before, or not.
func odd(r *rand.Rand, v6 bool, seq *[2]packet.Seq) []byte {
	client, server := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.5")
	if v6 {
		client, server = netip.MustParseAddr("fd00::9"), netip.MustParseAddr("fd00::5")
	}
	f := packet.Fields{
		Src: netip.AddrPortFrom(client, uint16(40000+r.IntN(20)/18)), Dst: netip.AddrPortFrom(server, 443),
		TTL: uint8(60 + r.IntN(6)), ID: uint16(r.IntN(4)), DF: true, Window: uint16(r.IntN(3) * 200),
		Flags: []packet.Flags{packet.SYN, packet.SYN | packet.ACK, packet.ACK, packet.ACK, packet.ACK | packet.PSH, packet.ACK | packet.PSH, packet.ACK | packet.FIN,
			packet.RST, packet.RST | packet.ACK, packet.Flags(r.Uint32())}[r.IntN(10)],
	}
	side := r.IntN(2)
	if side == 1 {
		f.Src, f.Dst = f.Dst, f.Src
	}
	near := func(s packet.Seq) packet.Seq {
		switch r.IntN(8) {
		case 0:
			return s.Add(uint32(r.IntN(3)) - 1)
		case 1:
			return s.Add(uint32(r.IntN(1<<18)) - 1<<17)
		case 2:
			return packet.Seq(r.Uint32())
		}
		return s
	}
	f.Seq, f.Ack = near(seq[side]), near(seq[1-side])
	if r.IntN(3) == 0 {
		f.SetTimestamps(r.Uint32()>>r.IntN(32), 0)
	}
	size := []int{0, 0, 1, 100, 1400}[r.IntN(5)]
	b := f.Append(nil, make([]byte, size))
	if r.IntN(3) > 0 {
		seq[side] = seq[side].Add(uint32(size) + uint32(f.Flags&(packet.SYN|packet.FIN))&1)
	}
	if r.IntN(20) == 0 && !v6 {
		b = icmp(3, byte(r.IntN(15)), b, 28)
	}
	if r.IntN(10) == 0 {
		b = b[:r.IntN(len(b)+1)]
	}
	return b
}

// TestSeeds holds that the damage is done to captures that can be read.
func TestSeeds(t *testing.T) {
	for link, wrap := range links {
		var frames [][]byte
		for _, ip := range closed(false) {
			frames = append(frames, wrap(ip))
		}
		if got, _ := names(t, file(t, link, true, 68, frames)); got == "" {
			t.Errorf("%v: nothing is found", layers.LinkType(link))
		}
	}
}
