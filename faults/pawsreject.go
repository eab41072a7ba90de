package faults

import (
	"net/netip"
	"sync"
	"time"

	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

var pawsRejectKind = Kind{
	Name: "paws-reject", Group: "reset",
	Cause:   "A server with tcp_tw_recycle=1 (Linux before 4.12) refuses SYNs whose timestamp is older than the last one from the same address, as happens to clients behind one NAT.",
	Symptom: "Some clients cannot connect, at random: connect hangs as it does when the backlog is full, while others behind the same address succeed.",
	Remedy:  "Turn tcp_tw_recycle off, or upgrade the kernel; set a connect timeout and retry.",
	Example: "faultctl inject paws-reject --regress 10s --percent 30 --to :80",
	Demo:    Demo{Settings: "regress=1500ms"},
	Verify:  []Verify{{Settings: "regress=900ms"}},
	Shows: []clue.Prediction{{
		Must:    clue.Of(clue.Connecting, clue.Silence, clue.OldTimestamp),
		Cannot:  clue.Of(clue.Unreachable),
		Likely:  clue.Of(clue.OldTimestamp),
		Settles: "the counters PAWSPassive at the server (nstat -az), its sysctl tcp_tw_recycle, and whether clients share an address",
	}},
	New: func() Model { return new(PAWSReject) },
}

// PAWSReject is the fault paws-reject: a server with net.ipv4.tcp_tw_recycle=1
// (Linux before 4.12) refuses the SYN of a client whose timestamp lies before
// the last one from the same address, as happens to clients behind one NAT
// (tcp_v4_conn_request, PAWSPassive). The kernel dropped such a SYN silently.
type PAWSReject struct {
	Window  time.Duration `knob:"window" default:"1m" help:"how long an address is remembered (TCP_PAWS_MSL)"`
	Answer  string        `knob:"answer" default:"drop" oneof:"drop|rst" help:"how the SYN is refused: drop, as kernels did it, or rst, as is often reported"`
	Regress time.Duration `knob:"regress" help:"treat the clock of every connection as this far behind: SYNs are refused until a retransmission has caught up; 0: compare the real timestamps"`
}

// Validate implements Model.
func (m *PAWSReject) Validate() error {
	if err := judge(m); err != nil {
		return err
	}
	if m.Window > 24*time.Hour {
		return wrong(m, "window", "it lies outside of 0 (not included) to 24h")
	}
	return nil
}

// Diverts implements Model.
func (m *PAWSReject) Diverts() Diversion { return Diversion{SYN: true, NoCapture: true, Super: true} }

// Start implements Model.
func (m *PAWSReject) Start() Instance {
	m = completed(m)
	known := &peers{last: map[netip.Addr]stamp{}}
	return PerFlow(func() Fault { return &pawsReject{m: m, peers: known} })
}

type pawsReject struct {
	m     *PAWSReject
	peers *peers
	first time.Duration // when its first SYN came
	seen  bool
}

func (p *pawsReject) OnSegment(ev *Event, out *Effects) Verdict {
	if f := ev.Seg.Flags(); !f.Has(packet.SYN) || f.Has(packet.ACK) {
		return Pass
	}
	if !p.refused(ev) {
		return Pass
	}
	if p.m.Answer == "rst" {
		return ghost{dead: Server}.onSegment(ev, out, "the SYN's timestamp lies before the last one from its address")
	}
	out.Note(Dropped, Server, "the SYN's timestamp lies before the last one from its address")
	return Drop
}

func (p *pawsReject) refused(ev *Event) bool {
	if !p.seen {
		p.seen, p.first = true, ev.At
	}
	if p.m.Regress > 0 {
		return ev.At-p.first < min(p.m.Regress, p.m.Window)
	}
	val, _, ok := ev.Seg.Timestamps()
	return ok && p.peers.refuses(ev.Seg.Src(), val, ev.At, p.m.Window)
}

// peers remembers the last timestamp of each address, for all flows of a rule.
// It takes a lock, as nothing else here does, but only for SYNs.
type peers struct {
	mu   sync.Mutex
	last map[netip.Addr]stamp
}

type stamp struct {
	val uint32
	at  time.Duration
}

// maxPeers bounds the memory: beyond it, addresses are forgotten.
const maxPeers = 1 << 16

// refuses reports whether a SYN falls back by more than TCP_PAWS_WINDOW (1)
// behind what is remembered, and remembers it if not.
func (p *peers) refuses(from netip.Addr, val uint32, at, window time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, known := p.last[from]
	if known && at-old.at < window && int32(old.val-val) > 1 {
		return true
	}
	if !known && len(p.last) >= maxPeers {
		clear(p.last)
	}
	p.last[from] = stamp{val, at}
	return false
}

// Park implements Parker.
func (p *pawsReject) Park() (uint64, bool) { return pack(p.first, p.seen), true }

// Unpark implements Parker.
func (p *pawsReject) Unpark(state uint64) { p.first, p.seen = unpack(state) }
