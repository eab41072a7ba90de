package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

func (p *player) addr(dir faults.Direction) netip.AddrPort {
	text := [2][2]string{{"10.0.0.1:40000", "10.0.0.2:5432"}, {"[2001:db8::1]:40000", "[2001:db8::2]:5432"}}
	i := 0
	if p.v6 {
		i = 1
	}
	return netip.MustParseAddrPort(text[i][dir])
}

// build makes the segment that a line describes.
func (p *player) build(words []string) (packet.Segment, faults.Direction, error) {
	var dir faults.Direction
	switch words[0] {
	case "C>S":
		dir = faults.Original
	case "S>C":
		dir = faults.Reply
	default:
		return packet.Segment{}, 0, errors.New("a segment goes C>S or S>C")
	}
	if len(words) < 2 || !strings.HasPrefix(words[1], "[") || !strings.HasSuffix(words[1], "]") {
		return packet.Segment{}, 0, errors.New("the flags stand in brackets, as in [P.]")
	}
	flags, err := packet.ParseFlags(strings.Trim(words[1], "[]"))
	if err != nil {
		return packet.Segment{}, 0, err
	}
	from, to := &p.side[dir], &p.side[dir.Flip()]
	f := packet.Fields{
		Src: p.addr(dir), Dst: p.addr(dir.Flip()), TTL: 64, ID: from.id, DF: true, FlowLabel: 0x11111 * uint32(1+dir),
		Flags: flags, Seq: from.isn + from.next, Window: 502,
	}
	if flags.Has(packet.SYN) {
		f.Window = 64240 // never scaled; 502 of the later ones are as much
	}
	if flags.Has(packet.ACK) {
		f.Ack = to.isn + from.acked
	}
	val, ecr, stamps := from.ts+uint32(p.now.Milliseconds()), from.ecr, p.stamps
	scale, sack, signed := 7, "", false
	var payload []byte
	for i := 2; i < len(words); i++ {
		if words[i] == "nots" {
			stamps = false
			continue
		}
		if words[i] == "md5" {
			signed = true
			continue
		}
		if i+1 == len(words) {
			return packet.Segment{}, 0, fmt.Errorf("%s needs a value", words[i])
		}
		i++
		if words[i-1] == "data" {
			text, err := strconv.Unquote(strings.Join(words[i:], " "))
			if err != nil {
				return packet.Segment{}, 0, err
			}
			payload = []byte(text)
			break
		}
		if words[i-1] == "tls" {
			if payload, err = records(words[i]); err != nil {
				return packet.Segment{}, 0, err
			}
			continue
		}
		if words[i-1] == "sack" {
			sack = words[i]
			continue
		}
		if words[i-1] == "ts" {
			if _, err := fmt.Sscanf(words[i], "%d/%d", &val, &ecr); err != nil {
				return packet.Segment{}, 0, err
			}
			continue
		}
		n, err := strconv.ParseInt(words[i], 10, 64)
		if err != nil {
			return packet.Segment{}, 0, err
		}
		switch words[i-1] {
		case "seq":
			f.Seq = from.isn.Add(uint32(n))
		case "ack":
			f.Ack = to.isn.Add(uint32(n))
		case "len":
			payload = []byte(strings.Repeat("abcdefghij", int(n)/10+1))[:n]
		case "win":
			f.Window = uint16(n)
		case "ttl":
			f.TTL = uint8(n)
		case "tos":
			f.TOS = uint8(n)
		case "id":
			f.ID = uint16(n)
		case "scale":
			scale = int(n)
		default:
			return packet.Segment{}, 0, fmt.Errorf("unknown word %q", words[i-1])
		}
	}
	from.id = f.ID + 1
	p.options(&f, flags, stamps, val, ecr, scale)
	if signed { // its signature is as good as any: nobody here has the key
		f.OptionsLen = copy(f.Options[:], append(f.Options[:f.OptionsLen:f.OptionsLen], append([]byte{1, 1, 19, 18}, make([]byte, 16)...)...))
	}
	if sack != "" {
		if err := addSACK(&f, sack, to.isn); err != nil {
			return packet.Segment{}, 0, err
		}
	}
	seg, err := packet.Parse(f.Append(nil, payload))
	if err == nil && !flags.Has(packet.RST) {
		from.next = packet.Max(from.next, seg.End()-from.isn)
	}
	return seg, dir, err
}

