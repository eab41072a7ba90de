package metrics

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"golang.org/x/sys/unix"
)

func scrape(t *testing.T, s *Server) string {
	t.Helper()
	res, err := http.Get("http://" + s.Addr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%v, %s\n%s", err, res.Status, b)
	}
	return string(b)
}

func TestScrape(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(l, "v1")
	defer s.Close()
	if got := scrape(t, s); !strings.Contains(got, `faultctl_build_info{version="v1"} 1`) || strings.Contains(got, "_total") {
		t.Errorf("before a run:\n%s", got)
	}
	s.Watch(func() injector.Snapshot {
		return injector.Snapshot{
			Rules: []injector.RuleStats{{Flows: 5, Chosen: 4, Faults: []injector.FaultStats{
				{Name: "reset", Fired: 3, Acted: 6, Diverted: 9, Dropped: 2, Forged: 7,
					Settled: outcome.Tally{Struck: 15, Unsent: 1, Unaccepted: 2, Unfelt: 3, Felt: 4, Unknown: 5, ClosedBefore: 6, AnswersLost: 8, SentAgain: 7}}, {Name: "reset", Fired: 1},
			}}, {Flows: 1}},
			Diverted: 20, Overruns: 1, Lost: 2, Unseen: 8, Foreign: 3, SetFull: 4, Cut: 6, Forgotten: 7, SettledEarly: 13, Shed: 11, Signed: 12,
			Latency: injector.Histogram{Bounds: []time.Duration{time.Millisecond, time.Second}, Counts: []uint64{10, 5, 1}, Sum: 4 * time.Second, Max: 3 * time.Second},
		}
	})
	got := scrape(t, s)
	for _, want := range []string{
		`faultctl_connections_matched_total{rule="0"} 5`, `faultctl_connections_matched_total{rule="1"} 1`,
		`faultctl_connections_chosen_total{rule="0"} 4`,
		`faultctl_connections_fired_total{fault="reset",place="0",rule="0"} 3`,
		`faultctl_connections_fired_total{fault="reset",place="1",rule="0"} 1`,
		`faultctl_connections_struck_total{fault="reset",place="0",rule="0"} 15`,
		`faultctl_connections_unsent_total{fault="reset",place="0",rule="0"} 1`,
		`faultctl_connections_unaccepted_total{fault="reset",place="0",rule="0"} 2`,
		`faultctl_connections_unfelt_total{fault="reset",place="0",rule="0"} 3`,
		`faultctl_connections_felt_total{fault="reset",place="0",rule="0"} 4`,
		`faultctl_connections_unknown_total{fault="reset",place="0",rule="0"} 5`,
		`faultctl_connections_closed_before_total{fault="reset",place="0",rule="0"} 6`,
		`faultctl_answers_lost_total{fault="reset",place="0",rule="0"} 8`,
		`faultctl_requests_sent_again_total{fault="reset",place="0",rule="0"} 7`,
		`faultctl_fault_actions_total{fault="reset",place="0",rule="0"} 6`,
		`faultctl_fault_packets_total{fault="reset",place="0",rule="0"} 9`,
		`faultctl_packets_dropped_total{fault="reset",place="0",rule="0"} 2`,
		`faultctl_packets_forged_total{fault="reset",place="0",rule="0"} 7`,
		`faultctl_packets_diverted_total 20`, `faultctl_queue_overruns_total 1`, `faultctl_events_lost_total 2`,
		`faultctl_capture_packets_lost_total 8`, `faultctl_packets_foreign_total 3`, `faultctl_set_full_total 4`,
		`faultctl_packets_shed_total 11`, `faultctl_connections_signed_total 12`, `faultctl_verdict_latency_max_seconds 3`,
		`faultctl_packets_cut_total 6`, `faultctl_connections_forgotten_total 7`, `faultctl_outcomes_settled_early_total 13`,
		`faultctl_verdict_latency_seconds_bucket{le="0.001"} 10`, `faultctl_verdict_latency_seconds_bucket{le="1"} 15`,
		`faultctl_verdict_latency_seconds_bucket{le="+Inf"} 16`, `faultctl_verdict_latency_seconds_sum 4`, `faultctl_verdict_latency_seconds_count 16`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no line %s in\n%s", want, got)
		}
	}
}

// TestClose checks that the address is free again.
func TestClose(t *testing.T) {
	addr := reserved(t)
	for range 2 {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := Serve(l, "").Close(); err != nil {
			t.Error(err)
		}
	}
}

// reserved returns an address whose port the kernel gives to nobody else
// meanwhile, while we may listen on it: with SO_REUSEADDR, as Go does.
func reserved(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
	); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
}

// TestHandler holds that several runs are told apart by their names.
func TestHandler(t *testing.T) {
	h := Handler("v1", func() map[string]injector.Snapshot {
		rule := func(n uint64) injector.Snapshot {
			return injector.Snapshot{Diverted: n, Rules: []injector.RuleStats{{Flows: n, Faults: []injector.FaultStats{{Name: "reset", Fired: n}}}}}
		}
		return map[string]injector.Snapshot{"a": rule(1), "b": rule(2)}
	})
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`faultctl_build_info{version="v1"} 1`, `faultctl_packets_diverted_total{experiment="a"} 1`, `faultctl_packets_diverted_total{experiment="b"} 2`,
		`faultctl_connections_fired_total{experiment="b",fault="reset",place="0",rule="0"} 2`,
	} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%q is missing:\n%s", want, rec.Body)
		}
	}
}
