package injector

import (
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/outcomes"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeKernel plays the kernel that is asked for sockets and for what has left.
type fakeKernel struct {
	mu    sync.Mutex
	socks map[netip.AddrPort]outcomes.SocketState // by the local end; one that is not here is none
	eaten bool                                    // nothing leaves
}

func (k *fakeKernel) Socket(local, _ netip.AddrPort) (outcomes.Socket, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, there := k.socks[local]
	if !there {
		return outcomes.Socket{State: outcomes.Gone}, nil
	}
	return outcomes.Socket{State: s, Cookie: uint64(local.Port())}, nil
}

func (k *fakeKernel) Left(uint32, uint32) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.eaten, nil
}

func (k *fakeKernel) is(local netip.AddrPort, s outcomes.SocketState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.socks[local] = s
}

func (k *fakeKernel) gone(local netip.AddrPort) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.socks, local)
}

// trackBench is a bench that plays a connection.
type trackBench struct {
	*bench
	t      *testing.T
	hook   uint8
	events []Event
	kernel *fakeKernel
	next   [2]packet.Seq
	busy   bool // what comes has waited in the queue
}

func newTrackBench(t *testing.T, judge bool, hook uint8, ms ...NamedModel) *trackBench {
	rule := ruleOf(ms[0])
	rule.Faults = ms
	b := &trackBench{bench: newBench(t, rule), t: t, hook: hook, kernel: &fakeKernel{socks: map[netip.AddrPort]outcomes.SocketState{}}}
	if judge {
		b.shared.judge()
		b.watcher.Judged = true
	}
	b.watcher.Kernel, b.watcher.Mark = b.kernel, outcomes.Mark
	var lost atomic.Uint64
	b.report = newReporter(make(chan struct{}, 1), &lost)
	return b
}

// after lets time pass, and what is due then happen.
func (b *trackBench) after(d time.Duration) {
	b.t.Helper()
	b.now += d
	b.runDue(b.now)
	b.watcher.Due(b.now)
	for b.changing > 0 {
		b.runPosted()
		time.Sleep(100 * time.Microsecond)
	}
}

// sends has an end send a segment, 1 ms after the one before.
func (b *trackBench) sends(dir faults.Direction, flags packet.Flags, payload string) nfqueue.Verdict {
	b.t.Helper()
	b.now += time.Millisecond
	if b.next[dir] == 0 {
		b.next[dir] = 1000
	}
	pkt := segment(dir, flags, b.next[dir], b.next[1-dir], payload)
	b.next[dir] += packet.Seq(len(payload))
	if flags.Any(packet.SYN | packet.FIN) {
		b.next[dir]++
	}
	hook := b.hook
	if hook == localOut && dir == faults.Reply {
		hook = localIn
	}
	if !b.busy {
		b.watcher.CaughtUp(b.now)
	}
	return b.judge(b.t, hook, pkt)
}

func (b *trackBench) open() {
	b.t.Helper()
	b.sends(faults.Original, packet.SYN, "")
	b.sends(faults.Reply, packet.SYN|packet.ACK, "")
	b.sends(faults.Original, packet.ACK, "")
}

func (b *trackBench) exchange(request string) {
	b.t.Helper()
	b.sends(faults.Original, packet.ACK|packet.PSH, request)
	b.sends(faults.Reply, packet.ACK|packet.PSH, "answer")
	b.sends(faults.Original, packet.ACK, "")
}

// end ends the run, and returns what the fault of that ordinal came to.
func (b *trackBench) end(fault int) FaultStats {
	b.t.Helper()
	b.endOutcomes()
	deliverAll([]ring[Event]{b.report}, func(ev Event) { b.events = append(b.events, ev) })
	return b.snapshot().Rules[0].Faults[fault]
}

// told is the outcomes that events told of.
func (b *trackBench) told() (os []Event) {
	for _, ev := range b.events {
		if ev.Kind == Outcome {
			os = append(os, ev)
		}
	}
	return os
}

const (
	ack = packet.ACK
	fin = packet.FIN | packet.ACK
)
