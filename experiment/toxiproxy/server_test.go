package toxiproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
)

// TestForward holds that data pass, that the end of one direction passes alone, and
// that a reset does.
func TestForward(t *testing.T) {
	d := opened(t, new(Server))
	at := d.proxy("p")
	c := d.dial(at)
	d.echoed(c, strings.Repeat("text", 1<<18))
	io.WriteString(c, "last")
	c.CloseWrite()
	if rest, err := io.ReadAll(c); string(rest) != "last" || err != nil {
		t.Errorf("%q, %v after the end of what the client sends", rest, err)
	}

	resets, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer resets.Close()
	d.must(200, "PATCH", "/proxies/p", fmt.Sprintf(`{"upstream":%q}`, resets.Addr()))
	c = d.dial(at)
	up, err := resets.Accept()
	if err != nil {
		t.Fatal(err)
	}
	up.(*net.TCPConn).SetLinger(0)
	up.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the upstream's reset is %v to the client", err)
	}

	resets.Close()
	c = d.dial(at) // accepted, although nothing listens there
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("without an upstream: %v", err)
	}
}

// TestToxicsInForce holds that toxics strike open connections, and what a client sees
// of those that end one.
func TestToxicsInForce(t *testing.T) {
	d := opened(t, new(Server))
	at := d.proxy("p")
	for _, c := range []struct {
		name, toxic string
		data        int // that arrives of 20 bytes
		end         error
	}{
		{"limit_data", `{"type":"limit_data","attributes":{"bytes":7}}`, 7, io.EOF},
		{"timeout", `{"type":"timeout","attributes":{"timeout":50}}`, 0, io.EOF},
		{"reset_peer", `{"type":"reset_peer","attributes":{"timeout":0}}`, 0, syscall.ECONNRESET},
		{"reset_peer upstream", `{"type":"reset_peer","stream":"upstream"}`, 0, syscall.ECONNRESET},
		{"limit_data upstream", `{"type":"limit_data","stream":"upstream","attributes":{"bytes":0}}`, 0, io.EOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, open := range []bool{true, false} {
				d.must(204, "POST", "/reset", "")
				var conn *net.TCPConn
				if open {
					conn = d.dial(at)
					d.echoed(conn, "before")
				}
				d.must(200, "POST", "/proxies/p/toxics", c.toxic)
				if !open {
					conn = d.dial(at)
				}
				_, early := conn.Write(make([]byte, 20)) // a reset may come before
				got, err := io.ReadAll(conn)
				if early != nil {
					err = early
				} else if err == nil {
					err = io.EOF
				}
				if len(got) != c.data || !errors.Is(err, c.end) {
					t.Errorf("open before: %t: %d bytes and %v, want %d and %v", open, len(got), err, c.data, c.end)
				}
			}
		})
	}
	t.Run("an idle connection is reset", func(t *testing.T) {
		d.must(204, "POST", "/reset", "")
		conn := d.dial(at)
		d.echoed(conn, "before")
		d.must(200, "POST", "/proxies/p/toxics", `{"type":"reset_peer"}`)
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
	})
	t.Run("toxicity 0 is none", func(t *testing.T) {
		d.must(204, "POST", "/reset", "")
		d.must(200, "POST", "/proxies/p/toxics", `{"type":"timeout","toxicity":0}`)
		conn := d.dial(at)
		d.echoed(conn, "x")
		d.must(204, "DELETE", "/proxies/p/toxics/timeout_downstream", "")
		d.echoed(conn, "y")
	})
	t.Run("disabled", func(t *testing.T) {
		d.must(204, "POST", "/reset", "")
		conn := d.dial(at)
		d.echoed(conn, "x")
		d.must(200, "PATCH", "/proxies/p", `{"enabled":false}`)
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("its connections go on")
		}
		if c, err := net.Dial("tcp", at); err == nil {
			c.Close()
			t.Error("it listens")
		}
		d.must(200, "PATCH", "/proxies/p", `{"enabled":true}`)
		d.echoed(d.dial(at), "x")
	})
}

