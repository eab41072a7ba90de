package cli

import (
	"errors"
	"net"
	"os"
	"strconv"
)

// firstActivated is the descriptor of the first socket that systemd hands over.
const firstActivated = 3

// activated are the sockets that systemd listened on before it started this process,
// whose descriptors begin with first (sd_listen_fds(3)). Only unix sockets are taken:
// their mode says who may use them, whereas an address needs a token.
func activated(first int) (all []net.Listener, err error) {
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	for fd := first; fd < first+n; fd++ {
		f := os.NewFile(uintptr(fd), "socket of systemd")
		l, bad := net.FileListener(f) // a duplicate
		f.Close()
		if _, is := l.(*net.UnixListener); bad == nil && !is {
			l.Close()
			bad = errors.New("ListenStream= must be a path: only --listen has a token")
		}
		if err = errors.Join(err, bad); bad == nil {
			all = append(all, l)
		}
	}
	return all, err
}
