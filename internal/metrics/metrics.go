// Package metrics serves the counters of runs to Prometheus.
package metrics

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/faultctl/faultctl/injector"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Server answers scrapes until it is closed. It serves the counters of one run at
// a time; they start again from zero with the next run, as after a restart.
type Server struct {
	listener net.Listener
	http     http.Server
	served   sync.WaitGroup

	mu    sync.Mutex
	stats func() injector.Snapshot // nil: there has been no run yet
}

// Serve answers scrapes of /metrics that arrive at l, which Close closes. version
// is that of the program.
func Serve(l net.Listener, version string) *Server {
	s := &Server{listener: l}
	reg := registry(version)
	reg.MustRegister(counters(s.current))
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	s.http = http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	s.served.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			l.Close()
		}
	})
	return s
}

// registry has what is told of the program itself.
func registry(version string) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "faultctl_build_info", Help: "Always 1; the version is in the label.", ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 }))
	return reg
}

// Handler answers scrapes with the counters of several runs at a time, each with its
// name as the label experiment. version is that of the program. runs is called at each
// scrape, perhaps by several goroutines at once.
func Handler(version string, runs func() map[string]injector.Snapshot) http.Handler {
	program := registry(version)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all := prometheus.Gatherers{program}
		for name, now := range runs() {
			reg := prometheus.NewRegistry()
			prometheus.WrapRegistererWith(prometheus.Labels{"experiment": name}, reg).MustRegister(counters(func() (injector.Snapshot, bool) { return now, true }))
			all = append(all, reg)
		}
		promhttp.HandlerFor(all, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	})
}

// Addr is the address that it listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Watch makes the server serve the counters of another run. stats must remain
// callable after the run.
func (s *Server) Watch(stats func() injector.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats = stats
}

// current are the counters of the run, if there has been one.
func (s *Server) current() (now injector.Snapshot, ok bool) {
	s.mu.Lock()
	stats := s.stats
	s.mu.Unlock()
	if stats == nil {
		return now, false
	}
	return stats(), true
}

// Close stops the server, including scrapes in progress.
func (s *Server) Close() error {
	err := s.http.Close()
	s.served.Wait()
	return err
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("faultctl_"+name, help, labels, nil)
}

// The metrics. Label rule is the rule's number from 0. Label place is the fault's
// number from 0 within its rule, because a rule may have the same fault twice.
var (
	matched  = desc("connections_matched_total", "Connections that matched a rule.", "rule")
	chosen   = desc("connections_chosen_total", "Connections that a rule chose.", "rule")
	fired    = desc("connections_fired_total", "Connections on which a fault acted.", "rule", "place", "fault")
	struck   = desc("connections_struck_total", "Connections that were open when a fault acted on them. This and the following are known when a run has ended; docs/VERDICTS.md has the words.", "rule", "place", "fault")
	notSent  = desc("connections_unsent_total", "Struck connections on which what was done did not leave this host.", "rule", "place", "fault")
	ignored  = desc("connections_unaccepted_total", "Struck connections on which the receiving TCP took no notice.", "rule", "place", "fault")
	unfelt   = desc("connections_unfelt_total", "Struck connections on which the application had nothing at stake.", "rule", "place", "fault")
	felt     = desc("connections_felt_total", "Struck connections on which it was sent, accepted and felt.", "rule", "place", "fault")
	unknown  = desc("connections_unknown_total", "Struck connections of which a step is not known.", "rule", "place", "fault")
	closed   = desc("connections_closed_before_total", "Connections that were closed already when a fault acted.", "rule", "place", "fault")
	noAnswer = desc("answers_lost_total", "Requests that reached the service completely and whose answer was lost.", "rule", "place", "fault")
	again    = desc("requests_sent_again_total", "Requests whose answer was lost and whose bytes came again.", "rule", "place", "fault")
	acted    = desc("fault_actions_total", "Times that a fault acted.", "rule", "place", "fault")
	asked    = desc("fault_packets_total", "Packets that a fault judged.", "rule", "place", "fault")
	dropped  = desc("packets_dropped_total", "Packets that a fault dropped.", "rule", "place", "fault")
	forged   = desc("packets_forged_total", "Packets that a fault forged.", "rule", "place", "fault")
	diverted = desc("packets_diverted_total", "Packets that entered user space.")
	foreign  = desc("packets_foreign_total", "Diverted packets that were not complete TCP segments, and were accepted.")
	overruns = desc("queue_overruns_total", "Packets that the kernel accepted because the queue was full. Known when a run has ended.")
	setFull  = desc("set_full_total", "Packets of connections that did not fit into the kernel's full set of idle flows. Known when a run has ended.")
	captFull = desc("captured_set_full_total", "Packets of connections that a fault needed to see completely and that did not fit into the kernel's full set of captured flows. Known when a run has ended.")
	relFull  = desc("released_set_full_total", "Packets of connections that no fault needed any more and that did not fit into the kernel's full set of released flows. Known when a run has ended.")
	ownFull  = desc("owned_set_full_total", "New connections of the target's processes that did not fit into the kernel's full set of owned flows and were never judged. Known when a run has ended.")
	cut      = desc("packets_cut_total", "Packets that a fault left unchanged because they were longer than 65531 bytes, which the queue truncates.")
	forgot   = desc("connections_forgotten_total", "Connections that were forgotten before they had been quiet for two hours, because there were too many.")
	early    = desc("outcomes_settled_early_total", "Outcomes that were settled before all was known, because too many connections were struck at once.")
	unsent   = desc("packets_unsent_total", "Forged or held packets that the kernel ignored to send.")
	lost     = desc("events_lost_total", "Events that were lost because they came too fast.")
	unseen   = desc("capture_packets_lost_total", "Packets that are missing in the capture because they came too fast.")
	verdict  = desc("verdict_latency_seconds", "How late verdicts were: the time from when a packet came in to its verdict; of a packet that a fault held, beyond the time that the fault wanted.")
	latest   = desc("verdict_latency_max_seconds", "The latest verdict.")
	shed     = desc("packets_shed_total", "Packets that passed without being judged because faultctl did not keep up.")
	signed   = desc("connections_signed_total", "Connections that were left alone because their segments are signed (TCP-MD5 or TCP-AO).")

	all = []*prometheus.Desc{matched, chosen, fired, struck, notSent, ignored, unfelt, felt, unknown, closed, noAnswer, again, acted, asked, dropped, forged, diverted, foreign, overruns, setFull, captFull, relFull, ownFull, cut, forgot, early, unsent, lost, unseen, verdict, latest, shed, signed}
)