// TestNoWaiting holds that no call waits for connections that take nothing, and that
// none of them is left over.
func TestNoWaiting(t *testing.T) {
	d := opened(t, new(Server))
	d.must(200, "GET", "/version", "")
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	at := d.proxy("p")
	var conns []*net.TCPConn
	for i := range 12 {
		c := d.dial(at)
		conns = append(conns, c)
		if i%2 == 0 { // the echo comes back, and nobody reads it
			go c.Write(make([]byte, 16<<20))
		}
	}
	slowest, what := time.Duration(0), ""
	for _, toxic := range []string{"latency", "bandwidth", "slow_close", "slicer", "limit_data", "timeout", "reset_peer"} {
		for _, call := range [][3]string{
			{"POST", "/proxies/p/toxics", fmt.Sprintf(`{"type":%q,"attributes":{"latency":60000,"delay":60000,"bytes":1000000000000,"timeout":0}}`, toxic)},
			{"PATCH", "/proxies/p/toxics/" + toxic + "_downstream", `{"toxicity":0.5}`},
			{"DELETE", "/proxies/p/toxics/" + toxic + "_downstream", ""},
		} {
			began := time.Now()
			d.call(call[0], call[1], call[2])
			if took := time.Since(began); took > slowest {
				slowest, what = took, strings.Join(call[:], " ")
			}
		}
	}
	if slowest > 5*time.Second { // a wait for a connection would have no end
		t.Errorf("%s took %v", what, slowest)
	}
	d.must(204, "DELETE", "/proxies/p", "")
	for _, c := range conns {
		c.Close()
	}
	for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > goroutines+5 || openFiles(t) > files+5; time.Sleep(20 * time.Millisecond) {
		runtime.GC() // io.Copy of the upstream keeps pipes in a pool
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, before %d; %d files, before %d\n%s", runtime.NumGoroutine(), goroutines, openFiles(t), files, buf[:runtime.Stack(buf, true)])
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// fakeRuns notes the runs that there are.
type fakeRuns struct {
	mu   sync.Mutex
	runs map[string]experiment.Spec
}

func (f *fakeRuns) Put(_ context.Context, name string, spec experiment.Spec) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runs[name] = spec
	return nil
}

func (f *fakeRuns) Stop(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.runs, name)
}

// says is the only run that there is, as a command line.
func (f *fakeRuns) says() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []string{}
	for _, s := range f.runs {
		all = append(all, s.CommandLine())
	}
	return strings.Join(all, "\n")
}

// TestFaultToxics holds that each fault is a type of toxics, which strikes the packets
// of the connections to the proxy while it is enabled.
func TestFaultToxics(t *testing.T) {
	runs := &fakeRuns{runs: map[string]experiment.Spec{}}
	d := opened(t, &Server{Runs: runs})
	at := d.proxy("p")
	const idle = "/proxies/p/toxics/idle-expire_downstream"
	has := func(want string) {
		t.Helper()
		if got := runs.says(); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%q, want %q", got, want)
		}
	}
	d.must(200, "POST", "/proxies/p/toxics", `{"type":"idle-expire","toxicity":0.25,"attributes":{"after":"2s","device-ttl":60}}`)
	has("idle-expire --after 2s --device-ttl 60 --to " + at)
	has("--percent 25")
	if got := d.must(200, "PATCH", idle, `{"attributes":{"after":"3s","device-ttl":null},"toxicity":1}`); !strings.Contains(got, `"attributes":{"after":"3s"}`) {
		t.Error(got)
	}
	has("idle-expire --after 3s --to " + at)
	d.must(200, "PATCH", idle, `{"attributes":{"after":1500}}`)
	has("idle-expire --after 1500ms --to " + at)
	d.must(200, "PATCH", idle, `{"attributes":{"after":"3s"}}`)
	d.must(400, "PATCH", idle, `{"attributes":{"after":"soon"}}`)
	d.must(400, "PATCH", idle, `{"attributes":{"before":"3s"}}`)
	d.must(400, "PATCH", idle, `{"attributes":{"after":[]}}`)
	has("idle-expire --after 3s --to " + at)
	d.must(200, "PATCH", "/proxies/p", `{"enabled":false}`)
	has("")
	d.must(200, "PATCH", "/proxies/p", `{"enabled":true}`)
	has("idle-expire --after 3s --to " + at)
	d.must(204, "DELETE", idle, "")
	has("")
	d.must(200, "POST", "/proxies/p/toxics", `{"type":"loss","stream":"upstream","attributes":{"chance":"5%"}}`)
	has("loss --chance 5% --dir client")
	d.must(204, "DELETE", "/proxies/p", "")
	has("")
}

