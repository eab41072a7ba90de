package sockdiag

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

// pair is a connection from the client to the server of a lab.
func pair(t testing.TB, l *lab.Lab, to netip.Addr) (client, server *lab.App) {
	t.Helper()
	listener, at, err := l.Server.Listen(netip.AddrPortFrom(to, 0), 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(listener.Close)
	if client, err = l.Client.Client(to); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if got := client.Connect(at); got != "ok" {
		t.Fatalf("connect: %s", got)
	}
	if server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return client, server
}

func open(t testing.TB, n *lab.Node) *Conn {
	t.Helper()
	c, err := Open(n.NS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func newLab(t testing.TB) *lab.Lab {
	t.Helper()
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func addrs(l *lab.Lab) []netip.Addr {
	if !lab.IPv6() {
		return []netip.Addr{l.Server.V4}
	}
	return []netip.Addr{l.Server.V4, l.Server.V6}
}

// TestAsk follows a connection from its beginning to its end, at both ends and
// in both families.
func TestAsk(t *testing.T) {
	l := newLab(t)
	at, there := open(t, l.Client), open(t, l.Server)
	for _, to := range addrs(l) {
		client, server := pair(t, l, to)
		c, s := client.Local(), client.Peer()
		ask := func(conn *Conn, local, remote netip.AddrPort) Socket {
			t.Helper()
			got, err := conn.Ask(local, remote)
			if err != nil {
				t.Fatalf("%s: %v", to, err)
			}
			return got
		}
		was := ask(at, c, s)
		if was.State != Established || was.Orphaned() || was.Cookie == 0 {
			t.Errorf("%s: %+v", to, was)
		}
		client.Send("hello")
		if !lab.Eventually(func() bool { return ask(there, s, c).Unread == 5 }) {
			t.Errorf("%s: the server has %+v", to, ask(there, s, c))
		}
		if got := ask(at, c, s); got.Cookie != was.Cookie {
			t.Errorf("%s: the cookie changes", to)
		}
		if _, err := there.Ask(s, netip.AddrPortFrom(c.Addr(), c.Port()^1)); !errors.Is(err, ErrNone) {
			t.Errorf("%s: the listener was taken for a connection: %v", to, err)
		}
		server.Recv()
		client.Close()
		if !lab.Eventually(func() bool { return ask(at, c, s).State == FinWait2 }) || !ask(at, c, s).Orphaned() {
			t.Errorf("%s: after close() the client has %+v", to, ask(at, c, s))
		}
		if got := ask(there, s, c); got.State != CloseWait || got.Orphaned() {
			t.Errorf("%s: the server has %+v", to, got)
		}
		server.Linger()
		server.Close()
		if !lab.Eventually(func() bool { _, err := at.Ask(c, s); return errors.Is(err, ErrNone) }) {
			t.Errorf("%s: after a RST the client has %+v", to, ask(at, c, s))
		}
		if _, err := there.Ask(s, c); !errors.Is(err, ErrNone) {
			t.Errorf("%s: after its RST the server has a socket: %v", to, err)
		}
	}
}

// TestMD5 checks that a connection with signed segments is known.
func TestMD5(t *testing.T) {
	l := newLab(t)
	client, _ := pair(t, l, l.Server.V4)
	at := open(t, l.Client)
	if got, err := at.Ask(client.Local(), client.Peer()); err != nil || got.MD5 {
		t.Errorf("%+v, %v", got, err)
	}
	f, err := client.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sig := unix.TCPMD5Sig{Keylen: 3}
	sig.Addr.Family = unix.AF_INET
	a := l.Server.V4.As4()
	copy(sig.Addr.Data[2:], a[:])
	copy(sig.Key[:], "key")
	if err := unix.SetsockoptTCPMD5Sig(int(f.Fd()), unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig); err != nil {
		t.Skipf("this kernel signs no segments: %v", err)
	}
	if got, err := at.Ask(client.Local(), client.Peer()); err != nil || !got.MD5 {
		t.Errorf("signed: %+v, %v", got, err)
	}
}

// TestNothingAllocates checks that asking costs no memory.
func TestNothingAllocates(t *testing.T) {
	l := newLab(t)
	client, _ := pair(t, l, l.Server.V4)
	at := open(t, l.Client)
	c, s := client.Local(), client.Peer()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := at.Ask(c, s); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAsk(b *testing.B) {
	l := newLab(b)
	client, _ := pair(b, l, l.Server.V4)
	at := open(b, l.Client)
	c, s := client.Local(), client.Peer()
	gone := netip.AddrPortFrom(c.Addr(), c.Port()^1)
	for name, local := range map[string]netip.AddrPort{"there": c, "gone": gone} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				at.Ask(local, s)
			}
		})
	}
}

// TestUnaccepted holds that a connection which waits to be accepted is no orphan, although
// no process has its socket.
func TestUnaccepted(t *testing.T) {
	l := newLab(t)
	there := open(t, l.Server)
	for _, to := range addrs(l) {
		ln, at, err := l.Server.Listen(netip.AddrPortFrom(to, 0), 1)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		client, err := l.Client.Client(to)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if got := client.Connect(at); got != "ok" {
			t.Fatalf("%s: connect() = %s", to, got)
		}
		var got Socket
		if !lab.Eventually(func() bool { got, err = there.Ask(at, client.Local()); return err == nil && got.State == Established }) {
			t.Fatalf("%s: the server has %+v: %v", to, got, err)
		}
		if got.Inode != 0 || got.Orphaned() {
			t.Errorf("%s: orphaned %v: %+v", to, got.Orphaned(), got)
		}
	}
}
