package injector

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/internal/minirun"
	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/lab"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// linkFaults has settings with which each fault of the link acts on segments of a
// hundred bytes.
var linkFaults = map[string][]string{
	"loss":      {"chance", "50%"},
	"delay":     {"by", "10ms", "jitter", "5ms", "reorder", "true"},
	"duplicate": {"chance", "100%"},
	"reorder":   {"chance", "50%", "by", "10ms"},
	"corrupt":   {"chance", "100%"},
	"throttle":  {"rate", "1mbit"},
	"mtu-hole":  {"above", "80"},
	"partition": {},
	"slice":     {"size", "50"},
}

// ledger counts what a run was given of the client's segments, and what it put on
// its way towards the server.
type ledger struct {
	mu         sync.Mutex
	seen       map[string]int
	came, left int
}

func (l *ledger) take(p Packet) {
	s, err := packet.Parse(p.Bytes)
	if err != nil || s.SrcAddrPort().Port() != linkClient || p.Fate == Late || p.Fate == Replacement {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.Fate.Came() {
		l.came++
		l.seen[fmt.Sprint(s.Src(), s.Seq(), s.PayloadLen(), s.Flags())]++
	}
	if p.Fate != Dropped {
		l.left++
	}
}

func (l *ledger) counts() (came, left int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.came, l.left
}

const linkClient, linkService = 40000, 5432

// TestPairsOfLinkFaults checks for every two faults of the link, from each vantage and
// in both families, that two runs beside each other judge in their order: the first
// judges each segment once, the second once what the first lets go on or sends, and
// what the second sends goes back to neither.
func TestPairsOfLinkFaults(t *testing.T) {
	var names []string
	for _, k := range faults.Catalog {
		if k.Group != "link" {
			continue
		}
		names = append(names, k.Name)
		if _, ok := linkFaults[k.Name]; !ok {
			t.Fatalf("no settings for %s", k.Name)
		}
	}
	for _, at := range []string{"output", "forward", "input"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			l, err := lab.New()
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			node := map[string]*lab.Node{"output": l.Client, "forward": l.Router, "input": l.Server}[at]
			mute(t, l.Server)
			for _, first := range names {
				for _, second := range names {
					pair(t, l, node, at, first, second)
				}
			}
		})
	}
}

// mute has a host send no RST: nobody listens there, and none answers.
func mute(t *testing.T, n *lab.Node) {
	c := minirun.Conn(t, n.NS)
	out := minirun.Chain(c, minirun.Table(c, "mute"), "out", nftables.ChainHookOutput, -400)
	minirun.Rule(c, out, minirun.Port(linkService, false), minirun.Flags(byte(packet.RST)), []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}})
	minirun.Flush(t, c)
}

func pair(t *testing.T, l *lab.Lab, node *lab.Node, at, first, second string) {
	var ledgers [2]ledger
	match := target.Matcher{To: []target.Endpoint{{LowPort: linkService, HighPort: linkService}}}
	var stops []func()
	for i, name := range []string{first, second} {
		ledgers[i].seen = map[string]int{}
		_, stop := startInjector(t, node.NS, false, Config{
			OnPacket: ledgers[i].take,
			Rules:    []Rule{{Match: match, Faults: []NamedModel{model(t, name, linkFaults[name]...)}}},
		})
		stops = append(stops, stop)
	}
	sent := 0
	raw := minirun.NewRaw(t, l.Client.NS, 0)
	for i, src := range addrsOf(l.Client) {
		f := packet.Fields{
			Src: netip.AddrPortFrom(src, linkClient), Dst: netip.AddrPortFrom(addrsOf(l.Server)[i], linkService),
			TTL: 64, DF: true, Flags: packet.SYN, Seq: 1000, Window: 1000,
		}
		for n := range 6 {
			var payload []byte
			if n > 0 {
				payload = make([]byte, 100)
				f.Flags, f.Ack = packet.ACK|packet.PSH, 1
			}
			if err := raw.Send(f.Append(nil, payload)); err != nil {
				t.Fatal(err)
			}
			f.Seq += packet.Seq(max(1, len(payload)))
			sent++
		}
	}
	agree := func() bool {
		came, left := ledgers[0].counts()
		came2, _ := ledgers[1].counts()
		return came == sent && came2 == left
	}
	settled := false
	for end := time.Now().Add(2 * time.Second); !settled && time.Now().Before(end); time.Sleep(time.Millisecond) {
		settled = agree()
	}
	time.Sleep(30 * time.Millisecond) // in which what loops would come again
	came, left := ledgers[0].counts()
	came2, left2 := ledgers[1].counts()
	if !settled || !agree() {
		t.Errorf("%s: %s and then %s: of %d segments the first run was given %d and let %d go on, the second was given %d and let %d go on", at, first, second, sent, came, left, came2, left2)
	}
	for seg, n := range ledgers[0].seen {
		if n != 1 {
			t.Errorf("%s: %s and then %s: the first was given %s %d times", at, first, second, seg, n)
		}
	}
	for _, stop := range stops {
		stop()
	}
}

