package packet

import (
	"fmt"
	"strings"
)

// Flags are the control bits of a segment (RFC 9293 section 3.1).
type Flags uint8

// The control bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// flagLetters are tcpdump's, in the order in which it prints them.
var flagLetters = [...]struct {
	flag   Flags
	letter byte
}{{FIN, 'F'}, {SYN, 'S'}, {RST, 'R'}, {PSH, 'P'}, {ACK, '.'}, {URG, 'U'}, {ECE, 'E'}, {CWR, 'W'}}

// Has reports whether all of o are set.
func (f Flags) Has(o Flags) bool { return f&o == o }

// Any reports whether one of o is set.
func (f Flags) Any(o Flags) bool { return f&o != 0 }

// String writes the flags as tcpdump does: "S.", "P.", "R"; "none" for none.
func (f Flags) String() string {
	if f == 0 {
		return "none"
	}
	var b [len(flagLetters)]byte
	n := 0
	for _, l := range flagLetters {
		if f.Has(l.flag) {
			b[n] = l.letter
			n++
		}
	}
	return string(b[:n])
}

// ParseFlags reads what String writes, in any order.
func ParseFlags(s string) (Flags, error) {
	if s == "none" {
		return 0, nil
	}
	var f Flags
letters:
	for i := range len(s) {
		for _, l := range flagLetters {
			if l.letter == s[i] {
				f |= l.flag
				continue letters
			}
		}
		return 0, fmt.Errorf("flags %q: %q is none of %s", s, s[i], strings.Join(strings.Split("FSRP.UEW", ""), " "))
	}
	return f, nil
}
