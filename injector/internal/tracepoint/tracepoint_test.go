package tracepoint

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/faultctl/faultctl/injector/internal/sockdiag"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

func open(t testing.TB, kinds ...Kind) *Source {
	t.Helper()
	s, err := Open(kinds...)
	required := os.Getenv("FAULTCTL_REQUIRE") == "1" && os.Getenv("FAULTCTL_INSIDE") == "" // nobody has them in a user namespace
	if required {
		if err != nil {
			t.Fatal(err)
		}
	} else if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOENT) {
		t.Skipf("no tracepoints here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// collect gathers the events of a connection until want have come.
func collect(t *testing.T, s *Source, local netip.AddrPort, sock *uint64, want int) (got []Event) {
	t.Helper()
	lab.Eventually(func() bool {
		s.Wait(10 * time.Millisecond)
		s.Read(func(ev Event) {
			if ev.Local == local && ev.Sock != 0 {
				*sock = ev.Sock
			}
			if ev.Local == local || *sock != 0 && ev.Sock == *sock {
				got = append(got, ev)
			}
		})
		return len(got) >= want
	})
	return got
}

// TestReset checks that a RST which a socket receives is told with the socket's
// cookie, in another network namespace and in both families; that its program's
// call which returns the error is told; and nothing is told of a RST that is
// ignored.
func TestReset(t *testing.T) {
	s := open(t, ReceivedReset, ErrorReported, CallFailed)
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	diag, err := sockdiag.Open(l.Client.NS)
	if err != nil {
		t.Fatal(err)
	}
	defer diag.Close()
	for _, to := range []netip.Addr{l.Server.V4, l.Server.V6} {
		if !to.IsValid() {
			continue
		}
		listener, at, err := l.Server.Listen(netip.AddrPortFrom(to, 0), 8)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		client, _ := l.Client.Client(to)
		defer client.Close()
		client.Connect(at)
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		local := client.Local()
		known, err := diag.Ask(local, client.Peer())
		if err != nil {
			t.Fatal(err)
		}
		server.Linger()
		server.Close()
		var sock uint64
		got := collect(t, s, local, &sock, 2)
		if len(got) != 2 || got[0].Kind != ReceivedReset || got[0].Remote != at || got[1].Kind != ErrorReported || got[1].Errno != unix.ECONNRESET {
			t.Fatalf("%s: %+v", to, got)
		}
		if got[0].Cookie != known.Cookie {
			t.Errorf("%s: cookie %x, sock_diag says %x", to, got[0].Cookie, known.Cookie)
		}
		if r := client.Recv(); r != "ECONNRESET" {
			t.Fatalf("%s: recv() = %s", to, r)
		}
		got = collect(t, s, local, &sock, 1)
		if len(got) != 1 || got[0].Kind != CallFailed || got[0].Errno != unix.ECONNRESET {
			t.Errorf("%s: %+v", to, got)
		}

		// A program that has closed is told of nothing, though its socket gets the RST.
		client, _ = l.Client.Client(to)
		client.Connect(at)
		if server, err = listener.Accept(); err != nil {
			t.Fatal(err)
		}
		local = client.Local()
		client.Close()
		lab.Eventually(func() bool { k, _ := diag.Ask(local, at); return k.State == sockdiag.FinWait2 })
		server.Linger()
		server.Close()
		lab.Eventually(func() bool { _, err := diag.Ask(local, at); return errors.Is(err, sockdiag.ErrNone) })
		s.Read(func(ev Event) { // what the kernel had to tell it told before the socket was gone
			if ev.Local == local && ev.Kind != ReceivedReset {
				t.Errorf("%s: of a closed socket: %+v", to, ev)
			}
		})

		// Refused while connecting.
		listener.Close()
		client, _ = l.Client.Client(to)
		if r := client.Connect(at); r != "ECONNREFUSED" {
			t.Fatalf("%s: connect() = %s", to, r)
		}
		seen := false
		lab.Eventually(func() bool {
			s.Read(func(ev Event) { seen = seen || ev.Kind == ReceivedReset && ev.Remote == at })
			return seen
		})
		if !seen {
			t.Errorf("%s: a refusal is not told", to)
		}
	}
	if s.Lost() != 0 {
		t.Errorf("%d events lost", s.Lost())
	}
}

// TestSent checks that a RST which is sent is told with its reason and the process that
// closed, in both families, and a refusal, which no socket sends.
func TestSent(t *testing.T) {
	s := open(t, SentReset, Dropped)
	if !s.Can(SentReset) {
		t.Skip("this kernel has no tcp_send_reset")
	}
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, to := range []netip.Addr{l.Server.V4, l.Server.V6} {
		if !to.IsValid() {
			continue
		}
		listener, at, err := l.Server.Listen(netip.AddrPortFrom(to, 0), 8)
		if err != nil {
			t.Fatal(err)
		}
		client, _ := l.Client.Client(to)
		client.Connect(at)
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		local := client.Local()
		server.Linger()
		server.Close()
		listener.Close()
		refused, _ := l.Client.Client(to)
		if r := refused.Connect(at); r != "ECONNREFUSED" {
			t.Fatalf("%s: connect() = %s", to, r)
		}
		var got []Event
		lab.Eventually(func() bool {
			s.Wait(10 * time.Millisecond)
			s.Read(func(ev Event) {
				if ev.Kind == SentReset && ev.Local == at {
					got = append(got, ev)
				}
			})
			return len(got) == 2
		})
		if len(got) != 2 {
			t.Fatalf("%s: %+v", to, got)
		}
		// Linux calls it a matter of the state, not TCP_ABORT_ON_LINGER: close() with
		// SO_LINGER 0 disconnects the socket (tcp_disconnect).
		if ev := got[0]; ev.Remote != local || ev.PID != uint32(os.Getpid()) || ev.Sock == 0 || ev.Reason != "" && ev.Reason != "TCP_STATE" {
			t.Errorf("%s: of a socket: %+v", to, ev)
		}
		if ev := got[1]; ev.Sock != 0 || ev.Reason != "" && ev.Reason != "NO_SOCKET" {
			t.Errorf("%s: of no socket: %+v", to, ev)
		}
		client.Close()
		refused.Close()
	}
}

// TestReasons checks how the words of reasons are read, and which drops are asked for.
func TestReasons(t *testing.T) {
	got := parseReasons(`print fmt: "state=%s reason=%s", __print_symbolic(REC->state, { 1, "X" }), __print_symbolic(REC->reason, { 2, "NOT_SPECIFIED" }, { 40, "TCP_LISTEN_OVERFLOW" }, { 33, "TCP_OLD_DATA" })`)
	if len(got) != 3 || got[40] != "TCP_LISTEN_OVERFLOW" || got[2] != "NOT_SPECIFIED" {
		t.Errorf("%v", got)
	}
	if f := dropFilter(got); f != "(protocol == 2048 || protocol == 34525) && (reason == 40)" {
		t.Error(f)
	}
	if f := dropFilter(parseReasons("print fmt: x")); f != "" {
		t.Error(f)
	}
}

// TestFormat checks how format files are read.
func TestFormat(t *testing.T) {
	got := parseFormat("name: x\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n" +
		"\tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;\n\tfield:__u8 saddr_v6[16];\toffset:30;\tsize:16;\tsigned:0;\n")
	want := map[string]field{"common_type": {0, 2}, "skaddr": {8, 8}, "saddr_v6": {30, 16}}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
	for n, f := range want {
		if got[n] != f {
			t.Errorf("%s: %v, want %v", n, got[n], f)
		}
	}
}

// BenchmarkReceive measures what listening costs a call that receives, which has
// a tracepoint with a filter, beside one without.
func BenchmarkReceive(b *testing.B) {
	pair := func() (int, int) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			b.Fatal(err)
		}
		return fds[0], fds[1]
	}
	run := func(b *testing.B) { // two calls, one that sends and one that receives
		x, y := pair()
		defer unix.Close(x)
		defer unix.Close(y)
		buf := make([]byte, 1)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var from, to unix.Timespec
		unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &from)
		for b.Loop() {
			unix.Write(x, buf)
			unix.Read(y, buf)
		}
		unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &to)
		b.ReportMetric(float64(to.Nano()-from.Nano())/float64(b.N), "cpu-ns/op") // others may use the machine, too
	}
	b.Run("nobody listens", run)
	b.Run("listening to resets", func(b *testing.B) {
		open(b, ReceivedReset, ErrorReported)
		run(b)
	})
	b.Run("listening to calls too", func(b *testing.B) {
		open(b, ReceivedReset, ErrorReported, CallFailed)
		run(b)
	})
}
