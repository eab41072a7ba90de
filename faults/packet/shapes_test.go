package packet

import (
	"net/netip"
	"testing"
)

// TestAnswer holds what Linux was seen to answer, by the flags and the payload
// of the segment: a closed port's answers.
func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name    string
		flags   Flags
		payload string
		want    Flags // 0: nothing
		seq     Seq
		ack     Seq
	}{
		{"SYN", SYN, "", RST | ACK, 0, 1001},
		{"SYN with 5 bytes", SYN, "hello", RST | ACK, 0, 1006},
		{"FIN alone", FIN, "", RST | ACK, 0, 1001},
		{"no flags", 0, "", RST | ACK, 0, 1000},
		{"PSH and 5 bytes without ACK", PSH, "hello", RST | ACK, 0, 1005},
		{"SYN+FIN", SYN | FIN, "", RST | ACK, 0, 1002},
		{"ACK", ACK, "", RST, 77, 0},
		{"ACK and data", PSH | ACK, "hello", RST, 77, 0},
		{"FIN+ACK", FIN | ACK, "", RST, 77, 0},
		{"SYN+ACK", SYN | ACK, "", RST, 77, 0},
		{"RST", RST, "", 0, 0, 0},
		{"RST+ACK", RST | ACK, "", 0, 0, 0},
	} {
		for _, v6 := range []bool{false, true} {
			f := fields(v6)
			f.Seq, f.Ack, f.Flags, f.TOS = 1000, 77, c.flags, 0x4b
			f.SetTimestamps(1, 2)
			s := build(t, f, c.payload)
			for device, answer := range map[bool]func(Segment, uint8) (Fields, bool){false: Answer, true: DeviceAnswer} {
				got, ok := answer(s, 0)
				if ok != (c.want != 0) {
					t.Errorf("%s: answered %v", c.name, ok)
				}
				if !ok {
					continue
				}
				want := Fields{Src: f.Dst, Dst: f.Src, TTL: 64, DF: true, Flags: c.want, Seq: c.seq, Ack: c.ack}
				if !device {
					want.TOS = 0x48 // as the segment had it, without ECN
					if want.FlowLabel = got.FlowLabel; v6 != (got.FlowLabel != 0) || got.FlowLabel > 0xfffff {
						t.Errorf("%s: flow label %#x", c.name, got.FlowLabel)
					}
				}
				if got != want {
					t.Errorf("%s: %+v, want %+v", c.name, got, want)
				}
			}
			if got, ok := Answer(s, 200); ok && got.TTL != 200 {
				t.Errorf("TTL %d, want 200", got.TTL)
			}
		}
	}
}

// TestAnswerLabel holds that all answers to a connection have one flow label,
// and another connection's have another.
func TestAnswerLabel(t *testing.T) {
	f := fields(true)
	one, _ := Answer(build(t, f, "a"), 0)
	f.FlowLabel, f.Seq = 5, 9
	two, _ := Answer(build(t, f, "bc"), 0)
	if one.FlowLabel != two.FlowLabel {
		t.Errorf("labels %#x and %#x", one.FlowLabel, two.FlowLabel)
	}
	labels := map[uint32]bool{}
	for port := range uint16(50) {
		f.Src = netip.AddrPortFrom(f.Src.Addr(), 40000+port)
		other, _ := Answer(build(t, f, ""), 0)
		labels[other.FlowLabel] = true
	}
	if len(labels) < 45 {
		t.Errorf("%d labels for 50 connections", len(labels))
	}
}

// TestAbort holds shape A: it goes on where the segment stood, with timestamps
// and selective acknowledgments only, and in place it is the same bytes.
func TestAbort(t *testing.T) {
	stamps := []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}
	holes := []byte{1, 1, 5, 10, 0, 0, 0, 100, 0, 0, 0, 200}
	for name, c := range map[string]struct{ options, want []byte }{
		"bare":                     {nil, nil},
		"timestamps":               {stamps, stamps},
		"timestamps and holes":     {append(append([]byte{}, stamps...), holes...), append(append([]byte{}, stamps...), holes...)},
		"holes, packed otherwise":  {append(append([]byte{}, holes[2:]...), 1, 1), holes},
		"timestamps, packed so":    {append(append([]byte{}, stamps[2:]...), 0, 0), stamps},
		"of a SYN":                 {[]byte{2, 4, 5, 0xb4, 4, 2, 1, 1, 3, 3, 7, 0}, nil},
		"a list that breaks":       {[]byte{1, 8, 99, 1}, nil},
		"MPTCP's data sequence":    {append(append([]byte{}, stamps...), 30, 8, 0x20, 1, 0, 0, 0, 5), stamps},
		"timestamps, then garbage": {append(append([]byte{}, stamps...), 99, 1, 1, 1), stamps},
	} {
		for _, v6 := range []bool{false, true} {
			for _, payload := range []string{"", "hello"} {
				f := fields(v6)
				f.Flags, f.Urgent, f.OptionsLen = FIN|PSH|URG|ACK, 3, copy(f.Options[:], c.options)
				want := fields(v6)
				want.Flags, want.OptionsLen = RST|ACK, copy(want.Options[:], c.want)
				got := Abort(build(t, f, payload))
				if got != want {
					t.Errorf("%s: %+v, want %+v", name, got, want)
				}
				inPlace := AbortInPlace(build(t, f, payload))
				if fresh := want.Append(nil, nil); string(inPlace.Bytes()) != string(fresh) {
					t.Errorf("%s in place:\n% x, want\n% x", name, inPlace.Bytes(), fresh)
				}
			}
		}
	}
}
