package outcomes

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/faults/packet"
	"golang.org/x/sys/unix"
)

var (
	client = netip.MustParseAddrPort("10.0.0.1:40000")
	server = netip.MustParseAddrPort("10.0.0.2:5432")
)

// fakeFlow is the connection from client to server, as the engine knows it.
type fakeFlow struct {
	conn    *Conn
	armed   bool
	alarmed bool
	waits   []Wait
	rested  int
	sums    []Tally
	told    []outcome.Outcome
}

func (f *fakeFlow) SocketEnds(dir faults.Direction) (local, remote netip.AddrPort) {
	if dir == faults.Reply {
		return server, client
	}
	return client, server
}

// fakeEngine plays the worker. What is to be done beside it is done by work.
type fakeEngine struct {
	flow   *fakeFlow
	beside []func()
}

func (e *fakeEngine) Conn(c, s netip.AddrPort) *Conn {
	if c == client && s == server {
		return e.flow.conn
	}
	return nil
}
func (e *fakeEngine) Faults(f Flow) int            { return len(f.(*fakeFlow).sums) }
func (e *fakeEngine) Tally(f Flow, i int) *Tally   { return &f.(*fakeFlow).sums[i] }
func (e *fakeEngine) Armed(f Flow) bool            { return f.(*fakeFlow).armed }
func (e *fakeEngine) Alarmed(f Flow) bool          { return f.(*fakeFlow).alarmed }
func (e *fakeEngine) Waits(f Flow, i int) Wait     { return f.(*fakeFlow).waits[i] }
func (e *fakeEngine) Rest(f Flow, _ time.Duration) { f.(*fakeFlow).rested++ }
func (e *fakeEngine) Settled(f Flow, _ int, o outcome.Outcome) {
	f.(*fakeFlow).told = append(f.(*fakeFlow).told, o)
}
func (e *fakeEngine) Beside(ask, then func()) {
	e.beside = append(e.beside, func() { ask(); then() })
}

func (e *fakeEngine) work() {
	for len(e.beside) > 0 {
		f := e.beside[0]
		e.beside = e.beside[1:]
		f()
	}
}

// fakeKernel knows the client's socket, and what has left.
type fakeKernel struct {
	sock  Socket
	err   error
	left  bool
	asked int // for the socket
}

func (k *fakeKernel) Socket(local, _ netip.AddrPort) (Socket, error) {
	k.asked++
	if local != client {
		return Socket{State: Gone}, k.err
	}
	return k.sock, k.err
}
func (k *fakeKernel) Left(uint32, uint32) (bool, error) { return k.left, k.err }

// bench is a Watcher between fakes that follows one connection with two faults.
type bench struct {
	Watcher
	*fakeFlow
	engine *fakeEngine
	kernel *fakeKernel
	now    time.Duration
	out    faults.Effects
	signed atomic.Uint64
	next   [2]packet.Seq
}

func newBench(judged, signed bool) *bench {
	b := &bench{fakeFlow: &fakeFlow{sums: make([]Tally, 2), waits: make([]Wait, 2)}, kernel: &fakeKernel{sock: Socket{Alive, 7}, left: true}, next: [2]packet.Seq{1000, 5000}}
	b.conn = NewConn(b.fakeFlow, judged, signed)
	b.engine = &fakeEngine{flow: b.fakeFlow}
	b.Watcher = Watcher{Engine: b.engine, Clock: func() time.Duration { return b.now }, Kernel: b.kernel, Judged: judged, Mark: Mark, Signed: &b.signed}
	return b
}

// decide returns a decision of the first fault. It is valid until the next one.
func (b *bench) decide(v faults.Verdict, notes ...faults.Note) *Decision {
	b.out.Reset()
	b.out.Notes = append(b.out.Notes, notes...)
	return &Decision{Verdict: v, Effects: &b.out}
}

func (b *bench) segment(dir faults.Direction, flags packet.Flags, payload string) packet.Segment {
	f := packet.Fields{Src: client, Dst: server, TTL: 64, Seq: b.next[dir], Ack: b.next[1-dir], Flags: flags, Window: 1000}
	if dir == faults.Reply {
		f.Src, f.Dst = server, client
	}
	s, err := packet.Parse(f.Append(nil, []byte(payload)))
	if err != nil {
		panic(err)
	}
	return s
}

// sends has an end send a segment, 1 ms after the one before, and the faults decide d. The
// client is on this host.
func (b *bench) sends(dir faults.Direction, flags packet.Flags, payload string, d *Decision) (struck bool) {
	b.now += time.Millisecond
	seg := b.segment(dir, flags, payload)
	b.next[dir] += packet.Seq(len(payload))
	if flags.Any(packet.SYN | packet.FIN) {
		b.next[dir]++
	}
	hook := uint8(unix.NF_INET_LOCAL_OUT)
	if dir == faults.Reply {
		hook = unix.NF_INET_LOCAL_IN
	}
	b.CaughtUp(b.now)
	b.Met(b.conn, hook, false, dir)
	if !b.MayStrike(b.conn, d, flags.Has(packet.SYN), b.now) {
		b.Passed(b.conn, dir, seg, b.now)
		return false
	}
	b.Segment(b.conn, dir, seg, d, b.now)
	b.Conclude(b.conn, b.out.Hold > 0, b.now)
	return true
}

func (b *bench) pass(dir faults.Direction, flags packet.Flags, payload string) {
	b.sends(dir, flags, payload, &Decision{Verdict: faults.Pass, Fault: -1, Effects: func() *faults.Effects { b.out.Reset(); return &b.out }()})
}

// open opens the connection; with a request outstanding, if one is given.
func (b *bench) open(request string) {
	b.pass(faults.Original, packet.SYN, "")
	b.pass(faults.Reply, packet.SYN|packet.ACK, "")
	b.pass(faults.Original, packet.ACK, "")
	if request != "" {
		b.pass(faults.Original, packet.ACK|packet.PSH, request)
	}
}

// reset has the first fault send the client a RST at an alarm.
func (b *bench) reset(err error) (struck bool) {
	d := b.decide(faults.Pass, faults.Note{Action: faults.SentRST, To: faults.Client})
	b.out.Forged = append(b.out.Forged, faults.Forged{})
	if !b.MayStrike(b.conn, d, false, b.now) {
		return false
	}
	b.Alarm(b.conn, d, b.now)
	b.Conclude(b.conn, false, b.now)
	b.Sent(b.conn, faults.Reply, true, b.segment(faults.Reply, packet.RST, "").Bytes(), err)
	return true
}

// after lets time pass, and what is due then happen.
func (b *bench) after(d time.Duration) {
	b.now += d
	b.Due(b.now)
	b.engine.work()
}

func (b *bench) end() outcome.Tally {
	b.End(slices.Values([]*Conn{b.conn}), func() {})
	return b.sums[0].Sum()
}

func dropped() faults.Note { return faults.Note{Action: faults.Dropped, To: faults.Both} }

func check(t *testing.T, got outcome.Tally, want outcome.Tally) {
	t.Helper()
	got.Furthest, got.AnswersLost = outcome.Outcome{}, 0
	if got != want {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}
