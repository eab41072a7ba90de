package packet

import (
	"encoding/binary"
	"net/netip"
)

// Fields is a segment still to be built. Src and Dst are of one family and
// decide the IP version; an IPv4 address in IPv6's clothes counts as IPv4.
type Fields struct {
	Src, Dst  netip.AddrPort
	TTL, TOS  uint8
	ID        uint16 // IPv4 only
	DF        bool   // IPv4 only
	FlowLabel uint32 // IPv6 only
	Seq, Ack  Seq
	Flags     Flags
	Window    uint16
	Urgent    uint16

	Options    [40]byte // the first OptionsLen bytes; padded to words when built
	OptionsLen int
}

// FieldsOf returns every header field of s, options included.
func FieldsOf(s Segment) Fields {
	f := Fields{
		Src: s.SrcAddrPort(), Dst: s.DstAddrPort(),
		TTL: s.TTL(), TOS: s.TOS(), ID: s.ID(), DF: s.DF(), FlowLabel: s.FlowLabel(),
		Seq: s.Seq(), Ack: s.Ack(), Flags: s.Flags(), Window: s.Window(), Urgent: s.Urgent(),
	}
	f.OptionsLen = copy(f.Options[:], s.Options())
	return f
}

// SetTimestamps makes NOP NOP TS the only options, as Linux writes them.
func (f *Fields) SetTimestamps(val, ecr uint32) {
	f.Options = [40]byte{optNop, optNop, optTimestamps, 10}
	binary.BigEndian.PutUint32(f.Options[4:], val)
	binary.BigEndian.PutUint32(f.Options[8:], ecr)
	f.OptionsLen = 12
}

// Timestamps returns TSval and TSecr, if the options hold them.
func (f *Fields) Timestamps() (val, ecr uint32, ok bool) {
	return timestamps(f.Options[:f.OptionsLen])
}

// Later makes the segment one that is sent that many milliseconds later: its TSval, if
// it has one, is that much higher.
func (f *Fields) Later(ms uint32) {
	if b, ok := option(f.Options[:f.OptionsLen], optTimestamps); ok && len(b) == 8 {
		binary.BigEndian.PutUint32(b, binary.BigEndian.Uint32(b)+ms)
	}
}

// Append appends the whole packet to dst, with its checksums. It allocates
// only if dst has no room.
func (f *Fields) Append(dst, payload []byte) []byte {
	start := len(dst)
	src, to := f.Src.Addr().Unmap(), f.Dst.Addr().Unmap()
	opts := (f.OptionsLen + 3) &^ 3
	ip := ipv4Header
	if src.Is6() {
		ip = ipv6Header
	}
	var zero [ipv6Header + tcpHeader]byte
	dst = append(dst, zero[:ip+tcpHeader]...)
	dst = append(dst, f.Options[:f.OptionsLen]...)
	for range opts - f.OptionsLen {
		dst = append(dst, optEnd)
	}
	dst = append(dst, payload...)

	b := dst[start:]
	if src.Is4() {
		f.ipv4(b, src.As4(), to.As4())
	} else {
		f.ipv6(b, src.As16(), to.As16())
	}
	f.tcp(b[ip:], opts)
	Segment{b: b, tcp: uint16(ip), data: uint16(ip + tcpHeader + opts), length: uint32(len(b))}.UpdateChecksums()
	return dst
}

func (f *Fields) ipv4(b []byte, src, dst [4]byte) {
	b[0], b[1] = 0x45, f.TOS
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[4:], f.ID)
	if f.DF {
		b[6] = 0x40
	}
	b[8], b[9] = f.TTL, protoTCP
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
}

func (f *Fields) ipv6(b []byte, src, dst [16]byte) {
	binary.BigEndian.PutUint32(b, 6<<28|uint32(f.TOS)<<20|f.FlowLabel&0xfffff)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-ipv6Header))
	b[6], b[7] = protoTCP, f.TTL
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
}

func (f *Fields) tcp(b []byte, opts int) {
	binary.BigEndian.PutUint16(b, f.Src.Port())
	binary.BigEndian.PutUint16(b[2:], f.Dst.Port())
	binary.BigEndian.PutUint32(b[4:], uint32(f.Seq))
	binary.BigEndian.PutUint32(b[8:], uint32(f.Ack))
	b[12], b[13] = byte((tcpHeader+opts)/4)<<4, uint8(f.Flags)
	binary.BigEndian.PutUint16(b[14:], f.Window)
	binary.BigEndian.PutUint16(b[18:], f.Urgent)
}
