package integration

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultctl/faultctl/lab"
)

// chatter is connections on which both ends never stop talking.
type chatter struct {
	t     *testing.T
	pairs []*talkers
	stop  atomic.Bool
	wg    sync.WaitGroup
}

// talkers are the two ends of a connection.
type talkers struct {
	client, server *lab.App
	count          atomic.Int64 // exchanges
	worst          atomic.Int64 // the longest of them since the last look; one goroutine writes
}

func (w *world) chatter(n int) *chatter {
	w.t.Helper()
	c := &chatter{t: w.t}
	for range n {
		client, server := w.open()
		c.pairs = append(c.pairs, &talkers{client: client, server: server})
	}
	for _, p := range c.pairs {
		c.wg.Go(func() {
			for !c.stop.Load() {
				start := time.Now()
				if p.client.Send("ping") != "4" || p.server.Recv() != "ping" || p.server.Send("pong") != "4" || p.client.Recv() != "pong" {
					c.t.Error("a connection broke: ", p.client.Calls()[max(0, len(p.client.Calls())-4):])
					return
				}
				p.worst.Store(max(p.worst.Load(), int64(time.Since(start))))
				p.count.Add(1)
			}
		})
	}
	w.t.Cleanup(c.hush)
	return c
}

// flows waits until every connection has gone on, and returns the longest
// exchange since the last call.
func (c *chatter) flows() (worst time.Duration) {
	c.t.Helper()
	for _, p := range c.pairs {
		before := p.count.Load()
		if !lab.Eventually(func() bool { return p.count.Load() >= before+4 }) {
			c.t.Fatalf("the traffic stands still: of %d exchanges there were %d more\nclient %s\nserver %s",
				before, p.count.Load()-before, told(p.client), told(p.server))
		}
		worst = max(worst, time.Duration(p.worst.Swap(0)))
	}
	return worst
}

// told is what an end of a connection did last, and what the kernel knows of it.
func told(a *lab.App) string {
	calls := a.Calls()
	i, err := a.Info()
	return fmt.Sprintf("%v, %+v %v", calls[max(0, len(calls)-4):], i, err)
}

// heals holds that every connection goes on after the dead man's timer has gone
// off, and says how long that took: what is left until TCP sends again, whose
// patience doubles each time, comes on top of the timer's.
func (c *chatter) heals() {
	c.t.Helper()
	c.t.Logf("the longest exchange took %v", c.flows())
}

// hush ends the talk.
func (c *chatter) hush() {
	c.stop.Store(true)
	c.wg.Wait()
}

// losses counts the retransmissions of all connections, at both ends, but for
// those of which the peer said that it had got both: on a busy machine a
// segment may be under way for longer than its sender's patience.
func (c *chatter) losses() (n int) {
	c.t.Helper()
	for _, p := range c.pairs {
		for _, a := range []*lab.App{p.client, p.server} {
			i, err := a.Info()
			if err != nil {
				c.t.Fatal(err)
			}
			n += int(i.TotalRetrans) - int(i.Duplicates)
		}
	}
	return n
}
