package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Found is the socket of a process that answers.
type Found struct {
	Process
	Client *Client
	UID    int // of its user
	Pid    int // its process ID as it is seen here; 0: it is in a PID namespace that is not
}

// Find finds the processes that the caller may control: those of the same user, or
// all if the caller is root. Abstract sockets belong to a network namespace; root
// looks into every one that a process lives in, others into their own only. hidden
// is how many sockets there are in namespaces that the caller cannot enter.
func Find(ctx context.Context) (found []*Found, hidden int, err error) {
	spaces, err := namespaces()
	if err != nil {
		return nil, 0, err
	}
	seen := map[string]bool{}
	for _, s := range spaces {
		for _, name := range socketsOf(s.unix) {
			if seen[name] {
				continue
			}
			seen[name] = true
			f, err := ask(ctx, name, s.netns)
			switch {
			case err == nil:
				found = append(found, f)
			case errors.Is(err, errForeign):
			case s.netns != "":
				hidden++
			}
		}
	}
	slices.SortFunc(found, func(a, b *Found) int { return a.Started.Compare(b.Started) })
	return found, hidden, nil
}

// space is a network namespace as a process in it shows it.
type space struct {
	unix  string // its list of unix sockets
	netns string // its file; empty: it is the caller's own
}

// namespaces lists the caller's network namespace and those of the processes that
// it can see.
func namespaces() ([]space, error) {
	all := []space{{unix: "/proc/thread-self/net/unix"}}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("find the network namespace of this process: %w", err)
	}
	seen := map[string]bool{own: true}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range procs {
		id, err := os.Readlink(dir + "/ns/net")
		if err == nil && !seen[id] {
			seen[id] = true
			all = append(all, space{dir + "/net/unix", dir + "/ns/net"})
		}
	}
	return all, nil
}

// socketsOf lists the names of control sockets on which somebody listens, from a
// list as /proc/net/unix has it.
func socketsOf(list string) (names []string) {
	const acceptsConnections = 1 << 16 // __SO_ACCEPTCON of linux/net.h
	f, err := os.Open(list)
	if err != nil {
		return nil
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		w := strings.Fields(lines.Text())
		if len(w) < 8 || !strings.HasPrefix(w[7], socketName) {
			continue
		}
		if flags, err := strconv.ParseUint(w[3], 16, 32); err == nil && flags&acceptsConnections != 0 {
			names = append(names, w[7])
		}
	}
	return names
}

// errForeign is the error of a socket of another user.
var errForeign = errors.New("the process belongs to another user")

// ask asks the process behind a socket what it is. netns is the network namespace
// of the socket.
func ask(ctx context.Context, name, netns string) (*Found, error) {
	f := &Found{}
	dial := func(as int) func(context.Context) (net.Conn, error) {
		return func(context.Context) (net.Conn, error) {
			c, err := connect(name, netns, as)
			if err != nil {
				return nil, err
			}
			peer, err := peerOf(c)
			if err != nil || peer.UID != os.Geteuid() && os.Geteuid() != 0 {
				c.Close()
				return nil, errForeign // whoever has the name may be anybody
			}
			f.UID, f.Pid = peer.UID, peer.PID
			return c, nil
		}
	}
	f.Client = newClient(dial(-1))
	p, err := f.Client.Process(ctx)
	if err != nil && os.Geteuid() == 0 && f.UID != 0 && ctx.Err() == nil {
		// In a user namespace of its own it knows no root but its own.
		f.Client = newClient(dial(f.UID))
		p, err = f.Client.Process(ctx)
	}
	f.Process = p
	return f, err
}

// connect connects to an abstract socket in a network namespace, as a user, if that
// is not negative. It does both on a thread that is thrown away.
func connect(name, netns string, as int) (*net.UnixConn, error) {
	type result struct {
		c   *net.UnixConn
		err error
	}
	done := make(chan result, 1)
	go func() {
		if netns != "" || as >= 0 {
			runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		}
		c, err := func() (*net.UnixConn, error) {
			if netns != "" {
				fd, err := os.Open(netns)
				if err != nil {
					return nil, err
				}
				defer fd.Close()
				if err := unix.Setns(int(fd.Fd()), unix.CLONE_NEWNET); err != nil {
					return nil, fmt.Errorf("enter the network namespace: %w", err)
				}
			}
			if as >= 0 { // of this thread only, unlike syscall.Setresuid
				if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(as), ^uintptr(0)); errno != 0 {
					return nil, fmt.Errorf("become user %d: %w", as, errno)
				}
			}
			return net.DialUnix("unix", nil, &net.UnixAddr{Name: name, Net: "unix"})
		}()
		done <- result{c, err}
	}()
	r := <-done
	return r.c, r.err
}
