package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// everySegment are the arguments of a run that judges every segment, so that the
// queue is always in use.
var everySegment = []string{"inject", "delay", "--by", "1ms", "--to", ":5432", "-o", "json", "--duration", "5m"}

// TestSIGKILL checks that the rules are removed with the process, and that the
// traffic that it judged continues. TestKillAnyTime, which runs alone, checks how
// soon.
func TestSIGKILL(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		talk := w.chatter(4)
		p := w.start("faultctl", everySegment...)
		p.wait("ready")
		talk.progress()
		p.cmd.Process.Kill()
		if code := p.end(); code != -1 {
			t.Errorf("exit code %d", code)
		}
		gone(t, w.node())
		talk.progress()
		client, server := w.open()
		healthy(t, "after", client, server)
	})
}

// TestKillAnyTime kills faultctl at random moments of its life, from its start
// on, and checks that the rules are gone within 100 ms. FAULTCTL_KILLS says how
// often.
func TestKillAnyTime(t *testing.T) {
	kills := 40
	if n, err := strconv.Atoi(os.Getenv("FAULTCTL_KILLS")); err == nil {
		kills = n
	}
	w := newTestbed(t, loopback, false)
	talk := w.chatter(2)
	rng := rand.New(rand.NewPCG(1, 1))
	var took []time.Duration
	for i := range kills {
		p := w.start("faultctl", everySegment...)
		if i%2 == 0 { // after the rules are installed, however slow the machine
			p.wait("ready")
		}
		life := time.After(time.Duration(rng.Int64N(int64(400 * time.Millisecond))))
	alive:
		for {
			select {
			case <-life:
				break alive
			case <-p.events:
			}
		}
		in := len(tables(t, w.node())) > 0 // else it is killed before the rules are installed
		killed := time.Now()
		p.cmd.Process.Kill()
		gone(t, w.node())
		if in {
			took = append(took, time.Since(killed))
		}
		p.end()
		gone(t, w.node())
		talk.progress()
	}
	slices.Sort(took)
	if median := took[len(took)/2]; median > 100*time.Millisecond {
		t.Errorf("the rules were gone after %v, want 100ms at most", median)
	}
	t.Logf("%d times killed, %d of them with its rules in: gone after %v, 99 of 100 within %v, %v at most; nothing left behind, no connection broke",
		kills, len(took), took[len(took)/2].Round(100*time.Microsecond), took[len(took)*99/100].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
}

// TestSIGSTOP checks that a stopped faultctl does not block traffic: within 4 s
// it is gone with its rules, and every connection that it judged continues.
func TestSIGSTOP(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		talk := w.chatter(4)
		p := w.start("faultctl", everySegment...)
		p.wait("ready")
		talk.progress()
		stopped := time.Now()
		p.cmd.Process.Signal(syscall.SIGSTOP)
		p.endedByTimer(stopped)
		talk.recovers()
	})
}

// TestCleanStopBulk checks the same in the middle of a stream, with as much of it
// held as the delay takes: held segments leave in order and on time, and nothing
// overtakes them. One or two packets, which stand for up to 45 segments each, may
// be lost if they wait for their verdict when the rules are removed. The link of
// a busy machine may drop some by itself, so the test repeats the stop, at most
// four times, if more was retransmitted.
func TestCleanStopBulk(t *testing.T) {
	for _, at := range []vantage{atClient, atRouter, atServer} {
		t.Run(string(at), func(t *testing.T) {
			w := newTestbed(t, at, false)
			w.patient()
			s := w.streams(1, 0)
			// Otherwise TCP overruns the link when the delay suddenly ends.
			if err := s[0].client.SetInt(unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, 60<<20); err != nil {
				t.Fatal(err)
			}
			stop := func() (again uint64) {
				before := w.counters("TcpRetransSegs")["TcpRetransSegs"]
				p := w.start("faultctl", "inject", "delay", "--by", "50ms", "--to", ":5432", "-o", "json")
				p.wait("ready")
				pour(t, s, 16<<20) // until the window is fully open
				poured := make(chan struct{})
				go func() {
					pour(t, s, 48<<20)
					close(poured)
				}()
				start, err := s[0].server.Info()
				if err != nil {
					t.Fatal(err)
				}
				if !lab.Eventually(func() bool {
					now, err := s[0].server.Info()
					return err != nil || now.Received > start.Received+8<<20
				}) {
					t.Fatal("the stream stands still")
				}
				p.cmd.Process.Signal(syscall.SIGTERM)
				if code := p.end(); code != 143 {
					t.Errorf("exit code %d\n%s", code, p.stderr.String())
				}
				<-poured
				return w.counters("TcpRetransSegs")["TcpRetransSegs"] - before
			}
			again := stop()
			for try := 1; try < 5 && again > 2*45; try++ {
				t.Logf("once more: %d segments were sent again", again)
				again = stop()
			}
			if again > 2*45 {
				t.Errorf("%d segments were sent again", again)
			}
		})
	}
}

