package place

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Socket is a TCP connection of this host, as /proc/net/tcp lists it.
type Socket struct {
	Local, Remote netip.AddrPort
	Inode         string
	UID           uint32 // of its process
}

// Sockets reads the established connections of a network namespace. dir is
// the net directory of a process in it.
func Sockets(dir string) ([]Socket, error) { return sockets(dir, established) }

// The states of a socket, as /proc/net/tcp has them (include/net/tcp_states.h).
const (
	established = "01"
	timeWait    = "06"
)

func sockets(dir string, states ...string) ([]Socket, error) {
	var all []Socket
	var failed error
	for _, name := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			if name == "tcp" { // a kernel without IPv6 has no tcp6
				failed = fmt.Errorf("list the connections: %w", plain(err))
			}
			continue
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if s, ok := parseSocket(lines.Text(), states); ok {
				all = append(all, s)
			}
		}
		f.Close()
	}
	return all, failed
}

// parseSocket reads a line of /proc/net/tcp, and reports false for a title or
// for a socket in none of the states.
func parseSocket(line string, states []string) (Socket, bool) {
	w := strings.Fields(line)
	if len(w) < 10 || !slices.Contains(states, w[3]) {
		return Socket{}, false
	}
	local, err1 := parseProcAddr(w[1])
	remote, err2 := parseProcAddr(w[2])
	uid, err3 := strconv.ParseUint(w[7], 10, 32)
	return Socket{local, remote, w[9], uint32(uid)}, err1 == nil && err2 == nil && err3 == nil
}

// parseProcAddr reads an address of /proc/net/tcp: 32-bit words in the host's
// byte order, in hex, and the port.
func parseProcAddr(s string) (netip.AddrPort, error) {
	addr, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(addr)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", s)
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a, _ := netip.AddrFromSlice(b)
	n, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), err
}
