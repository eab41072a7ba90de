package fidelity

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// keeper is a device such as a load balancer, which knows its flows well enough to
// reset an end that has sent nothing: it keeps the last segment of each direction.
// The RST itself is sent by the kernel, whose firewall rejects that segment when
// the device sends it again.
type keeper struct {
	p    *play
	both bool // reset both ends when the idle time is over; else reset the client when the server sends

	mu   sync.Mutex
	kept map[string][]byte // by direction
	at   time.Time         // of the last segment
	gone bool              // the flow was forgotten
}

const (
	keeperQueue = 9
	idleTime    = time.Second

	// rejected marks what the firewall shall reject.
	rejected = 0x7e57
)

// keep puts such a device on the path.
func (p *play) keep(both bool) {
	p.t.Helper()
	k := &keeper{p: p, both: both, kept: map[string][]byte{}}
	marked := rule{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(rejected)},
	}
	p.chainAt("reject", nftables.ChainHookOutput, 0, []rule{match(marked, reject())})
	ctx, cancel := context.WithCancel(context.Background())
	var q *nfqueue.Nfqueue
	k.mu.Lock() // the queue is not known yet
	q = p.divert(ctx, keeperQueue, -10, match(), func(a nfqueue.Attribute) {
		q.SetVerdict(*a.PacketID, k.judge(*a.Payload))
	})
	k.mu.Unlock()
	ended := make(chan struct{})
	go k.watch(ctx, ended)
	p.cleanup(func() { cancel(); <-ended; q.Close() })
}

// judge keeps a segment and accepts it, or handles a segment of a flow that was
// forgotten.
func (k *keeper) judge(pkt []byte) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	way := "C>S"
	if at := pick(k.p.v6, 40, 20); bytes.Equal(pkt[at:at+2], binaryutil.BigEndian.PutUint16(k.p.service.Port())) {
		way = "S>C"
	}
	if len(k.kept) == 2 && time.Since(k.at) > idleTime {
		k.gone = true
	}
	if k.gone && pkt[pick(k.p.v6, 40, 20)+13]&rst == 0 {
		k.tell("C>S")
		return nfqueue.NfDrop
	}
	k.kept[way], k.at = bytes.Clone(pkt), time.Now()
	return nfqueue.NfAccept
}

// watch resets both ends when the idle time is over.
func (k *keeper) watch(ctx context.Context, ended chan struct{}) {
	defer close(ended)
	for tick := time.NewTicker(5 * time.Millisecond); k.both; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		k.mu.Lock()
		if !k.gone && len(k.kept) == 2 && time.Since(k.at) > idleTime {
			k.gone = true
			k.tell("C>S")
			k.tell("S>C")
		}
		k.mu.Unlock()
	}
}

// tell resets the end that sent the last segment of that direction. The raw socket
// gets EPERM, because the firewall rejects the segment.
func (k *keeper) tell(way string) {
	if err := k.p.raw(k.p.path, k.kept[way], rejected); !errors.Is(err, unix.EPERM) {
		k.p.t.Errorf("the device's firewall does not reject its segment: %v", err)
	}
}
