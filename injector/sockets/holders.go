package sockets

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/injector/internal/sockdiag"
)

// Process is who holds a socket.
type Process struct {
	PID    int
	Name   string // as ps shows it
	Cgroup string // its cgroup v2, from the root of the hierarchy on; empty: not known
}

// String is the process for a column.
func (p Process) String() string {
	s := p.Name + " (" + strconv.Itoa(p.PID) + ")"
	if p.Cgroup != "" && p.Cgroup != "/" {
		s += " in " + p.Cgroup
	}
	return s
}

// Holders knows which processes hold the sockets of this network namespace. It looks
// now and then: of a connection that was opened and closed in between nothing is known.
// Its methods are for one goroutine.
type Holders struct {
	proc   string // where /proc is
	diag   *sockdiag.Conn
	next   time.Time
	of     map[[2]netip.AddrPort]int // which process has the socket with these ends
	before map[[2]netip.AddrPort]int // at the look before
	known  map[int]Process
	hidden int // processes whose descriptors may not be read
}

// Looking may take this share of the time, and happens this often at most.
const (
	share    = 100
	leastGap = time.Second
)

// FindHolders opens a Holders of the calling thread's network namespace. proc is where
// /proc is. It needs no privilege, but tells only of processes that this one may ask
// after: see Hidden.
func FindHolders(proc string) (*Holders, error) {
	d, err := sockdiag.Open(nil)
	if err != nil {
		return nil, err
	}
	return &Holders{proc: proc, diag: d, known: map[int]Process{}}, nil
}

// Look looks anew, if it is time: it takes one hundredth of the time.
func (h *Holders) Look(now time.Time) error {
	if now.Before(h.next) {
		return nil
	}
	begun := time.Now()
	h.before, h.of, h.hidden = h.of, map[[2]netip.AddrPort]int{}, 0
	open := map[uint32][2]netip.AddrPort{} // sockets by their inode
	err := h.diag.Dump(func(local, remote netip.AddrPort, s sockdiag.Socket) {
		if s.Inode != 0 {
			open[s.Inode] = [2]netip.AddrPort{local, remote}
		}
	})
	if len(open) > 0 {
		h.descriptors(open)
	}
	h.next = now.Add(max(leastGap, share*time.Since(begun)))
	return err
}

// descriptors finds the processes that have sockets open.
func (h *Holders) descriptors(open map[uint32][2]netip.AddrPort) {
	dirs, err := os.ReadDir(h.proc)
	if err != nil {
		return
	}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		fds, err := os.ReadDir(filepath.Join(h.proc, d.Name(), "fd"))
		if err != nil {
			if os.IsPermission(err) {
				h.hidden++
			}
			continue
		}
		for _, fd := range fds {
			name, err := os.Readlink(filepath.Join(h.proc, d.Name(), "fd", fd.Name()))
			rest, ok := strings.CutPrefix(name, "socket:[")
			if err != nil || !ok {
				continue
			}
			inode, err := strconv.ParseUint(strings.TrimSuffix(rest, "]"), 10, 32)
			if ends, is := open[uint32(inode)]; err == nil && is {
				h.of[ends] = pid
				h.Named(pid) // while it lives
			}
		}
	}
}

// Of says which process held the socket with these ends at the last look, or at the one
// before.
func (h *Holders) Of(local, remote netip.AddrPort) (Process, bool) {
	key := [2]netip.AddrPort{local, remote}
	pid, ok := h.of[key]
	if !ok {
		pid = h.before[key]
	}
	return h.Named(pid)
}

// Named says which process has that number: what was found first is kept.
func (h *Holders) Named(pid int) (Process, bool) {
	if pid == 0 {
		return Process{}, false
	}
	if p, ok := h.known[pid]; ok {
		return p, true
	}
	name, err := os.ReadFile(filepath.Join(h.proc, strconv.Itoa(pid), "comm"))
	if err != nil {
		return Process{}, false
	}
	const most = 10_000
	if len(h.known) >= most {
		clear(h.known)
	}
	p := Process{PID: pid, Name: strings.TrimSpace(string(name))}
	if b, err := os.ReadFile(filepath.Join(h.proc, strconv.Itoa(pid), "cgroup")); err == nil {
		for line := range strings.Lines(string(b)) {
			if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
				p.Cgroup = path
			}
		}
	}
	h.known[pid] = p
	return p, true
}

// Hidden is how many processes could not be asked which sockets they have, at the last
// look: those of other users without CAP_SYS_PTRACE.
func (h *Holders) Hidden() int { return h.hidden }

// Close closes it.
func (h *Holders) Close() error { return h.diag.Close() }
