package injector

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/faultctl/faultctl/injector/internal/exitwatch"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/nft"
	"github.com/faultctl/faultctl/injector/internal/outcomes"
	"github.com/faultctl/faultctl/injector/internal/rawsock"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/injector/internal/sign"
	"github.com/faultctl/faultctl/injector/internal/sockdiag"
)

// An Injector is a run.
type Injector struct {
	*shared
	cfg     Config
	queue   atomic.Uint32 // the number of the queue, once it is bound
	setRoom uint32        // for tests: how many flows each of the kernel's sets has room for; 0: as usual

	stop func()        // ends the run
	done chan struct{} // closed when it has ended
	err  error         // what it ended with, valid from then on

	mu     sync.Mutex  // guards cfg.Rules, and what follows
	kernel *kernelSide // while the rules are installed
	team   *workers    // likewise
	paused bool
}

// newInjector checks cfg and prepares a run. It touches nothing outside the process.
// The error is an ErrConfig.
func newInjector(cfg Config) (*Injector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Watchdog == 0 {
		cfg.Watchdog = defaultWatchdog
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Rules = slices.Clone(cfg.Rules)
	i := &Injector{cfg: cfg, shared: newShared(cfg.Rules, cfg.Seed, cfg.Logger), paused: cfg.Paused}
	if cfg.Judge {
		i.judge()
	}
	return i, nil
}

// Stats returns the counters as they are now. Any goroutine may call it, during the run
// and afterwards.
func (i *Injector) Stats() Snapshot { return i.shared.snapshot() }

// Ruleset returns the current rules in nft syntax; while the run is paused, the rules
// that Resume will install. Any goroutine may call it.
func (i *Injector) Ruleset() string {
	n := uint16(i.queue.Load())
	if n == 0 {
		n = max(i.cfg.Queue, nfqueue.First)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	at := place{table: nft.FirstName(), queue: n}
	at.level, _ = levelOf(n)
	at.tag, _ = sign.TagOf(i.cfg.NetNS)
	if i.kernel != nil {
		at.level, at.nat, at.local = i.kernel.at.level, i.kernel.at.nat, i.kernel.at.local
	} else if err := at.findNAT(i.cfg.NetNS); err != nil {
		i.cfg.Logger.Debug("cannot find out whether this host translates connections", "error", err)
	}
	if i.copies().SeparateGSO {
		at.gso = nfqueue.FirstGSO
	}
	return i.cfg.compile(&at, i.rules).With(exitwatch.Text(outcomes.Signs(at.tag)...))
}

// copies returns how the queue hands packets over. A GSO packet that is not segmented
// gets one verdict with everything that its segments have to tell the sets, so verdicts
// must be able to change sets.
func (i *Injector) copies() nfqueue.Copying {
	how := i.cfg.copies()
	how.SeparateGSO = how.SeparateGSO && !i.bySet && nft.VerdictPriority()
	return how
}

// run carries out a run from beginning to end, see Start. It calls begun when the rules
// are installed.
func (i *Injector) run(ctx context.Context, begun func()) (err error) {
	i.mu.Lock() // a change of the rules waits until they are installed
	kernel, err := i.open()
	i.mu.Unlock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kernel.close()) }()

	c, err := i.startWorkers(kernel)
	if err != nil {
		return err
	}
	defer c.close()
	told := c.listen(i.judges, i.cfg.Logger)
	rules := kernel.rules
	c.listening.Go(func() { // after the rules are installed, because it takes the kernel some milliseconds
		if err := kernel.nft.TuneSets(rules); err != nil {
			i.cfg.Logger.Warn("the kernel searches the sets for expired flows every second, which costs processor time", "error", err)
		}
	})
	i.changeable(kernel, c)
	c.tell() // ready: nothing more is opened from here on
	drawing := i.drawAgain()
	begun()
	select {
	case <-c.gone: // a queue failed
	case <-ctx.Done():
	}
	drawing()
	i.changeable(nil, nil)
	c.drain()
	if err := told.Close(); err != nil {
		i.cfg.Logger.Warn("tracepoints not closed", "error", err)
	}
	if err := kernel.put(kernel.rules.Disarmed()); err != nil {
		i.cfg.Logger.Warn("rules not emptied before the run ended", "error", err)
	}
	err = c.stop()
	i.count(kernel)
	err = errors.Join(err, kernel.nft.Remove())
	i.warnOfNAT(kernel)
	return err
}

// count reads what only the counters of the rules know. A queue that fails open counts
// nothing itself.
func (i *Injector) count(k *kernelSide) {
	queued, full, err := k.nft.Counts(k.rules)
	if err != nil {
		i.cfg.Logger.Warn("counters not read", "error", err)
		return
	}
	if seen := i.totals.diverted.Load() - uint64(i.totals.segments.Load()); queued > seen {
		i.totals.overruns.Store(queued - seen)
	}
	for set, n := range full {
		i.totals.noRoom(set, n)
	}
}

