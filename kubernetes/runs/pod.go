package runs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment/control"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/faultctl/faultctl/kubernetes/cluster"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pod is what became of the run in a pod.
type Pod struct {
	Name   string
	Ready  bool           // the faults were in force
	Totals []event.Totals // of each fault; nil: nobody could tell
	Seen   Seen           // what its events told
	End    string         // how it ended, if not as the others did
	Image  string         // of the node's faultctl: its version
}

// Seen counts the events of a pod by what they told.
type Seen struct{ Chosen, Fired uint64 }

// podRun is the run in a pod.
type podRun struct {
	r        *Runs
	name     string
	uid      types.UID
	changed  chan struct{} // the pod has changed
	retarget chan struct{} // the addresses of services have changed
	again    chan struct{} // the lease ran out: the run is to begin again
	over     chan struct{} // closed when the pod is gone
	endOnce  sync.Once

	spec json.RawMessage // as it was asked for last; nil: never
	left *time.Duration  // of its duration, when it was asked for first

	mu      sync.Mutex
	pod     *corev1.Pod
	told    string        // the ID of its last event
	done    chan struct{} // closed when the run has ended in the pod
	stopped bool          // by somebody
	expired bool          // its lease ran out
	ends    int           // events that told of its end
	renewed time.Time
	result_ Pod
}

func newPodRun(r *Runs, pod *corev1.Pod) *podRun {
	return &podRun{r: r, name: pod.Name, uid: pod.UID, pod: pod, changed: make(chan struct{}, 1), retarget: make(chan struct{}, 1),
		again: make(chan struct{}, 1), over: make(chan struct{}), done: make(chan struct{}), result_: Pod{Name: pod.Name}}
}

// update gets the pod as it is now.
func (p *podRun) update(pod *corev1.Pod) {
	p.mu.Lock()
	p.pod = pod
	p.mu.Unlock()
	notify(p.changed)
}

// notify has whoever waits for c look again.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// end says that the pod is gone.
func (p *podRun) end(why string) {
	p.endOnce.Do(func() {
		p.mu.Lock()
		p.result_.End = why
		p.mu.Unlock()
		close(p.over)
	})
}

func (p *podRun) result() Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	res := p.result_
	res.Totals = slices.Clone(res.Totals)
	return res
}

func (p *podRun) wasStopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped
}

func (p *podRun) current() *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pod
}

// isOver reports whether the pod is gone.
func (p *podRun) isOver() bool {
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}

// run strikes the pod until ctx is done, the pod is gone, or the run has ended there.
// The error is why the pod could not be struck at all.
func (p *podRun) run(ctx context.Context) error {
	live, cancel := context.WithCancel(ctx) // until the pod is gone
	defer cancel()
	go func() {
		select {
		case <-p.over:
			cancel()
		case <-live.Done():
		}
	}()
	backoff := 200 * time.Millisecond
	for {
		container, err := p.container(live)
		if err == nil {
			err = p.session(live, container)
		}
		switch {
		case p.isOver():
			p.r.Says(p.name, p.result().End)
			return nil
		case err == nil:
			return nil
		case ctx.Err() != nil:
			p.leave(container)
			return nil
		case !p.result().Ready:
			var known *event.Error
			if errors.As(err, &known) {
				p.mu.Lock()
				p.result_.End = known.Render(nil)
				p.mu.Unlock()
				p.r.Says(p.name, known.Render(nil))
				return known
			}
		}
		p.r.Says(p.name, fmt.Sprintf("not reached: %v; its faults last until %s at the latest, unless it is reached before", err, p.leaseEnd().Format("15:04:05")))
		select {
		case <-time.After(backoff):
			backoff = min(2*backoff, 5*time.Second)
		case <-live.Done():
		}
	}
}

func (p *podRun) leaseEnd() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.renewed.Add(p.r.Lease)
}

// leave ends the run in a pod which is not connected when all is over.
func (p *podRun) leave(container string) {
	if container == "" || p.spec == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	c, err := dial(ctx, p.r.Cluster, p.name, container)
	if err == nil {
		err = c.StopRun(ctx, p.r.Name)
	}
	if err != nil && !errors.Is(err, control.ErrNoRun) {
		p.r.Says(p.name, fmt.Sprintf("not reached: %v; its faults last until %s at the latest", err, p.leaseEnd().Format("15:04:05")))
	}
}

