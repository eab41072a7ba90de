package control

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"golang.org/x/sys/unix"
)

// socketName begins the names of the abstract sockets. What follows is random: a
// process ID would not do, because two containers in one network namespace both
// have a process 1.
const socketName = "@faultctl/"

// newID is a name that no other process has: ten letters and digits, of which the
// first is a letter, so that it cannot be taken for a process ID.
func newID() string {
	text := strings.ToLower(rand.Text())
	return string('a'+text[0]%26) + text[1:8]
}

// Listen makes the socket of the process, in the network namespace of the calling
// thread. Only the user who made it and root can use it, see [Serve].
func (g *Registry) Listen() (*net.UnixListener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Name: socketName + g.id, Net: "unix"})
}

// Serve answers on a listener of [Registry.Listen] until ctx is done. Connections
// of other users are closed before anything is read from them: the peer's user,
// which the kernel says (SO_PEERCRED, unix(7)), must be the one that this process had
// when it called Serve, or root.
func (g *Registry) Serve(ctx context.Context, l *net.UnixListener) error {
	return ServeOn(ctx, &peerListener{l, allowed()}, g.Handler())
}

// ServeOn answers on a listener until ctx is done, in HTTP/1.1 and in HTTP/2 without
// TLS, in which one connection carries any number of requests and streams. Streams end
// then; other requests have a second to be answered. A caller's process is known on unix sockets.
func ServeOn(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 1 << 16,
		ConnContext: connContext, BaseContext: func(net.Listener) context.Context { return ctx }, Protocols: new(http.Protocols),
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		short, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		srv.Shutdown(short)
		srv.Close()
	})
	err := srv.Serve(l)
	if !stop() {
		<-closed
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// connContext has the requests of a unix socket know who makes them. It is an
// http.Server's.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if p, is := c.(*peerConn); is {
		return WithActor(ctx, p.peer)
	}
	if u, is := c.(*net.UnixConn); is {
		if peer, err := peerOf(u); err == nil {
			return WithActor(ctx, peer)
		}
	}
	return ctx
}

// peerListener accepts the connections of users who are allowed to.
type peerListener struct {
	*net.UnixListener
	allowed func(uid int) bool
}

type peerConn struct {
	net.Conn
	peer event.Actor
}

func (l *peerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		peer, err := peerOf(c)
		if err == nil && l.allowed(peer.UID) {
			return &peerConn{c, peer}, nil
		}
		c.Close()
	}
}

// peerOf is the process at the other end of a connection, as it was when it
// connected or began to listen.
func peerOf(c *net.UnixConn) (a event.Actor, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return a, err
	}
	var cred *unix.Ucred
	if failed := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); failed != nil {
		return a, failed
	}
	if err != nil {
		return a, err
	}
	return event.Actor{UID: int(cred.Uid), PID: int(cred.Pid)}, nil
}

// overflowUID is what the kernel says instead of a user who does not exist in this
// user namespace (user_namespaces(7)): anybody outside of it.
const overflowUID = 65534

// allowed decides by user who may control this process: the user that it runs as
// now, and root. In a user namespace of its own all users of the host but this one
// look alike, so that one of the same number as those is nobody.
func allowed() func(uid int) bool {
	own, initial := os.Geteuid(), true
	if text, err := os.ReadFile("/proc/self/uid_map"); err == nil {
		f := strings.Fields(string(text))
		initial = len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295"
	}
	return func(uid int) bool {
		if uid == overflowUID && !initial {
			return false
		}
		return uid == own || uid == 0
	}
}