// TestTransparent holds that a proxy which listens at its upstream listens nowhere:
// its toxics strike the connections to the upstream.
func TestTransparent(t *testing.T) {
	runs := &fakeRuns{runs: map[string]experiment.Spec{}}
	d := opened(t, &Server{Runs: runs})
	d.must(201, "POST", "/proxies", fmt.Sprintf(`{"name":"p","listen":%q,"upstream":%q}`, d.upstream, d.upstream))
	for toxic, want := range map[string]string{
		`{"type":"latency","attributes":{"latency":20}}`:                     "delay --by 20ms --jitter 0ms --dir server --to " + d.upstream,
		`{"type":"bandwidth","stream":"upstream","attributes":{"rate":100}}`: "throttle --rate 800kbit --dir client --to " + d.upstream,
		`{"type":"bandwidth"}`:  "partition --dir server --to " + d.upstream,
		`{"type":"timeout"}`:    "partition --dir server --to " + d.upstream,
		`{"type":"reset_peer"}`: "reset --at now --other reset --to " + d.upstream,
		`{"type":"slicer","attributes":{"average_size":9,"delay":7}}`: "slice --size 9 --gap 7us --dir server --to " + d.upstream,
		`{"type":"noop"}`:      "",
		`{"type":"half-open"}`: "half-open --to " + d.upstream,
	} {
		d.must(200, "POST", "/proxies/p/toxics", toxic)
		if got := runs.says(); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: %q, want %q", toxic, got, want)
		}
		d.must(204, "POST", "/reset", "")
	}
	for _, toxic := range []string{`{"type":"limit_data"}`, `{"type":"slow_close"}`, `{"type":"timeout","attributes":{"timeout":5}}`, `{"type":"reset_peer","attributes":{"timeout":5}}`} {
		d.must(400, "POST", "/proxies/p/toxics", toxic)
	}
	if got := d.must(200, "GET", "/proxies/p/toxics", ""); got != "[]" {
		t.Error(got)
	}
}

// TestWithoutRights holds that what strikes packets is refused where that is not
// permitted, in a sentence that says what to do.
func TestWithoutRights(t *testing.T) {
	d := opened(t, &Server{Why: "Start it with --cap-add NET_ADMIN."})
	d.proxy("p")
	got := d.must(400, "POST", "/proxies/p/toxics", `{"type":"idle-expire","attributes":{"after":"2s"}}`)
	if !strings.Contains(got, "--cap-add NET_ADMIN") {
		t.Error(got)
	}
	d.must(400, "POST", "/proxies", fmt.Sprintf(`{"name":"q","listen":%q,"upstream":%q}`, d.upstream, d.upstream))
}

// TestNothingHalfMade holds that an update of which a part is wrong changes nothing.
func TestNothingHalfMade(t *testing.T) {
	d := opened(t, new(Server))
	d.proxy("p")
	d.must(200, "POST", "/proxies/p/toxics", `{"type":"latency","attributes":{"latency":20}}`)
	d.must(400, "PATCH", "/proxies/p/toxics/latency_downstream", `{"attributes":{"latency":30,"jitter":"x"}}`)
	if got := d.must(200, "GET", "/proxies/p/toxics/latency_downstream", ""); !strings.Contains(got, `"latency":20,"jitter":0`) {
		t.Error(got)
	}
}

// TestMetrics holds that the bytes of proxies are counted while connections go on.
func TestMetrics(t *testing.T) {
	s := new(Server)
	s.Metrics = s.MetricsHandler(true, false)
	d := opened(t, s)
	c := d.dial(d.proxy("p"))
	d.echoed(c, "12345")
	got := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) { // they are counted after they are sent
		got = d.must(200, "GET", "/metrics", "")
		if strings.Contains(got, `toxiproxy_proxy_received_bytes_total{direction="upstream"`) && strings.Count(got, "} 5") == 4 {
			return
		}
	}
	t.Error(got)
}

// TestSeed holds that the same seed strikes the same connections.
func TestSeed(t *testing.T) {
	a, b, other := &Server{Seed: 1}, &Server{Seed: 1}, &Server{Seed: 2}
	below, differ := 0, 0
	for nth := range uint64(10000) {
		lot := a.lot(nth, 3)
		if lot != b.lot(nth, 3) || lot < 0 || lot >= 1 {
			t.Fatal(lot)
		}
		if lot < 0.25 {
			below++
		}
		if lot != other.lot(nth, 3) {
			differ++
		}
	}
	if below < 2300 || below > 2700 || differ < 9000 {
		t.Errorf("%d of 10000 below 0.25; %d differ with another seed", below, differ)
	}
}
