package control

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/faultctl/faultctl/internal/netns"
	"golang.org/x/sys/unix"
)

// TestOtherUser holds that nobody but the same user and root gets an answer, and
// that nobody but root believes a socket of another user.
func TestOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it takes root to be another user")
	}
	g, _ := served(t)
	begin(t, g, delay)
	const nobody = 65533
	c, err := connect(socketName+g.ID(), "", nobody)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "DELETE /v1/process HTTP/1.1\r\nHost: faultctl\r\n\r\n")
	if b, err := io.ReadAll(c); len(b) > 0 || err != nil && !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
		t.Errorf("another user gets %q, %v", b, err)
	}
	if p := g.Process(); len(p.Experiments) != 1 || p.Experiments[0].State != Running {
		t.Errorf("%+v", p)
	}
}

// TestOtherNamespace holds that root finds a run whose process is in another
// network namespace, and that its socket is no longer there when it has ended.
func TestOtherNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it takes root to enter another namespace")
	}
	g := NewRegistry("inject", nil)
	var l *net.UnixListener
	ns, err := netns.New(func() (err error) { l, err = g.Listen(); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	go g.Serve(t.Context(), l)
	path := "/proc/self/fd/" + strconv.Itoa(int(ns.Fd()))
	if _, err := ask(t.Context(), socketName+g.ID(), ""); err == nil {
		t.Error("it is found in this namespace")
	}
	f, err := ask(t.Context(), socketName+g.ID(), path)
	if err != nil || f.ID != g.ID() || f.Pid != os.Getpid() {
		t.Errorf("%+v, %v", f, err)
	}
	f.Client.http.CloseIdleConnections()
	l.Close()
	if _, err := ask(t.Context(), socketName+g.ID(), path); err == nil {
		t.Error("it is still there")
	}
}