// options gives a segment the options that Linux gives it.
func (p *player) options(f *packet.Fields, flags packet.Flags, stamps bool, val, ecr uint32, scale int) {
	if !flags.Has(packet.SYN) {
		if stamps {
			f.SetTimestamps(val, ecr)
		}
		return
	}
	o := []byte{2, 4, 0x05, 0xb4} // MSS 1460
	if stamps {
		o = append(o, 4, 2, 8, 10)
		o = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(o, val), ecr)
	}
	if scale >= 0 {
		o = append(o, 1, 3, 3, byte(scale))
	}
	f.OptionsLen = copy(f.Options[:], o)
}

func addSACK(f *packet.Fields, edges string, isn packet.Seq) error {
	var left, right uint32
	if _, err := fmt.Sscanf(edges, "%d:%d", &left, &right); err != nil {
		return err
	}
	o := append(f.Options[:f.OptionsLen:f.OptionsLen], 1, 1, 5, 10)
	o = binary.BigEndian.AppendUint32(o, uint32(isn.Add(left)))
	o = binary.BigEndian.AppendUint32(o, uint32(isn.Add(right)))
	f.OptionsLen = copy(f.Options[:], o)
	return nil
}

// show writes a segment as the traces have it.
func (p *player) show(dir faults.Direction, f packet.Fields, payload []byte) string {
	var b strings.Builder
	way := [...]string{"C>S", "S>C"}[dir]
	fmt.Fprintf(&b, "%s [%s]", way, f.Flags)
	if f.Seq == 0 && f.Flags.Has(packet.RST) {
		b.WriteString(" seq raw 0")
	} else {
		fmt.Fprintf(&b, " seq %d", uint32(f.Seq-p.side[dir].isn))
	}
	if f.Flags.Has(packet.ACK) {
		fmt.Fprintf(&b, " ack %d", uint32(f.Ack-p.side[dir.Flip()].isn))
	}
	switch n := len(payload); {
	case n > 16:
		fmt.Fprintf(&b, " len %d", n)
	case n > 0:
		fmt.Fprintf(&b, " data %q", payload)
	}
	fmt.Fprintf(&b, " win %d", f.Window)
	if val, ecr, ok := f.Timestamps(); ok {
		fmt.Fprintf(&b, " ts %d/%d", val, ecr)
	}
	if s, err := packet.Parse(f.Append(nil, payload)); err == nil {
		if right, ok := s.SACK(); ok {
			fmt.Fprintf(&b, " sack :%d", uint32(right-p.side[dir.Flip()].isn))
		}
	}
	fmt.Fprintf(&b, " ttl %d", f.TTL)
	if f.TOS != 0 {
		fmt.Fprintf(&b, " tos %d", f.TOS)
	}
	if !p.v6 {
		fmt.Fprintf(&b, " id %d", f.ID)
		if f.DF {
			b.WriteString(" DF")
		}
	}
	return b.String()
}

// showRaw writes a whole packet: an ICMP error, or a copy of a segment.
func (p *player) showRaw(b []byte, dir faults.Direction) (string, error) {
	if s, err := packet.Parse(b); err == nil {
		return "copy of " + p.show(dir, packet.FieldsOf(s), s.Payload()), nil
	}
	way := [...]string{"C>S", "S>C"}[dir]
	at, proto := 20, byte(1)
	if p.v6 {
		at, proto = 40, 58
	}
	if len(b) < at+8 || (p.v6 && b[6] != proto) || (!p.v6 && b[9] != proto) {
		return "", errors.New("injected neither TCP nor ICMP")
	}
	quoted, err := packet.Parse(b[at+8:])
	if err != nil && !errors.Is(err, packet.ErrTruncated) {
		return "", fmt.Errorf("ICMP quotes nonsense: %w", err)
	}
	codes := map[byte]string{0: "net", 1: "host", 3: "port", 13: "admin"}
	if p.v6 {
		codes = map[byte]string{0: "net", 3: "host", 4: "port", 1: "admin"}
	}
	return way + " ICMP " + codes[b[at+1]] + " unreachable about seq " + fmt.Sprint(uint32(quoted.Seq()-p.side[dir.Flip()].isn)), nil
}

// records are TLS records, such as hello:200,20:1,23:53: the type of each and its
// length. A hello is a handshake record that holds a ClientHello.
func records(text string) (b []byte, err error) {
	for _, r := range strings.Split(text, ",") {
		kind, size, _ := strings.Cut(r, ":")
		n, err := strconv.ParseUint(size, 10, 14)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%q has no length", r)
		}
		body := make([]byte, n)
		if kind == "hello" {
			kind, body[0] = "22", 1
		}
		k, err := strconv.ParseUint(kind, 10, 8)
		if err != nil {
			return nil, err
		}
		b = append(b, byte(k), 3, 3)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		b = append(b, body...)
	}
	return b, nil
}