// container is the name of the container in the pod, which runs: the one that is
// there, or another that is added.
func (p *podRun) container(ctx context.Context) (string, error) {
	k := p.r.Container
	limit := time.NewTimer(p.r.Limit)
	defer limit.Stop()
	added := ""
	for {
		pod := p.current()
		name, running, problem := k.In(pod)
		switch {
		case running:
			return name, nil
		case problem != nil:
			return name, problem
		case name == "" && added != "" && cluster.Ended(pod, added) != "":
			return "", event.Failuref("", "pod %s: faultctl ended at once: %s", p.name, cluster.Ended(pod, added))
		case name == "" && added == "":
			if e := p.r.Cluster.Refuse(ctx, pod); e != nil {
				return "", e
			}
			var err error
			if added, err = p.r.Cluster.Add(ctx, pod, k, false); err != nil {
				return "", err
			}
		}
		select {
		case <-p.changed:
		case <-limit.C:
			return "", event.Failuref("", "pod %s: the container %s did not begin within %s", p.name, added, words.ShortDuration(p.r.Limit)).
				WithAdvice("kubectl describe pod " + p.name + " says what it waits for.")
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// The times of a session.
const (
	askTime  = 10 * time.Second // for an answer
	stopTime = 10 * time.Second // for the end of a run
)

// session strikes the pod over one connection. It returns nil if the run has ended in
// the pod, and otherwise why the connection is over. When ctx is done it ends the run.
func (p *podRun) session(ctx context.Context, container string) error {
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the connection outlives ctx, to end the run
	defer cancel()
	c, err := dial(alive, p.r.Cluster, p.name, container)
	if err != nil {
		return err
	}
	if err := p.put(alive, c); err != nil {
		return err
	}
	lost := make(chan error, 1)
	go func() { lost <- c.Events(alive, p.after(), p.line) }()
	renew := time.NewTicker(p.r.Lease / 4)
	defer renew.Stop()
	for {
		select {
		case <-p.done:
			return nil
		case err := <-lost:
			return err
		case <-p.retarget:
			if err := p.put(alive, c); err != nil {
				return err
			}
		case <-p.again:
			p.r.Says(p.name, "the lease ran out meanwhile, and nothing was struck: the run begins again")
			p.left = p.r.timeLeft()
			if err := p.put(alive, c); err != nil {
				return err
			}
		case <-renew.C:
			if err := p.renew(alive, c); err != nil && !errors.Is(err, control.ErrNoRun) {
				return err
			}
		case <-ctx.Done():
			if p.isOver() {
				return nil
			}
			return p.stop(alive, c, lost)
		}
	}
}

// dial connects to faultctl in a pod until ctx is done.
func dial(ctx context.Context, c *cluster.Cluster, pod, container string) (*control.Client, error) {
	conn, err := c.Dial(ctx, pod, container)
	if err != nil {
		return nil, err
	}
	client, err := control.NewClientOver(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	return client, nil
}

// put has the pod do what is asked for now.
func (p *podRun) put(ctx context.Context, c *control.Client) error {
	if p.spec == nil || errors.Is(p.renew(ctx, c), control.ErrNoRun) {
		p.left = p.r.timeLeft()
	}
	spec := p.r.specFor(p.name, p.left)
	var words map[string]any
	if err := json.Unmarshal(spec, &words); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if _, err := c.Put(ctx, p.r.Name, words, p.r.Lease); err != nil {
		return err
	}
	if p.spec != nil && !bytes.Equal(spec, p.spec) {
		p.r.Says(p.name, "the addresses of a service have changed: the faults follow them")
	}
	p.spec = spec
	p.mu.Lock()
	p.renewed, p.result_.Ready = time.Now(), true
	p.mu.Unlock()
	p.r.isReady()
	return nil
}

// renew renews the lease. If the run is over, its last events say so.
func (p *podRun) renew(ctx context.Context, c *control.Client) error {
	short, cancel := context.WithTimeout(ctx, min(askTime, p.r.Lease/4))
	defer cancel()
	if err := c.Renew(short, p.r.Name); err != nil {
		return err
	}
	p.mu.Lock()
	p.renewed = time.Now()
	p.mu.Unlock()
	return nil
}

// stop ends the run, and waits until its last events have come.
func (p *podRun) stop(ctx context.Context, c *control.Client, lost <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	if err := c.StopRun(ctx, p.r.Name); err != nil && !errors.Is(err, control.ErrNoRun) {
		return err
	}
	select {
	case <-p.done:
	case <-lost:
	case <-ctx.Done():
	}
	return nil
}

func (p *podRun) after() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.told
}

// line gets an event of the process in the pod.
func (p *podRun) line(l control.Line) {
	var of struct {
		Experiment string `json:"experiment"`
	}
	e, err := event.Decode(l.Text)
	if err != nil || json.Unmarshal(l.Text, &of) != nil || of.Experiment != p.r.Name {
		return
	}
	p.mu.Lock()
	p.told = l.ID
	ended := false
	switch e := e.(type) {
	case event.Flow:
		p.result_.Seen.Chosen++
	case event.Fired:
		p.result_.Seen.Fired++
	case event.Started:
		p.result_.Image = e.Version
	case event.Stopped:
		p.stopped, p.expired = e.By != nil, e.By == nil
	case event.Ended:
		p.result_.Totals = append(p.result_.Totals, e.Totals)
		if p.ends++; p.ends == len(p.r.Spec.Faults) {
			ended, p.ends = !p.expired, 0
			if p.expired { // it was not to end
				p.expired = false
				notify(p.again)
			}
		}
	}
	p.mu.Unlock()
	p.r.Line(p.name, l.Text, e)
	if ended {
		close(p.done)
	}
}