// TestPartitionBesideDuplicate checks that nothing passes a partition, in whichever
// order the runs began, and whether they are of one process or of two.
func TestPartitionBesideDuplicate(t *testing.T) {
	for _, order := range [][2]string{{"duplicate", "partition"}, {"partition", "duplicate"}} {
		for _, processes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s first, two processes %v", order[0], processes), func(t *testing.T) {
				l, err := lab.New()
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				beside(t, l.Client, processes, order[0], order[1])
				for _, to := range addrsOf(l.Server) {
					ln, at, err := l.Server.Listen(netip.AddrPortFrom(to, linkService), 8)
					if err != nil {
						t.Fatal(err)
					}
					defer ln.Close()
					c, err := l.Client.Client(to)
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					c.Timeout(300 * time.Millisecond)
					if got := c.Connect(at); got != "EINPROGRESS" {
						t.Errorf("%s: connect() = %s through a partition", to, got)
					}
				}
			})
		}
	}
}

// TestDelaysOfRunsAddUp checks it, of one process and of two.
func TestDelaysOfRunsAddUp(t *testing.T) {
	for _, processes := range []bool{false, true} {
		l, err := lab.New()
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		beside(t, l.Client, processes, "delay:by=60ms,dir=client", "delay:by=60ms,dir=client")
		for _, to := range addrsOf(l.Server) {
			ln, at, err := l.Server.Listen(netip.AddrPortFrom(to, linkService), 8)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			c, err := l.Client.Client(to)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			start := time.Now()
			if got := c.Connect(at); got != "ok" {
				t.Fatal(got)
			}
			if took := time.Since(start); took < 120*time.Millisecond || took > 900*time.Millisecond {
				t.Errorf("%s: two delays of 60 ms took %v", to, took)
			}
		}
	}
}

// beside starts runs in their order in the host's namespace, the second by a process
// of its own if asked.
func beside(t *testing.T, n *lab.Node, processes bool, specs ...string) {
	t.Helper()
	for i, spec := range specs {
		if i > 0 && processes {
			runProcess(t, n, spec)
			continue
		}
		startInjector(t, n.NS, false, specConfig(t, spec))
	}
}

func specConfig(t testing.TB, spec string) Config {
	name, knobs, _ := strings.Cut(spec, ":")
	var kv []string
	for _, k := range strings.FieldsFunc(knobs, func(r rune) bool { return r == ',' }) {
		knob, value, _ := strings.Cut(k, "=")
		kv = append(kv, knob, value)
	}
	if kv == nil {
		kv = linkFaults[name]
	}
	return Config{Rules: []Rule{{
		Match:  target.Matcher{To: []target.Endpoint{{LowPort: linkService, HighPort: linkService}}},
		Faults: []NamedModel{model(t, name, kv...)},
	}}}
}

// helperRunEnv makes the test binary a process that runs the fault of a spec until its
// input ends.
const helperRunEnv = "FAULTCTL_TEST_RUN"

// TestHelperRun is that process; it is no test by itself.
func TestHelperRun(t *testing.T) {
	spec := os.Getenv(helperRunEnv)
	if spec == "" {
		t.Skip("it is for other tests")
	}
	cfg := specConfig(t, spec)
	inj, err := Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("ready")
	os.Stdin.Read(make([]byte, 1))
	if err := inj.Stop(); err != nil {
		t.Fatal(err)
	}
}

func runProcess(t *testing.T, n *lab.Node, spec string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestHelperRun$")
	cmd.Env = append(os.Environ(), helperRunEnv+"="+spec)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s in its own process: %v", spec, err)
		}
	})
	var word string
	if _, err := fmt.Fscan(out, &word); err != nil || word != "ready" {
		t.Fatalf("%s in its own process: %q, %v", spec, word, err)
	}
}

// TestForeignPriority checks that a program whose packets carry a priority that once
// was ours, or our sign of another namespace, is judged like any other.
func TestForeignPriority(t *testing.T) {
	l, err := lab.NewIPv4()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	elsewhere, mask, err := Sign(l.Server.NS)
	if err != nil {
		t.Fatal(err)
	}
	if here, _, _ := Sign(l.Client.NS); here == elsewhere || here&^mask != 0 {
		t.Errorf("signs %#x and %#x under %#x", here, elsewhere, mask)
	}
	ln, at, err := l.Server.Listen(netip.AddrPortFrom(l.Server.V4, linkService), 8)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	startInjector(t, l.Client.NS, false, specConfig(t, "partition"))
	for _, priority := range []uint32{0x01a0_17c1, elsewhere} {
		c, err := l.Client.Client(at.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Timeout(300 * time.Millisecond)
		if err := c.SetInt(unix.SOL_SOCKET, unix.SO_PRIORITY, int(priority)); err != nil {
			t.Fatal(err)
		}
		if got := c.Connect(at); got != "EINPROGRESS" {
			t.Errorf("priority %#x: connect() = %s through a partition", priority, got)
		}
	}
}

// TestLevels checks that runs get levels in the order of their queues, one with a queue
// of its own choice too, and that the run for which there is none is refused in words.
func TestLevels(t *testing.T) {
	ns := kerneltest.NetNS(t)
	cfg := Config{Rules: []Rule{{Faults: fake(faults.Diversion{SYN: true})}}}
	for want := range nfqueue.Last - nfqueue.First + 1 {
		cfg.Queue = 0
		if want == 5 {
			cfg.Queue = 777
		}
		inj, _ := startInjector(t, ns, false, cfg)
		if got := inj.kernel.at.level; got != want {
			t.Errorf("run %d has level %d", want, got)
		}
	}
	for _, queue := range []uint16{0, 778} {
		_, err := Start(context.Background(), Config{NetNS: ns, Watchdog: -1, Queue: queue, Rules: cfg.Rules})
		if !errors.Is(err, errQueuesTaken) || !strings.Contains(err.Error(), "24 at a time") {
			t.Errorf("a run too many, queue %d: %v", queue, err)
		}
	}
}
