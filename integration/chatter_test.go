package integration

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultctl/faultctl/lab"
)

// chatter is a set of connections on which both ends exchange data all the time.
type chatter struct {
	t     *testing.T
	pairs []*talkers
	over  atomic.Bool
	wg    sync.WaitGroup
}

// talkers are the two ends of a connection.
type talkers struct {
	client, server *lab.App
	count          atomic.Int64 // exchanges
	worst          atomic.Int64 // the longest of them since the last call of progress; one goroutine writes
}

func (w *testbed) chatter(n int) *chatter {
	w.t.Helper()
	c := &chatter{t: w.t}
	for range n {
		client, server := w.open()
		c.pairs = append(c.pairs, &talkers{client: client, server: server})
	}
	for _, p := range c.pairs {
		c.wg.Go(func() {
			for !c.over.Load() {
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
	w.t.Cleanup(c.stop)
	return c
}

// progress waits until every connection has made more exchanges, and returns the
// longest exchange since the last call.
func (c *chatter) progress() (worst time.Duration) {
	c.t.Helper()
	for _, p := range c.pairs {
		before := p.count.Load()
		if !lab.Eventually(func() bool { return p.count.Load() >= before+4 }) {
			c.t.Fatalf("traffic has stopped: after %d exchanges there were only %d more\nclient %s\nserver %s",
				before, p.count.Load()-before, told(p.client), told(p.server))
		}
		worst = max(worst, time.Duration(p.worst.Swap(0)))
	}
	return worst
}

// told describes what an end of a connection did last, and what the kernel knows
// about it.
func told(a *lab.App) string {
	calls := a.Calls()
	i, err := a.Info()
	return fmt.Sprintf("%v, %+v %v", calls[max(0, len(calls)-4):], i, err)
}

// recovers checks that every connection continues after the watchdog has
// fired, and logs how long that took: the timer's time, and the rest of TCP's
// retransmission timeout, which doubles each time.
func (c *chatter) recovers() {
	c.t.Helper()
	c.t.Logf("the longest exchange took %v", c.progress())
}

// stop ends the exchanges.
func (c *chatter) stop() {
	c.over.Store(true)
	c.wg.Wait()
}

// losses counts the retransmissions of all connections, at both ends, except
// those that the peer reported as duplicates: on a busy machine a segment may be
// in flight for longer than the sender's timeout.
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
