package integration

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
	"golang.org/x/sys/unix"
)

// TestOverload floods a port with SYNs while faultctl gets a tenth of a processor. Those
// who use the port must not wait for seconds: what faultctl cannot judge in time passes,
// and it says so, and that its run is not conclusive.
func TestOverload(t *testing.T) {
	const (
		delay = 50 * time.Millisecond
		rate  = 15_000 // SYNs a second
		lasts = 5 * time.Second
		most  = 5 * time.Second // for an exchange; where all are judged it takes 8 s to 20 s
	)
	w := newTestbed(t, atServer, false)
	p := w.start("faultctl", "inject", "delay", "--by", delay.String(), "--to", ":5432", "--expect-fired", "--duration", "7s", "-o", "json")
	p.wait("ready")
	client, server := w.open()
	fed := p.starve(lasts)
	flooded := w.synFlood(rate, lasts)
	n, worst := 0, time.Duration(0)
	for start := time.Now(); time.Since(start) < lasts; n++ {
		at := time.Now()
		says(t, "an exchange in the flood", client.Send("ping"), server.Recv(), server.Send("pong"), client.Recv())("4", "ping", "4", "pong")
		worst = max(worst, time.Since(at))
	}
	<-fed
	t.Logf("%d SYNs; the longest of %d exchanges took %v", <-flooded, n, worst)
	if worst > most {
		t.Errorf("an exchange took %v, want less than %v", worst, most)
	}
	ended := p.wait("ended")
	number := func(key string) float64 { n, _ := ended[key].(float64); return n }
	why, _ := ended["not_conclusive"].(string)
	if shed := number("packets_shed") + number("queue_overruns"); shed == 0 || !strings.Contains(why, "passed unjudged") {
		t.Errorf("%v packets passed unjudged, and the run is not conclusive because %q", shed, why)
	}
	if late, _ := time.ParseDuration(ended["verdicts_late_worst"].(string)); late < delay {
		t.Errorf("the latest verdict came after %v: that cannot be", late)
	}
	if code := p.end(); code != 4 {
		t.Errorf("exit %d, want 4\n%s", code, &p.stderr)
	}
}

// starve lets the process run for a tenth of that time only. It ends when the returned
// channel is closed.
func (p *process) starve(d time.Duration) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer p.cmd.Process.Signal(syscall.SIGCONT)
		for start := time.Now(); time.Since(start) < d; {
			p.cmd.Process.Signal(syscall.SIGSTOP)
			time.Sleep(90 * time.Millisecond)
			p.cmd.Process.Signal(syscall.SIGCONT)
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return done
}

// synFlood sends SYNs to the service at that rate, and no more of them than in that time,
// each from another port of the client's host, which knows nothing of them. The channel
// gets their number at the end.
func (w *testbed) synFlood(rate int, d time.Duration) <-chan int {
	w.t.Helper()
	fd := -1
	err := w.from.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	sent := make(chan int, 1)
	go func() {
		defer unix.Close(fd)
		n := 0
		to := &unix.SockaddrInet4{Addr: w.service.Addr().As4()}
		var syn []byte
		for start := time.Now(); time.Since(start) < d; time.Sleep(2 * time.Millisecond) {
			for ; n < int(min(time.Since(start), d).Seconds()*float64(rate)) && time.Since(start) < d; n++ {
				f := packet.Fields{Src: netip.AddrPortFrom(w.from.V4, uint16(1024+n%30_000)), Dst: w.service, TTL: 64, DF: true,
					Seq: packet.Seq(n), Flags: packet.SYN, Window: 1000}
				syn = f.Append(syn[:0], nil)
				unix.Sendto(fd, syn, 0, to)
			}
		}
		sent <- n
	}()
	return sent
}
