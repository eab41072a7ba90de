package cli

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/injector"
)

// protected lists the connections that must never be touched: the SSH
// connection that faultctl is run over, and the established connections of its
// ancestors. With a target, ancestors within faultctl's own session do not
// count: a test program that runs faultctl wants its own connections struck,
// while sshd, a container's or CI's agent sit in sessions of their own.
func (h *host) protected(untargeted bool) []injector.Tuple {
	var found []injector.Tuple
	if t, ok := sshConnection(h.getenv("SSH_CONNECTION")); ok {
		found = append(found, t)
	}
	owned := map[string]socket{}
	all, _ := sockets(filepath.Join(h.proc, "self", "net"))
	for _, s := range all {
		owned[s.inode] = s
	}
	pid, session := h.lineage("self")
	for seen := 0; pid > 0 && seen < 100; seen++ {
		parent, itsSession := h.lineage(strconv.Itoa(pid))
		if untargeted || itsSession != session {
			for _, inode := range h.socketsOf(pid) {
				if s, ok := owned[inode]; ok && !isProtected(found, s) {
					found = append(found, injector.Tuple{A: s.local, B: s.remote})
				}
			}
		}
		pid = parent
	}
	return found
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
	n, err2 := parsePort(port)
	return netip.AddrPortFrom(a.Unmap().WithZone(""), n), errors.Join(err1, err2)
}

// lineage returns the parent and the session of a process, 0 if it is gone.
func (h *host) lineage(pid string) (parent, session int) {
	stat, err := os.ReadFile(filepath.Join(h.proc, pid, "stat"))
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

// socketsOf lists the inodes of the sockets of a process, as far as the user
// may see them.
func (h *host) socketsOf(pid int) []string {
	dir := filepath.Join(h.proc, strconv.Itoa(pid), "fd")
	entries, _ := os.ReadDir(dir)
	var inodes []string
	for _, e := range entries {
		link, err := os.Readlink(filepath.Join(dir, e.Name()))
		if rest, ok := strings.CutPrefix(link, "socket:["); err == nil && ok {
			inodes = append(inodes, strings.TrimSuffix(rest, "]"))
		}
	}
	return inodes
}

// refuseProtected reports a target that names exactly one of the connections.
func refuseProtected(m injector.Matcher, protected []injector.Tuple) error {
	for _, t := range protected {
		if namesExactly(m, t) {
			return refused("the target is the connection that faultctl itself depends on, %v to %v, which is protected", t.A, t.B).
				hint("Striking it would cut you off. Leave it out, or run faultctl from the console, or over another connection.")
		}
	}
	return nil
}

// namesExactly reports whether one --to is one end of the connection, and one
// --from the other: an address with one port, and an address.
func namesExactly(m injector.Matcher, t injector.Tuple) bool {
	for _, ends := range [][2]netip.AddrPort{{t.A, t.B}, {t.B, t.A}} {
		for _, to := range m.To {
			if !to.Prefix.IsSingleIP() || to.LowPort == 0 || to.LowPort != to.HiPort || !to.Contains(ends[0]) {
				continue
			}
			for _, from := range m.From {
				if from.IsSingleIP() && from.Contains(ends[1].Addr()) {
					return true
				}
			}
		}
	}
	return false
}

func isProtected(ts []injector.Tuple, s socket) bool {
	for _, t := range ts {
		if t.A == s.local && t.B == s.remote || t.B == s.local && t.A == s.remote {
			return true
		}
	}
	return false
}
