package cli

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/injector"
	"github.com/urfave/cli/v2"
)

// protect takes down the connections that must never be touched: the one that
// faultctl is run over. That is SSH_CONNECTION, and whatever those ancestors
// hold that are outside of this session: sshd, or another daemon that started
// it. Ancestors within the session count only where no target is given: a test
// program that runs faultctl wants its own connections struck. A target that
// names exactly a protected connection is refused.
func (p *plan) protect(e *env, c *cli.Context) error {
	if t, ok := sshConnection(e.getenv("SSH_CONNECTION")); ok {
		p.cfg.Protect = append(p.cfg.Protect, t)
	}
	for _, t := range ancestorConnections(os.Getpid(), !p.named) {
		if len(p.cfg.Protect) < 64 {
			p.cfg.Protect = append(p.cfg.Protect, t)
		}
	}
	for _, r := range p.cfg.Rules {
		for _, t := range p.cfg.Protect {
			if exactly(r.Match, t) {
				return &exitError{exitRefused, fmt.Errorf("refused: the target is the connection that faultctl itself depends on (%s and %s), and cutting it would cut you off", t.A, t.B)}
			}
		}
	}
	return nil
}

// exactly reports whether the matcher is about one of the ends of the
// connection and nothing else: an address with one port, and only the other
// end's address, if any, for the client.
func exactly(m injector.Matcher, t injector.Tuple) bool {
	if len(m.To) != 1 {
		return false
	}
	to := m.To[0]
	if !to.Prefix.IsSingleIP() || to.LowPort != to.HiPort || to.LowPort == 0 || len(m.From) != 1 || !m.From[0].IsSingleIP() {
		return false
	}
	for _, ends := range [][2]netip.AddrPort{{t.A, t.B}, {t.B, t.A}} {
		if to.Contains(ends[0]) && m.From[0].Contains(ends[1].Addr()) {
			return true
		}
	}
	return false
}

// sshConnection reads SSH_CONNECTION: client address and port, server address
// and port.
func sshConnection(s string) (injector.Tuple, bool) {
	w := strings.Fields(s)
	if len(w) != 4 {
		return injector.Tuple{}, false
	}
	a, err1 := joinAddrPort(w[0], w[1])
	b, err2 := joinAddrPort(w[2], w[3])
	return injector.Tuple{A: a, B: b}, errors.Join(err1, err2) == nil
}

func joinAddrPort(addr, port string) (netip.AddrPort, error) {
	a, err1 := netip.ParseAddr(addr)
	n, err2 := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a.Unmap().WithZone(""), uint16(n)), errors.Join(err1, err2)
}

// ancestorConnections lists the established TCP connections of the ancestors
// of a process: of all of them, or of those in another session than its own.
func ancestorConnections(pid int, all bool) []injector.Tuple {
	var found []injector.Tuple
	byInode := connections("/proc/self/net")
	parent, session := lineage(pid)
	for own := session; parent > 1; {
		pid = parent
		parent, session = lineage(pid)
		if session == own && !all {
			continue
		}
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			target, err := os.Readlink(fd)
			if err != nil {
				continue
			}
			if c, ok := byInode[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")]; ok {
				found = append(found, injector.Tuple{A: c.local, B: c.remote})
			}
		}
	}
	return found
}

// lineage returns the parent and the session of a process, 0 if it is gone.
func lineage(pid int) (parent, session int) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	// pid (name) state ppid pgrp session …; the name may hold anything.
	w := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(w) < 4 {
		return 0, 0
	}
	parent, _ = strconv.Atoi(w[1])
	session, _ = strconv.Atoi(w[3])
	return parent, session
}

// connection is a line of /proc/net/tcp.
type connection struct{ local, remote netip.AddrPort }

// connections reads the established connections of a network namespace, keyed
// by the inode of their socket. dir is /proc/PID/net.
func connections(dir string) map[string]connection {
	const established = "01"
	found := map[string]connection{}
	for _, name := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			w := strings.Fields(lines.Text())
			if len(w) < 10 || w[3] != established {
				continue
			}
			local, err1 := procAddr(w[1])
			remote, err2 := procAddr(w[2])
			if err1 == nil && err2 == nil {
				found[w[9]] = connection{local, remote}
			}
		}
		f.Close()
	}
	return found
}

// procAddr reads an address of /proc/net/tcp: 32-bit words in the host's byte
// order, in hex, and the port.
func procAddr(s string) (netip.AddrPort, error) {
	addr, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(addr)
	if err != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", s)
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a, _ := netip.AddrFromSlice(b)
	n, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), err
}
