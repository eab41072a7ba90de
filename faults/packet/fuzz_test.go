package packet

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
)

// FuzzParse reads any bytes: it never fails otherwise than by an error, what it
// reads lies inside the packet, and gopacket reads the same.
func FuzzParse(f *testing.F) {
	hop := []byte{protoTCP, 0, 5, 2, 0, 0, 1, 0}
	for _, b := range [][]byte{
		raw(false), raw(true), raw(false)[:40], raw(true)[:60],
		withOptions(raw(false), 1, 1, 1, 1, 7, 4, 4, 0),
		withExtensions(raw(true), protoHopByHop, hop),
		withExtensions(raw(true), protoRouting, hop),
		withExtensions(raw(true), protoFragment, []byte{protoTCP, 0, 0, 0, 1, 2, 3, 4}),
		withExtensions(raw(true), protoFragment, []byte{protoTCP, 0, 0, 1, 1, 2, 3, 4}),
		withExtensions(raw(true), protoAH, edit(make([]byte, 24), func(b []byte) { b[0], b[1] = protoTCP, 4 })),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		if s.HeaderLen() > len(s.Bytes()) || len(s.Bytes()) > len(b) || s.PayloadLen() < len(s.Payload()) {
			t.Fatalf("headers of %d, packet of %d, %d given, payload of %d, %d held", s.HeaderLen(), len(s.Bytes()), len(b), s.PayloadLen(), len(s.Payload()))
		}
		read(s)
		if o, ok := oracle(b); ok && s.Complete() {
			agree(t, s, o)
			if s.Version() == 6 || len(o.ip4.Options) == 0 { // gopacket's IPv4 checksum leaves options out
				if got, want := s.ChecksumOK(), o.checksumsOK(t); got != want {
					t.Errorf("% x\nchecksums right: %v, oracle %v", s.Bytes(), got, want)
				}
			}
		}
		if !s.Complete() {
			return
		}
		// What is rewritten in place reads as it should.
		s, err = Parse(append([]byte(nil), b...))
		if err != nil {
			t.Fatal(err)
		}
		want := Abort(s)
		s = AbortInPlace(s)
		if got := FieldsOf(s); got != want || s.PayloadLen() != 0 || !s.ChecksumOK() {
			t.Errorf("aborted in place: %+v\nwant %+v", got, want)
		}
		if again, err := Parse(s.Bytes()); err != nil || FieldsOf(again) != want {
			t.Errorf("aborted in place, read again: %v", err)
		}
	})
}

// read calls everything that reads a segment.
func read(s Segment) {
	FieldsOf(s)
	s.Timestamps()
	s.WindowScale()
	s.MSS()
	s.SACKPermitted()
	s.SACK()
	s.End()
	Answer(s, 0)
	DeviceAnswer(s, 0)
	router := netip.IPv4Unspecified()
	if s.Version() == 6 {
		router = netip.IPv6Unspecified()
	}
	AppendUnreachable(nil, router, 1, 0, s)
}

// FuzzBuild builds any segment: gopacket reads what was asked for, finds the
// checksums right, and builds the same bytes.
func FuzzBuild(f *testing.F) {
	f.Add(false, []byte{10, 0, 0, 1, 10, 0, 0, 5}, uint16(43210), uint16(5432), uint32(1), uint32(2), byte(PSH|ACK), uint16(502), uint16(0), byte(64), byte(0), uint16(7), true, uint32(0), true, []byte(nil), []byte("hello"))
	f.Add(true, []byte{0: 0xfd, 15: 1, 16: 0xfd, 31: 5}, uint16(1), uint16(2), uint32(0xffffffff), uint32(0), byte(SYN), uint16(0xffff), uint16(1), byte(1), byte(0xff), uint16(0), false, uint32(0xfffff), false, []byte{2, 4, 5, 0xb4, 1, 3, 3}, []byte(nil))
	f.Fuzz(func(t *testing.T, v6 bool, addrs []byte, sport, dport uint16, seq, ack uint32, flags byte, window, urgent uint16,
		ttl, tos byte, id uint16, df bool, label uint32, stamped bool, options, payload []byte) {
		addrs = append(addrs, make([]byte, 32)...)
		src, dst := netip.AddrFrom4([4]byte(addrs)), netip.AddrFrom4([4]byte(addrs[4:]))
		if v6 {
			src, dst, id, df = netip.AddrFrom16([16]byte(addrs)), netip.AddrFrom16([16]byte(addrs[16:])), 0, false
			if src.Is4In6() || dst.Is4In6() {
				return // counts as IPv4
			}
		}
		if len(payload) > 1<<15 || len(options) > 40 {
			return
		}
		fields := Fields{
			Src: netip.AddrPortFrom(src, sport), Dst: netip.AddrPortFrom(dst, dport), TTL: ttl, TOS: tos, ID: id, DF: df,
			Seq: Seq(seq), Ack: Seq(ack), Flags: Flags(flags), Window: window, Urgent: urgent,
		}
		if v6 {
			fields.FlowLabel = label & 0xfffff
		}
		if stamped {
			fields.SetTimestamps(seq, ack)
		} else {
			fields.OptionsLen = copy(fields.Options[:], options)
		}
		prefix := []byte("before")
		b := fields.Append(prefix, payload)
		if string(b[:len(prefix)]) != "before" {
			t.Fatal("Append changed what was there")
		}
		b = b[len(prefix):]
		s, err := Parse(b)
		if err != nil {
			t.Fatalf("%+v: %v", fields, err)
		}
		fields.OptionsLen = (fields.OptionsLen + 3) &^ 3 // as padded
		if got := FieldsOf(s); got != fields || string(s.Payload()) != string(payload) || !s.Complete() || !s.ChecksumOK() {
			t.Errorf("built %+v, read %+v, payload %q", fields, got, s.Payload())
		}
		o, ok := oracle(b)
		if !ok {
			if len(options) == 0 || stamped {
				t.Errorf("% x: not read by gopacket", b)
			}
			return // gopacket minds malformed options
		}
		agree(t, s, o)
		if !o.checksumsOK(t) {
			t.Errorf("% x: checksums wrong", b)
		}
		if stamped || len(options) == 0 {
			if again := o.build(t); string(again) != string(b) {
				t.Errorf("built\n% x, gopacket\n% x", b, again)
			}
		}
	})
}

// build makes the packet anew, lengths and checksums too.
func (o seen) build(t *testing.T) []byte {
	t.Helper()
	var ip gopacket.SerializableLayer = o.ip4
	if o.ip4 != nil {
		o.tcp.SetNetworkLayerForChecksum(o.ip4)
	} else {
		ip = o.ip6
		o.tcp.SetNetworkLayerForChecksum(o.ip6)
	}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		ip, o.tcp, gopacket.Payload(o.tcp.Payload))
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
