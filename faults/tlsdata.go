package faults

import (
	"encoding/binary"

	"github.com/faultctl/faultctl/faults/packet"
)

// The content types of TLS records (RFC 8446 section 5.1), and the lengths by which
// they are told apart.
const (
	tlsHeader = 5 // type, version, length

	tlsChangeCipherSpec = 20
	tlsHandshake        = 22
	tlsApplicationData  = 23
	tlsHeartbeat        = 24

	tlsClientHello = 1 // type of a handshake message

	// tlsLeastHello is less than a ClientHello of a client that also sends
	// ChangeCipherSpec, and more than any encrypted Finished of TLS 1.2: 16 bytes,
	// with an IV, a MAC and padding 96 at most.
	tlsLeastHello = 128

	// The Finished of TLS 1.3 in a record of its own: 4 bytes, a hash of 32 or 48,
	// one of content type, and a tag of 16 (RFC 8446 section 4.4.4).
	tlsFinishedSHA256 = 4 + 32 + 1 + 16
	tlsFinishedSHA384 = 4 + 48 + 1 + 16
)

// tlsState is how far a tlsStream has come.
type tlsState uint8

const (
	tlsLooking tlsState = iota // for a ClientHello, at the beginning of a segment
	tlsReading                 // record by record
	tlsLost                    // a part was not seen: a record must begin with a segment
)

// tlsStream reads the headers of the TLS records that a client sends, until its
// first application data after the handshake.
//
// In TLS 1.2 the client's Finished is a handshake record behind ChangeCipherSpec,
// and then all records of type application data are that. In TLS 1.3 whatever is
// encrypted has that type, the client's Finished too, which is told by its length.
// A client with a certificate sends that first, and may put the three messages into
// one record; then the handshake counts as over when the server has sent something
// after it, as it does with session tickets or an answer. Early data (0-RTT) comes
// before the handshake is over, and is not meant.
type tlsStream struct {
	state    tlsState
	next     packet.Seq // of the client's stream
	skip     int        // what is left of the record
	head     [tlsHeader]byte
	have     int  // how much of head is there
	replied  bool // the server has answered the ClientHello
	switched bool // ChangeCipherSpec was seen
	sealed   bool // an encrypted record of the handshake was seen
	finished bool // the handshake is over
}

// onSegment reports whether application data begins, or is, in this segment.
func (s *tlsStream) onSegment(ev *Event) bool {
	length := ev.Seg.PayloadLen()
	switch {
	case length == 0:
		return false
	case ev.Dir == Reply:
		if s.state != tlsLooking && ev.Fresh {
			s.replied, s.finished = true, s.finished || s.sealed
		}
		return false
	}
	b, seq := ev.Seg.Payload(), ev.Seg.Seq()
	if s.state == tlsLooking {
		switch {
		case !ev.Fresh:
			return false
		case len(b) > tlsHeader && tlsRecord(b) && b[0] == tlsHandshake && b[tlsHeader] == tlsClientHello:
			*s = tlsStream{state: tlsReading, next: seq}
		default:
			return ev.Flow.Midstream && len(b) >= tlsHeader && tlsRecord(b) && b[0] == tlsApplicationData
		}
	}
	again := int(s.next.Sub(seq)) // how much of it was seen before
	switch {
	case again >= length:
		return false
	case again < 0:
		s.state = tlsLost
	default:
		b, length = b[min(again, len(b)):], length-again
	}
	s.next = ev.Seg.Seq().Add(uint32(ev.Seg.PayloadLen()))
	if s.state == tlsLost {
		return again <= 0 && len(b) >= tlsHeader && tlsRecord(b) && s.data(b[0], tlsLength(b))
	}
	return s.read(b, length)
}

// read reads on in the stream: b, and what of the length was not copied.
func (s *tlsStream) read(b []byte, length int) bool {
	for length > 0 {
		if n := min(s.skip, length); n > 0 {
			s.skip, length, b = s.skip-n, length-n, b[min(n, len(b)):]
			continue
		}
		n := copy(s.head[s.have:], b)
		if n == 0 { // the header was not copied
			s.state = tlsLost
			return false
		}
		s.have, length, b = s.have+n, length-n, b[n:]
		if s.have < tlsHeader {
			continue
		}
		if s.have = 0; !tlsRecord(s.head[:]) {
			s.state = tlsLost
			return false
		}
		s.skip = tlsLength(s.head[:])
		if s.data(s.head[0], s.skip) {
			return true
		}
	}
	return false
}

// data reports whether a record of that type and length holds application data.
func (s *tlsStream) data(kind byte, length int) bool {
	switch kind {
	case tlsChangeCipherSpec:
		s.switched = true
	case tlsHandshake: // the Finished of TLS 1.2, if it is not the second ClientHello of TLS 1.3
		s.finished = s.finished || s.switched && length < tlsLeastHello
	case tlsApplicationData:
		if s.finished || !s.replied {
			return s.finished
		}
		s.sealed = true
		s.finished = length == tlsFinishedSHA256 || length == tlsFinishedSHA384
	}
	return false
}

// tlsRecord reports whether b begins with the header of a TLS record.
func tlsRecord(b []byte) bool {
	return b[0] >= tlsChangeCipherSpec && b[0] <= tlsHeartbeat && b[1] == 3
}

// tlsLength is the length of the record whose header is b.
func tlsLength(b []byte) int { return int(binary.BigEndian.Uint16(b[3:])) }
