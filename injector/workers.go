package injector

import (
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/faultctl/faultctl/injector/internal/outcomes"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/injector/internal/tracepoint"
	"github.com/faultctl/faultctl/injector/internal/watchdog"
)

// workers are the workers of a run, one per queue, and the goroutines that deliver what
// they report.
type workers struct {
	all       []*worker
	working   sync.WaitGroup
	listening sync.WaitGroup
	silent    chan struct{} // closed when nothing will be reported any more
	dog       *watchdog.Watchdog
	report    []func() // deliver what the workers report, until silent is closed

	mu   sync.Mutex
	err  error         // the errors with which workers ended
	gone chan struct{} // closed when the first worker has ended
}

// startWorkers starts a worker for each queue, each on a thread of its own.
func (i *Injector) startWorkers(k *kernelSide) (*workers, error) {
	c := &workers{silent: make(chan struct{}), gone: make(chan struct{})}
	var err error
	if c.dog, err = watchdog.New(i.cfg.Watchdog, len(k.queues)); err != nil {
		return nil, err
	}
	start := time.Now()
	i.clock = func() time.Duration { return time.Since(start) }
	var events []ring[Event]
	var packets []ring[Packet]
	eventBell, packetBell := make(chan struct{}, 1), make(chan struct{}, 1)
	for n, q := range k.queues {
		w := newWorker(i.shared, q, k.senders[n], &tableSets{write: k.nft, read: k.ask, rules: i.rules}, c.dog.Handle())
		w.share(len(k.queues))
		if k.diag != nil {
			w.watcher.Kernel = outcomes.RealKernel(k.diag, k.ask)
		}
		if !i.bySet {
			w.watcher.Mark = outcomes.Mark
		}
		w.gsoQueue = q.GSONumber() != 0
		if k.at.translates() {
			w.names = k.ask
		}
		if i.cfg.OnEvent != nil {
			w.report = newReporter(eventBell, &i.totals.lost)
			events = append(events, w.report)
		}
		if i.cfg.OnPacket != nil {
			w.tap = newTap(start, packetBell, &i.totals.unseen)
			packets = append(packets, w.tap)
		}
		c.all = append(c.all, w)
	}
	if events != nil {
		c.report = append(c.report, func() { deliver(events, eventBell, c.silent, minDeliveryGap, i.cfg.OnEvent) })
	}
	if packets != nil {
		c.report = append(c.report, func() { deliver(packets, packetBell, c.silent, 0, i.cfg.OnPacket) })
	}
	c.all[0].tell(record{kind: Ready})
	var once sync.Once
	for _, w := range c.all {
		c.working.Go(func() {
			runtime.LockOSThread()
			undo, err := useBatchScheduling()
			if err != nil {
				i.cfg.Logger.Debug("workers may preempt the programs whose packets they judge", "error", err)
			}
			defer func() {
				if undo() == nil { // otherwise the thread ends with this goroutine
					runtime.UnlockOSThread()
				}
			}()
			defer once.Do(func() { close(c.gone) })
			if err := w.run(); err != nil {
				c.mu.Lock()
				c.err = errors.Join(c.err, err)
				c.mu.Unlock()
			}
		})
	}
	return c, nil
}

// tell tells what the workers report from now on, and what they have reported so far:
// that the run is ready comes first.
func (c *workers) tell() {
	for _, f := range c.report {
		c.listening.Go(f)
	}
	c.report = nil
}

// settle waits until all verdicts that the workers have given so far are sent, or the
// workers have ended.
func (c *workers) settle() {
	c.each(func(*worker) {})
}

// stop makes the workers empty their queues, waits for them, and returns the errors
// with which they ended.
func (c *workers) stop() error {
	for _, w := range c.all {
		w.stop()
	}
	c.working.Wait()
	c.dog.Stop() // no packet waits for us any more, and OnEvent may take its time
	return c.err
}

// close waits until everything that was reported is delivered. The workers have ended.
func (c *workers) close() {
	close(c.silent)
	c.tell() // if it did not come to that
	c.listening.Wait()
}

// listen tells the workers what the kernel's tracepoints tell, if a command is judged,
// the kernel has them, and this process may read them.
func (c *workers) listen(judged bool, log *slog.Logger) *outcomes.Listener {
	if !judged {
		return nil
	}
	l, err := outcomes.Listen(func(ev tracepoint.Event) {
		for _, w := range c.all {
			w.post(func() { w.watcher.Traced(ev) })
		}
	})
	if err != nil {
		log.Debug("tracepoints cannot be read: whether a call returned an error is not known", "error", err)
	}
	return l
}

// forgotten removes a flow that the worker no longer knows from the one kernel set
// whose elements do not expire.
func (w *worker) forgotten(e *entry) {
	w.finish(e, w.clock())
	if e.captured && !e.superseded {
		w.change(e, ruleset.Forget, func() {})
	}
}

// each has every worker run f, one after the other, and waits for that, or until the
// workers have ended.
func (c *workers) each(f func(*worker)) {
	for _, w := range c.all {
		w.ask(c.gone, func() { f(w) })
	}
}

// drain has all workers release the packets that they hold, and waits until they
// have done so or have ended. It gives up after a while, because incoming packets
// can keep a worker from finishing.
func (c *workers) drain() {
	late := time.After(2 * drainWithin)
	done := make([]chan struct{}, len(c.all))
	for i, w := range c.all { // all at once, then wait
		done[i] = make(chan struct{})
		w.post(func() { w.drain(w.clock(), done[i]) })
	}
	for _, done := range done {
		select {
		case <-done:
		case <-c.gone:
		case <-late:
			return
		}
	}
}
