package place

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/injector/target"
)

// Protected lists the connections that must never be touched: the SSH
// connection that faultctl is run over, and the established connections of its
// ancestors. With a target, ancestors within faultctl's own session do not
// count: a test program that runs faultctl wants its own connections struck,
// while sshd, a container's or CI's agent sit in sessions of their own.
func (h *Host) Protected(untargeted bool) []target.Conn {
	var found []target.Conn
	all, _ := Sockets(filepath.Join(h.Proc, "self", "net"))
	if t, ok := sshConnection(h.Getenv("SSH_CONNECTION")); ok {
		found = append(found, t)
		if !slices.ContainsFunc(all, func(s Socket) bool { return Protects(found, s) }) {
			// It is gone: the shell is one of tmux or screen that was attached again. The
			// connection that it is used over now is one of those to the same server.
			for _, s := range all {
				if s.Local.Port() == t.B.Port() {
					found = append(found, target.Conn{A: s.Local, B: s.Remote})
				}
			}
		}
	}
	owned := map[string]Socket{}
	for _, s := range all {
		owned[s.Inode] = s
	}
	pid, session := h.lineage("self")
	for seen := 0; pid > 0 && seen < 100; seen++ {
		parent, itsSession := h.lineage(strconv.Itoa(pid))
		if untargeted || itsSession != session {
			for _, inode := range h.SocketsOf(pid) {
				if s, ok := owned[inode]; ok && !Protects(found, s) {
					found = append(found, target.Conn{A: s.Local, B: s.Remote})
				}
			}
		}
		pid = parent
	}
	return found
}

// sshConnection reads SSH_CONNECTION: client address and port, server address
// and port.
func sshConnection(s string) (target.Conn, bool) {
	w := strings.Fields(s)
	if len(w) != 4 {
		return target.Conn{}, false
	}
	a, err1 := joinAddrPort(w[0], w[1])
	b, err2 := joinAddrPort(w[2], w[3])
	return target.Conn{A: a, B: b}, errors.Join(err1, err2) == nil
}

func joinAddrPort(addr, port string) (netip.AddrPort, error) {
	a, err1 := netip.ParseAddr(addr)
	n, err2 := target.ParsePort(port)
	return netip.AddrPortFrom(a.Unmap().WithZone(""), n), errors.Join(err1, err2)
}

// lineage returns the parent and the session of a process; 0 if it has ended.
func (h *Host) lineage(pid string) (parent, session int) {
	stat, err := os.ReadFile(filepath.Join(h.Proc, pid, "stat"))
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

// SocketsOf lists the inodes of the sockets of a process, as far as the user
// may see them.
func (h *Host) SocketsOf(pid int) []string {
	dir := filepath.Join(h.Proc, strconv.Itoa(pid), "fd")
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

// Protects reports whether one of the connections is that of a socket.
func Protects(ts []target.Conn, s Socket) bool {
	for _, t := range ts {
		if t.A == s.Local && t.B == s.Remote || t.B == s.Local && t.A == s.Remote {
			return true
		}
	}
	return false
}
