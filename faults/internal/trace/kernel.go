package trace

import (
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// kernel is the kernel's half: which segments it hands over, by the sets that
// the verdicts change.
type kernel struct {
	diverts            faults.Diversion
	captured, released bool
	busy               bool          // the segment handed over last found the flow so
	live               time.Duration // until then the flow counts as busy
	seen               time.Duration // the last segment that counts
}

func (k *kernel) handsOver(at time.Duration, dir faults.Direction, s packet.Segment) bool {
	d, flags := &k.diverts, s.Flags()
	busy := at < k.live
	k.busy = busy
	if busy && d.Refresh.Counts(dir, s.PayloadLen()) {
		k.live, k.seen = at+d.Idle, at
	}
	switch syn, ack := flags.Has(packet.SYN), flags.Has(packet.ACK); {
	case k.captured, syn && !ack:
		return true
	case k.released:
		return false
	case d.All, d.SYNACK && syn, d.FIN && flags.Has(packet.FIN), d.RST && flags.Has(packet.RST):
		return true
	case d.Above != 0 && s.HeaderLen()+s.PayloadLen() > d.Above:
		return true
	case d.Small && s.PayloadLen() <= 1 && !flags.Any(packet.SYN|packet.FIN|packet.RST):
		return true
	}
	return d.Idle != 0 && !busy
}

// learn changes the sets as the verdict says, and returns how.
func (k *kernel) learn(at time.Duration, out *faults.Effects) (did []string) {
	switch {
	case out.Captured() && !k.captured:
		k.captured, k.released = true, false
		did = append(did, "capture")
		if k.diverts.NoCapture {
			did = append(did, "although Diverts says that it never does")
		}
	case out.Released() && !k.released:
		k.captured, k.released = false, true
		did = append(did, "release")
	}
	if out.Admitted() {
		k.live, k.seen = at+k.diverts.Idle, at
		did = append(did, "admit")
	}
	return did
}

// idle is how long the kernel has seen nothing that counts.
func (k *kernel) idle(at time.Duration) time.Duration {
	if k.diverts.Idle == 0 {
		return 0
	}
	return min(at-k.seen, k.diverts.Idle)
}
