package trace

import (
	"errors"
	"fmt"
	"slices"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// checkForged reports what gives a forged segment away, whatever the fault.
// cause is the segment that it answers or replaces, nil on a wake-up.
func (p *player) checkForged(f packet.Fields, payload []byte, cause *packet.Segment) error {
	s, err := packet.Parse(f.Append(nil, payload))
	if err != nil {
		return fmt.Errorf("forged nonsense: %w", err)
	}
	ends := [2]any{f.Src, f.Dst}
	rst := f.Flags.Has(packet.RST)
	switch {
	case ends != [2]any{p.flow.Client, p.flow.Server} && ends != [2]any{p.flow.Server, p.flow.Client}:
		return fmt.Errorf("forged a segment from %v to %v, which is not this flow", f.Src, f.Dst)
	case !s.ChecksumOK():
		return errors.New("forged a wrong checksum")
	case rst && cause != nil && cause.Flags().Has(packet.RST):
		return errors.New("a RST is never answered by a RST")
	case rst && len(payload) > 0:
		return errors.New("a RST of Linux has no text in it")
	case rst && !f.Flags.Has(packet.ACK):
		return shapeB(s)
	case rst && f.Seq == 0:
		return shapeC(s)
	case rst:
		return p.shapeA(s)
	}
	return nil
}

// shapeB is tcp_v4_send_reset for a segment with ACK, and nf_send_reset.
func shapeB(s packet.Segment) error {
	return bare(s, s.Ack() == 0)
}

// shapeC is the same for a segment without ACK.
func shapeC(s packet.Segment) error {
	return bare(s, s.Ack() != 0)
}

func bare(s packet.Segment, ack bool) error {
	if s.Window() != 0 || len(s.Options()) > 0 || s.Version() == 4 && (s.ID() != 0 || !s.DF()) || !ack {
		return fmt.Errorf("a RST made without a socket has no window, options, or identification: %v", packet.FieldsOf(s))
	}
	return nil
}

// shapeA is tcp_send_active_reset.
func (p *player) shapeA(s packet.Segment) error {
	if _, _, ok := s.Timestamps(); ok != p.stamped() {
		return fmt.Errorf("timestamps on an abort: %t, on the connection: %t", ok, p.stamped())
	}
	return nil
}

// stamped reports whether both ends were seen to send timestamps, or none.
func (p *player) stamped() bool {
	return p.flow.Half[faults.Original].Stamped || p.flow.Half[faults.Reply].Stamped
}

// checkReplaced reports what no replaced segment may be.
func (p *player) checkReplaced(was, is packet.Segment) error {
	if was.SrcAddrPort() != is.SrcAddrPort() || was.DstAddrPort() != is.DstAddrPort() {
		return errors.New("replaced by a segment of another flow")
	}
	if !is.Complete() {
		return errors.New("replaced although only its headers are there: its model's Diverts wants Whole")
	}
	damaged := slices.Contains(p.names, "corrupt")
	if !is.ChecksumOK() && !damaged {
		return errors.New("replaced by a segment with a wrong checksum")
	}
	if is.Flags().Has(packet.RST) && is.Flags().Has(packet.ACK) {
		return p.shapeA(is)
	}
	return nil
}