// kernelSide is everything that a run keeps open in the kernel.
type kernelSide struct {
	can     nft.Capabilities
	nft     *nft.Table        // owns the table
	ask     *nft.Table        // reads sets beside it
	at      place             // the run's place among those in the namespace
	diag    *sockdiag.Conn    // asks for local sockets; nil: this kernel cannot tell
	queues  []*nfqueue.Queue  // one per worker
	holder  []*nfqueue.Queue  // its number stands for the level, if the numbers of queues do not
	senders []*rawsock.Sender // one per worker
	rules   *ruleset.Ruleset  // the rules that are installed
	hadNAT  [2]bool           // in which families the namespace translated when the run began
	how     nfqueue.Copying   // how the queues hand packets over
}

// put replaces the installed rules by rs.
func (k *kernelSide) put(rs *ruleset.Ruleset) error {
	if err := k.nft.Update(k.rules, rs); err != nil {
		return err
	}
	k.rules = rs
	k.ask.Reads(k.nft)
	return nil
}

// open acquires everything and installs the rules, in an order in which no packet is
// ever diverted without a reader: the queue first, then the rules.
func (i *Injector) open() (k *kernelSide, err error) {
	k = &kernelSide{}
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	if err = i.cfg.probeOwners(); err != nil {
		return k, err
	}
	if k.ask, err = nft.Open(i.cfg.NetNS); err != nil {
		return k, err
	}
	if k.diag, err = sockdiag.Open(i.cfg.NetNS); err != nil {
		i.cfg.Logger.Warn("the kernel cannot be asked for local sockets", "error", err)
		k.diag, err = nil, nil
	}
	k.how = i.copies()
	if err = k.bind(&i.cfg); err != nil {
		return k, err
	}
	for range k.queues {
		s, err := rawsock.Open(i.cfg.NetNS, k.at.tag.Of(k.at.level))
		if err != nil {
			return k, err
		}
		k.senders = append(k.senders, s)
	}
	i.queue.Store(uint32(k.at.queue))
	i.cfg.Logger.Info("queues bound", "first", k.at.queue, "number", len(k.queues), "length", nfqueue.Length, "buffer", k.queues[0].Buffer(), "level", k.at.level)
	k.at.table = nft.NextName()
	if err = k.at.findNAT(i.cfg.NetNS); err != nil {
		i.cfg.Logger.Warn("cannot find out whether this host translates connections", "error", err)
	}
	k.hadNAT = k.at.nat
	k.rules = i.kernelRules(&k.at)
	leaving := outcomes.Signs(k.at.tag)
	if k.nft, k.can, err = nft.Install(i.cfg.NetNS, k.rules, leaving...); err != nil && k.at.translates() {
		i.cfg.Logger.Warn("the rules for translated connections were refused; the run continues without them", "error", err)
		k.at.nat = [2]bool{}
		k.rules = i.kernelRules(&k.at)
		k.nft, k.can, err = nft.Install(i.cfg.NetNS, k.rules, leaving...)
	}
	if err != nil {
		return k, err
	}
	i.bySet = i.bySet || !k.can.VerdictPriority
	k.ask.Reads(k.nft)
	return k, nil
}

// kernelRules returns what a run at that place installs when it begins.
func (i *Injector) kernelRules(at *place) *ruleset.Ruleset {
	rs := i.cfg.compile(at, i.rules)
	if i.paused {
		rs = rs.Disarmed()
	}
	for n := range rs.Sets {
		rs.Sets[n].Size = cmp.Or(i.setRoom, rs.Sets[n].Size)
	}
	return rs
}

// bind takes the queues, and with them the run's place among those in the namespace:
// its level is the number of its first queue, which no other run can have. If cfg says
// which queue to use, another queue, which gets no packets, stands for the level.
func (k *kernelSide) bind(cfg *Config) (err error) {
	if k.at.tag, err = sign.TagOf(cfg.NetNS); err != nil {
		return err
	}
	if k.queues, err = openQueues(cfg, cfg.Queue, cfg.queues(), k.how); err != nil {
		return err
	}
	k.at.queue, k.at.gso = k.queues[0].Number(), k.queues[0].GSONumber()
	level, ok := levelOf(k.at.queue)
	if !ok {
		if k.holder, err = openQueues(cfg, 0, 1, nfqueue.Copying{}); err != nil {
			return err
		}
		level, _ = levelOf(k.holder[0].Number())
	}
	k.at.level = level
	return nil
}

func openQueues(cfg *Config, number, n uint16, how nfqueue.Copying) ([]*nfqueue.Queue, error) {
	qs, err := nfqueue.Open(cfg.NetNS, number, n, how)
	if errors.Is(err, ErrPermission) {
		if _, probed := nft.Probe(cfg.NetNS); probed != nil {
			return nil, probed
		}
		return nil, errQueuesTaken // the privileges are there: others have the numbers
	}
	return qs, err
}

// close releases everything: the queues last, except for the connection that owns the
// table.
func (k *kernelSide) close() error {
	var errs []error
	if k.ask != nil {
		errs = append(errs, k.ask.Close())
	}
	if k.diag != nil {
		errs = append(errs, k.diag.Close())
	}
	for _, s := range k.senders {
		errs = append(errs, s.Close())
	}
	for _, q := range slices.Concat(k.queues, k.holder) {
		errs = append(errs, q.Close())
	}
	if k.nft != nil {
		errs = append(errs, k.nft.Close())
	}
	return errors.Join(errs...)
}