// endedByTimer checks that a process that has not read its queue since then is
// killed by its watchdog, and that its rules are gone, within 4 s.
func (p *process) endedByTimer(since time.Time) {
	p.t.Helper()
	p.end()
	ended := time.Since(since)
	if s := p.cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
		p.t.Errorf("ended by %v\n%s", s.Signal(), p.stderr.String())
	}
	gone(p.t, p.node)
	took := time.Since(since)
	if took > 4*time.Second {
		p.t.Errorf("the process ended after %v, its rules were gone after %v; want 4s at most", ended, took)
	}
	p.t.Logf("the process ended after %v, its rules were gone after %v", ended, took)
}

// TestCtrlZ checks that Ctrl-Z does not stop faultctl, which would end the run:
// it continues, and ends cleanly when asked to.
func TestCtrlZ(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, atRouter, false)
	w.attr = &syscall.SysProcAttr{Setpgid: true} // as a shell does: an orphaned group is never stopped
	talk := w.chatter(1)
	p := w.start("faultctl", everySegment...)
	p.wait("ready")
	p.cmd.Process.Signal(syscall.SIGTSTP)
	talk.progress()
	p.cmd.Process.Signal(syscall.SIGINT)
	if code := p.end(); code != 130 {
		t.Errorf("exit code %d, want 130\n%s", code, p.stderr.String())
	}
	gone(t, w.node())
}

// TestStuckWorker checks the same for a worker that never returns.
func TestStuckWorker(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		talk := w.chatter(4)
		p := w.start("stuck")
		p.wait("ready") // the next packet makes it hang
		p.endedByTimer(time.Now())
		talk.recovers()
	})
}

// TestFrozen checks that faultctl in a frozen cgroup v2, like a paused container,
// does not block traffic: the watchdog works there too.
func TestFrozen(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, atServer, false)
	talk := w.chatter(4)
	p := w.start("faultctl", everySegment...)
	p.wait("ready")
	talk.progress()
	own, err := cgroupOfOurs()
	if err != nil {
		lacksRoot(t, fmt.Sprintf("no cgroup v2 can be made here: %v", err))
	}
	group, err := os.MkdirTemp(own, "faultctl-frozen-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(group) }) // it is empty: the test has waited for its only process
	var frozen time.Time
	for _, set := range [][2]string{{"cgroup.procs", fmt.Sprint(p.cmd.Process.Pid)}, {"cgroup.freeze", "1"}} {
		frozen = time.Now()
		if err := os.WriteFile(filepath.Join(group, set[0]), []byte(set[1]), 0); err != nil {
			t.Fatal(err)
		}
	}
	p.endedByTimer(frozen)
	talk.recovers()
}

// TestCleanStop checks that no packet is lost when a run ends, by a signal or by
// its duration.
func TestCleanStop(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		end  syscall.Signal
		code int
	}{
		"SIGINT":   {end: syscall.SIGINT, code: 130},
		"SIGTERM":  {end: syscall.SIGTERM, code: 143},
		"duration": {args: []string{"--duration", "500ms"}, code: 0},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, w *testbed) {
				talk := w.chatter(4)
				talk.progress()
				before := talk.losses()
				p := w.start("faultctl", append([]string{"inject", "delay", "--by", "1ms", "--to", ":5432", "-o", "json"}, c.args...)...)
				p.wait("ready")
				if c.end != 0 {
					talk.progress()
					p.cmd.Process.Signal(c.end)
				}
				if code := p.end(); code != c.code {
					t.Errorf("exit code %d, want %d\n%s", code, c.code, p.stderr.String())
				}
				if left := tables(t, w.node()); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
				talk.progress()
				talk.stop()
				if n := talk.losses() - before; n > 0 {
					t.Errorf("%d segments lost", n)
				}
			})
		})
	}
}
