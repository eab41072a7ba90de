package packet

import (
	"encoding/binary"
	"hash/maphash"
)

// The shapes of a reset, as Linux sends them:
//
//	A  an existing socket aborts: RST+ACK that continues its stream
//	   (tcp_send_active_reset)
//	B  a segment with ACK finds no connection: RST alone, seq = SEG.ACK
//	C  a segment without ACK finds none: RST+ACK, seq 0, everything acknowledged
//	   (both tcp_v4_send_reset and tcp_v6_send_reset; RFC 9293 section 3.5.2)

const (
	defaultTTL = 64
	ecnMask    = 0x03
)

var labelSeed = maphash.MakeSeed()

// Answer returns what a host without that connection answers to s: shape B or
// C, and nothing to a RST. It takes the type of service of s without its ECN
// bits and the given TTL (0 means the default, 64), because no socket's
// settings apply. The IPv6 flow label is a hash of the addresses and ports, as
// in tcp_v6_send_reset: the same for all answers to a connection, never 0.
func Answer(s Segment, ttl uint8) (Fields, bool) {
	f, ok := DeviceAnswer(s, ttl)
	if ok {
		f.TOS = s.TOS() &^ ecnMask
		f.FlowLabel = answerLabel(s)
	}
	return f, ok
}

// DeviceAnswer returns what a firewall or load balancer without that
// connection answers to s in the name of the receiver: shape B or C with a
// type of service and flow label of 0 (nf_send_reset, nf_send_reset6).
func DeviceAnswer(s Segment, ttl uint8) (Fields, bool) {
	flags := s.Flags()
	if flags.Has(RST) {
		return Fields{}, false
	}
	if ttl == 0 {
		ttl = defaultTTL
	}
	f := Fields{Src: s.DstAddrPort(), Dst: s.SrcAddrPort(), TTL: ttl, DF: true}
	if flags.Has(ACK) {
		f.Flags, f.Seq = RST, s.Ack()
	} else {
		f.Flags, f.Ack = RST|ACK, s.End()
	}
	return f, true
}

func answerLabel(s Segment) uint32 {
	if s.v4() {
		return 0
	}
	var key [36]byte
	copy(key[:], s.b[8:40])
	binary.BigEndian.PutUint32(key[32:], s.u32(0)) // both ports
	return max(1, uint32(maphash.Bytes(labelSeed, key[:]))&0xfffff)
}

// Abort returns shape A in the direction of s: the reset that the sender of s
// would have sent in its place. Everything continues the sender's stream, and
// of the options only timestamps and selective acknowledgments stay
// (tcp_established_options).
func Abort(s Segment) Fields {
	f := FieldsOf(s)
	f.Flags, f.Urgent = RST|ACK, 0
	f.keepOptions()
	return f
}

// keepOptions reduces the options to timestamps and selective
// acknowledgments, laid out as Linux does.
func (f *Fields) keepOptions() {
	old := f.Options
	have := old[:f.OptionsLen]
	val, ecr, stamped := timestamps(have)
	sack, holes := option(have, optSACK)
	f.Options, f.OptionsLen = [40]byte{}, 0
	if stamped {
		f.SetTimestamps(val, ecr)
	}
	if holes && f.OptionsLen+4+len(sack) <= len(f.Options) {
		at := f.Options[f.OptionsLen:]
		at[0], at[1], at[2], at[3] = optNop, optNop, optSACK, byte(2+len(sack))
		f.OptionsLen += 4 + copy(at[4:], sack)
	}
}

// AbortInPlace turns the bytes of s into Abort(s) and returns the new view. A
// closing FIN so changed is byte for byte what the kernel's own abort sends.
func AbortInPlace(s Segment) Segment {
	f := Abort(s)
	opts := (f.OptionsLen + 3) &^ 3
	copy(s.b[s.tcp+tcpHeader:], f.Options[:opts])
	s.b[s.tcp+12] = byte((tcpHeader+opts)/4) << 4
	s.data = s.tcp + tcpHeader + uint16(opts)
	binary.BigEndian.PutUint16(s.b[s.tcp+18:], 0)
	s.SetFlags(f.Flags)
	s = s.CutPayload()
	s.UpdateChecksums()
	return s
}
