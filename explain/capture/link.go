package capture

import (
	"encoding/binary"

	"github.com/gopacket/gopacket/layers"
)

// Link types that gopacket has no name for, or another one (www.tcpdump.org/linktypes.html).
const (
	linkRawBSD  = 12
	linkRawBSD2 = 14
	linkSLL2    = 276
)

// EtherTypes (IEEE 802).
const (
	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	etherVLAN  = 0x8100
	etherQinQ  = 0x88a8
	etherQinQ2 = 0x9100
	etherPPPoE = 0x8864
)

// strip removes the link layer. What is left may be no IP packet. iface is the
// number of the interface, if the link layer has one. It reports false for a link
// type that it does not know.
func strip(link layers.LinkType, b []byte) (ip []byte, iface int, ok bool) {
	switch link {
	case layers.LinkTypeEthernet:
		if len(b) < 14 {
			return nil, 0, true
		}
		return ether(binary.BigEndian.Uint16(b[12:]), b[14:]), 0, true
	case layers.LinkTypeRaw, linkRawBSD, linkRawBSD2, layers.LinkTypeIPv4, layers.LinkTypeIPv6:
		return b, 0, true
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		if len(b) < 4 {
			return nil, 0, true
		}
		return b[4:], 0, true // the address family differs by system; the IP version tells as well
	case layers.LinkTypeLinuxSLL:
		if len(b) < 16 {
			return nil, 0, true
		}
		return ether(binary.BigEndian.Uint16(b[14:]), b[16:]), 0, true
	case linkSLL2:
		if len(b) < 20 {
			return nil, 0, true
		}
		return ether(binary.BigEndian.Uint16(b), b[20:]), int(binary.BigEndian.Uint32(b[4:])), true
	}
	return nil, 0, false
}

// ether removes VLAN tags and PPPoE. It returns nil if there is no IP packet.
func ether(kind uint16, b []byte) []byte {
	for {
		switch kind {
		case etherIPv4, etherIPv6:
			return b
		case etherVLAN, etherQinQ, etherQinQ2:
			if len(b) < 4 {
				return nil
			}
			kind, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		case etherPPPoE:
			if len(b) < 8 {
				return nil
			}
			return b[8:]
		default:
			return nil
		}
	}
}