// counters are those of a run, as Prometheus collects them; false: there is none.
type counters func() (now injector.Snapshot, ok bool)

// Describe implements prometheus.Collector.
func (counters) Describe(to chan<- *prometheus.Desc) {
	for _, d := range all {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c counters) Collect(to chan<- prometheus.Metric) {
	snap, ok := c()
	if !ok {
		return
	}
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for n, r := range snap.Rules {
		rule := strconv.Itoa(n)
		count(matched, r.Flows, rule)
		count(chosen, r.Chosen, rule)
		for place, f := range r.Faults {
			labels := []string{rule, strconv.Itoa(place), f.Name}
			count(fired, f.Fired, labels...)
			s := &f.Settled
			count(struck, s.Struck, labels...)
			count(notSent, s.Unsent, labels...)
			count(ignored, s.Unaccepted, labels...)
			count(unfelt, s.Unfelt, labels...)
			count(felt, s.Felt, labels...)
			count(unknown, s.Unknown, labels...)
			count(closed, s.ClosedBefore, labels...)
			count(noAnswer, s.AnswersLost, labels...)
			count(again, s.SentAgain, labels...)
			count(acted, f.Acted, labels...)
			count(asked, f.Diverted, labels...)
			count(dropped, f.Dropped, labels...)
			count(forged, f.Forged, labels...)
		}
	}
	count(diverted, snap.Diverted)
	count(foreign, snap.Foreign)
	count(overruns, snap.Overruns)
	count(setFull, snap.SetFull)
	count(captFull, snap.CaptureFull)
	count(relFull, snap.ReleaseFull)
	count(ownFull, snap.OwnerFull)
	count(cut, snap.Cut)
	count(forgot, snap.Forgotten)
	count(early, snap.SettledEarly)
	count(unsent, snap.Unsent)
	count(shed, snap.Shed)
	count(signed, snap.Signed)
	count(lost, snap.Lost)
	count(unseen, snap.Unseen)
	to <- histogram(snap.Latency)
	to <- prometheus.MustNewConstMetric(latest, prometheus.GaugeValue, snap.Latency.Max.Seconds())
}

// histogram counts cumulatively, as Prometheus does.
func histogram(h injector.Histogram) prometheus.Metric {
	buckets, n := map[float64]uint64{}, uint64(0)
	for i, c := range h.Counts {
		n += c
		if i < len(h.Bounds) {
			buckets[h.Bounds[i].Seconds()] = n
		}
	}
	return prometheus.MustNewConstHistogram(verdict, n, h.Sum.Seconds(), buckets)
}
