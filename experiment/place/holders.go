package place

import (
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Holder is who has connections of this host.
type Holder struct {
	PID   int    // 0: it is not known which process
	Name  string // of the process, or else of its user
	Conns int
}

// Holding is who has connections of some kind on this host.
type Holding struct {
	Holders []Holder // those with the most connections first
	Closed  int      // connections that were closed in the last minute (TIME_WAIT)
}

// Any reports whether anybody has or had any.
func (h Holding) Any() bool { return len(h.Holders) > 0 || h.Closed > 0 }

// HoldersOf finds out which processes of a network namespace hold connections that match,
// by the client's end and the server's. dir is the net directory of a process in it, of
// which only the clients are looked at. A process is named if this user may look into it,
// or if it was named in before.
func (h *Host) HoldersOf(dir string, matches func(client, server netip.AddrPort) bool, before Owners) (now Holding, owners Owners) {
	all, _ := sockets(dir, established, timeWait)
	var held []Socket
	for _, s := range all {
		switch {
		case s.Inode != "0" && matches(s.Local, s.Remote):
			held = append(held, s)
		case s.Inode == "0" && (matches(s.Local, s.Remote) || matches(s.Remote, s.Local)):
			now.Closed++
		}
	}
	if len(held) == 0 {
		return now, nil
	}
	owners = h.owners(held)
	count := map[Holder]int{}
	for _, s := range held {
		who, known := owners[s.Inode]
		if !known {
			who, known = before[s.Inode]
		}
		if !known {
			who = Holder{Name: "user " + userName(s.UID)}
		}
		count[who]++
	}
	for who, n := range count {
		who.Conns = n
		now.Holders = append(now.Holders, who)
	}
	slices.SortFunc(now.Holders, func(a, b Holder) int {
		if a.Conns != b.Conns {
			return b.Conns - a.Conns
		}
		return a.PID - b.PID
	})
	return now, owners
}

// Owners are processes by the inodes of their sockets.
type Owners map[string]Holder

// owners finds the processes that have the sockets, as far as this user may look.
func (h *Host) owners(sockets []Socket) Owners {
	wanted := map[string]bool{}
	for _, s := range sockets {
		wanted[s.Inode] = true
	}
	found := Owners{}
	entries, _ := os.ReadDir(h.Proc)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		for _, inode := range h.SocketsOf(pid) {
			if _, known := found[inode]; wanted[inode] && !known {
				comm, _ := os.ReadFile(filepath.Join(h.Proc, e.Name(), "comm"))
				found[inode] = Holder{PID: pid, Name: strings.TrimSpace(string(comm))}
			}
		}
	}
	return found
}

// userName is the name of a user, or the number if it has none.
func userName(uid uint32) string {
	number := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(number); err == nil {
		return u.Username
	}
	return number
}
