// Package runs carries one run out in many pods: in each the faultctl serve of an
// ephemeral container does it, with a lease that is renewed from here. When this
// process is gone, however that happens, the leases end and with them the faults.
package runs

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/kubernetes/cluster"
	corev1 "k8s.io/api/core/v1"
)

// Config is a run in the pods of a selection.
type Config struct {
	Cluster   *cluster.Cluster
	Selection *cluster.Selection
	Container cluster.Container

	Name     string             // of the run in each pod; nobody else may use it
	Spec     experiment.Spec    // what is done in each pod; its Duration counts from the first pod on
	Seed     uint64             // each pod has one of its own, derived from it and from the pod's name
	Services []*cluster.Service // their addresses are followed, and added to the Spec's target
	Lease    time.Duration      // how long the faults last after this process is gone
	Limit    time.Duration      // how long the container of a pod may take to begin
	Share    Share              // which of the pods are struck

	// Line gets each event of the run in a pod: the JSON object as it came, and decoded.
	Line func(pod string, text []byte, e event.Event)

	// Says gets what becomes of a pod, in words.
	Says func(pod, text string)
}

// Runs are the runs in the pods, while they go on. Any goroutine may use its methods.
type Runs struct {
	Config
	began time.Time

	mu     sync.Mutex
	pods   map[string]*podRun // those that are struck, by name
	known  map[string]*corev1.Pod
	all    []*podRun // those that ever were
	tried  int
	failed error // why the first pod that could not be struck was not
	idle   chan struct{}
	ready  chan struct{} // closed when the first run is ready
	once   sync.Once
	left   sync.WaitGroup
}

// ErrStopped is why runs are over that somebody else has stopped in every pod.
var ErrStopped = errors.New("the run was stopped from elsewhere")

// Start strikes the pods that there are, and those that come later, until ctx is
// done. Wait waits for the end.
func Start(ctx context.Context, cfg Config) *Runs {
	r := &Runs{Config: cfg, pods: map[string]*podRun{}, known: map[string]*corev1.Pod{}, idle: make(chan struct{}, 1), ready: make(chan struct{})}
	for _, s := range cfg.Services {
		r.left.Go(func() { s.Follow(ctx, cfg.Cluster, r.retarget) })
	}
	r.left.Go(func() {
		r.Cluster.Follow(ctx, r.Selection, func(pod *corev1.Pod) { r.changed(ctx, pod) }, r.gone, func(err error) {
			if ctx.Err() == nil {
				r.Says("", "the API server does not tell of pods that change: "+err.Error())
			}
		})
	})
	return r
}

// Ready is closed when the faults are in force in the first pod.
func (r *Runs) Ready() <-chan struct{} { return r.ready }

// Wait returns when ctx, which Start was given, is done and the faults are out again
// in all pods that can be reached; or when there is no pod left in which the run
// could go on, and none can come.
func (r *Runs) Wait(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			r.left.Wait()
			return nil
		case <-r.idle:
			r.mu.Lock()
			over, failed := len(r.pods) == 0 && r.tried > 0, r.failed
			stopped := over && !slices.ContainsFunc(r.all, func(p *podRun) bool { return !p.wasStopped() })
			r.mu.Unlock()
			switch {
			case stopped:
				return ErrStopped
			case over && failed != nil:
				return failed
			case over && !r.Selection.Follows():
				return nil
			}
		}
	}
}

// changed gets a pod as it is now.
func (r *Runs) changed(ctx context.Context, pod *corev1.Pod) {
	if cluster.Over(pod) {
		r.gone(pod)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[pod.Name] = pod
	if p := r.pods[pod.Name]; p != nil && p.uid == pod.UID {
		p.update(pod)
	}
	if pod.Status.Phase == corev1.PodRunning {
		r.choose(ctx)
	}
}

// choose begins with those pods that are to be struck and are not yet; the caller
// holds mu. A pod that is struck stays so.
func (r *Runs) choose(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	var names []string
	for name, pod := range r.known {
		if pod.Status.Phase == corev1.PodRunning {
			names = append(names, name)
		}
	}
	for _, name := range r.Share.pick(r.Seed, names, func(name string) bool { return r.pods[name] != nil }) {
		pod := r.known[name]
		if slices.ContainsFunc(r.all, func(p *podRun) bool { return p.uid == pod.UID }) {
			continue // it was tried
		}
		p := newPodRun(r, pod)
		r.pods[name], r.all, r.tried = p, append(r.all, p), r.tried+1
		r.left.Go(func() {
			err := p.run(ctx)
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.pods[name] == p {
				delete(r.pods, name)
			}
			if err != nil && r.failed == nil {
				r.failed = err
			}
			notify(r.idle)
		})
	}
}

// gone gets a pod that is over.
func (r *Runs) gone(pod *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.known[pod.Name]; known != nil && known.UID == pod.UID {
		delete(r.known, pod.Name)
	}
	if p := r.pods[pod.Name]; p != nil && p.uid == pod.UID {
		p.end("the pod is gone")
	}
}

// retarget has every pod strike the addresses that the services have now.
func (r *Runs) retarget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pods {
		notify(p.retarget)
	}
}

// specFor is the run in a pod as data.
func (r *Runs) specFor(pod string, left *time.Duration) json.RawMessage {
	s := r.Spec.Clone()
	for _, svc := range r.Services {
		s.Target.To = append(s.Target.To, svc.Addresses()...)
	}
	seed := SeedOf(r.Seed, pod)
	s.Seed, s.Duration = &seed, left
	return s.Data()
}

// timeLeft is how much of the run's duration is left; nil if it has none.
func (r *Runs) timeLeft() *time.Duration {
	if r.Spec.Duration == nil || *r.Spec.Duration == 0 {
		return r.Spec.Duration
	}
	left := *r.Spec.Duration
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.began.IsZero() {
		left = max(time.Millisecond, left-time.Since(r.began))
	}
	return &left
}

// isReady notes that the faults are in force in a pod.
func (r *Runs) isReady() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.once.Do(func() { r.began = time.Now(); close(r.ready) })
}

// Struck are the pods that were struck, in the order in which they came: their names,
// and what became of the run in each.
func (r *Runs) Struck() (all []Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.all {
		all = append(all, p.result())
	}
	slices.SortStableFunc(all, func(a, b Pod) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// SeedOf is the seed of a pod: with the same one in all, the same ordinals of their
// connections would be chosen.
func SeedOf(seed uint64, pod string) uint64 {
	h := fnv.New64a()
	for i := range 8 {
		h.Write([]byte{byte(seed >> (8 * i))})
	}
	h.Write([]byte(pod))
	return h.Sum64() >> 11 // what any reader of JSON takes as a whole number
}

// SpecFor is the run as it would be put into a pod now, as data.
func (c Config) SpecFor(pod string) json.RawMessage {
	return (&Runs{Config: c}).specFor(pod, c.Spec.Duration)
}
