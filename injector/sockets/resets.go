// Package sockets says what this host's kernel knows of TCP connections beyond their
// packets: why it resets them, why it drops packets of TCP, what its counters are, and
// which process holds a socket. It changes nothing.
package sockets

import (
	"net/netip"
	"sync"
	"time"

	"github.com/faultctl/faultctl/injector/internal/tracepoint"
)

// Reset is a RST that the kernel says it sends, or that a socket received.
type Reset struct {
	Sent          bool           // it was sent; else received
	Local, Remote netip.AddrPort // the ends, Local being that of this host
	PID           int            // of the process whose call brought it about; 0: none did, or it is not known
	Reason        string         // of one that is sent, the kernel's word (enum sk_rst_reason); empty: this kernel has none
	OfSocket      bool           // a socket sends it: else it answers a segment of no connection
}

// Resets listens to the kernel. Its methods are for one goroutine.
type Resets struct {
	source *tracepoint.Source
	drops  map[string]uint64
}

// ListenResets listens to resets, and to drops of packets that say something of TCP,
// on the whole host: tracepoints know no network namespaces. It needs CAP_PERFMON and
// tracefs, or root; the error says what is missing.
func ListenResets() (*Resets, error) {
	s, err := tracepoint.Open(tracepoint.SentReset, tracepoint.ReceivedReset, tracepoint.Dropped)
	if err != nil {
		return nil, err
	}
	return &Resets{s, map[string]uint64{}}, nil
}

// Missing names what this kernel does not tell; empty if it tells all.
func (r *Resets) Missing() (words []string) {
	for kind, word := range map[tracepoint.Kind]string{tracepoint.SentReset: "tcp:tcp_send_reset", tracepoint.ReceivedReset: "tcp:tcp_receive_reset", tracepoint.Dropped: "reasons in skb:kfree_skb"} {
		if !r.source.Can(kind) {
			words = append(words, word)
		}
	}
	return words
}

// Read calls f for each reset so far, in order of time.
func (r *Resets) Read(f func(Reset)) {
	r.source.Read(func(e tracepoint.Event) {
		switch e.Kind {
		case tracepoint.Dropped:
			r.drops[e.Reason]++
		case tracepoint.SentReset:
			f(Reset{Sent: true, Local: e.Local, Remote: e.Remote, PID: int(e.PID), Reason: e.Reason, OfSocket: e.Sock != 0})
		case tracepoint.ReceivedReset:
			f(Reset{Local: e.Local, Remote: e.Remote, OfSocket: true})
		}
	})
}

// Drops says how many packets were dropped so far, by the kernel's word for the
// reason (enum skb_drop_reason), on the whole host.
func (r *Resets) Drops() map[string]uint64 { return r.drops }

// Lost is how many events were lost for lack of room.
func (r *Resets) Lost() uint64 { return r.source.Lost() }

// Close stops listening.
func (r *Resets) Close() error { return r.source.Close() }

// settled is after how long what the kernel told has surely been read, at the latest.
const settled = 2 * time.Second

// Told gathers what the kernel told of connections, until somebody asks. It may be used
// by several goroutines.
type Told struct {
	mu  sync.Mutex
	all map[[2]netip.AddrPort]told
}

type told struct {
	Reset
	at time.Time
}

// Add takes a reset that was told at that time.
func (t *Told) Add(now time.Time, r Reset) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = map[[2]netip.AddrPort]told{}
	}
	const most = 50_000
	if len(t.all) >= most {
		for k, old := range t.all {
			if now.Sub(old.at) > settled {
				delete(t.all, k)
			}
		}
	}
	key := [2]netip.AddrPort{r.Local, r.Remote}
	if _, known := t.all[key]; !known && len(t.all) < most && r.Sent {
		t.all[key] = told{r, now}
	}
}

// Take returns the first RST that the kernel said it sends from local to remote, and
// forgets it.
func (t *Told) Take(local, remote netip.AddrPort) (Reset, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := [2]netip.AddrPort{local, remote}
	r, ok := t.all[key]
	delete(t.all, key)
	return r.Reset, ok
}
