package tap

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/injector/sockets"
)

// host is what this host's kernel knows beyond the packets. Each of its parts may be
// missing, for lack of rights or because the kernel is too old.
type host struct {
	proc    string
	resets  *sockets.Resets
	told    sockets.Told
	holders *sockets.Holders
	before  sockets.Counters // when listening began; nil: they cannot be read
	missing []string         // what cannot be seen, in words
	waiting []waiting        // what the kernel told of connections of which no packet was seen yet
}

// waiting is a reset that the kernel told of at that time.
type waiting struct {
	sockets.Reset
	at time.Time
}

// patience is how long a reset waits for the packets of its connection, which come
// another way.
const patience = time.Second

func (h *host) open(proc string) {
	h.proc = proc
	var err error
	if h.resets, err = sockets.ListenResets(); err != nil {
		h.missing = append(h.missing, fmt.Sprintf("the kernel's reasons for resets and drops could not be seen, which takes root, or CAP_PERFMON and a tracefs that can be read: %v", err))
	} else if words := h.resets.Missing(); len(words) > 0 {
		slices.Sort(words)
		h.missing = append(h.missing, "this kernel does not tell "+strings.Join(words, ", "))
	}
	if h.holders, err = sockets.FindHolders(proc); err != nil {
		h.missing = append(h.missing, fmt.Sprintf("the processes of connections could not be seen: %v", err))
	}
	if h.before, err = sockets.ReadCounters(proc); err != nil {
		h.missing = append(h.missing, fmt.Sprintf("the kernel's counters could not be read: %v", err))
	}
}

func (h *host) close() {
	if h.resets != nil {
		h.resets.Close()
	}
	if h.holders != nil {
		h.holders.Close()
	}
}

// ask reads what the kernel has told meanwhile, and tells the table.
func (h *host) ask(now time.Time, table *explain.Table) {
	if h.holders != nil {
		h.holders.Look(now) // what it cannot tell is not known
	}
	if h.resets == nil {
		return
	}
	h.resets.Read(func(r sockets.Reset) {
		if r.Sent && r.OfSocket {
			h.waiting = append(h.waiting, waiting{r, now})
			if h.holders != nil {
				h.holders.Named(r.PID) // while it lives
			}
		}
	})
	h.waiting = slices.DeleteFunc(h.waiting, func(w waiting) bool {
		if table.Told(w.Local, w.Remote, clueOf(w.Reason)) {
			h.told.Add(now, w.Reset)
			return true
		}
		return now.Sub(w.at) > patience
	})
}

// clueOf is what the kernel's word for a reason means. Before Linux 6.10 there is none.
func clueOf(reason string) clue.Clue {
	switch reason {
	case "TCP_ABORT_ON_CLOSE":
		return clue.KernelUnread
	case "TCP_STATE", "TCP_DISCONNECT_WITH_DATA":
		return clue.KernelAborted
	}
	return clue.Count // it tells no cause from another
}

// complete adds to a finding what the host knows of the connection.
func (h *host) complete(f *explain.Finding) {
	local, remote, process := f.Server, f.Client, &f.ServerProcess
	if f.Facts.Author == faults.Original {
		local, remote, process = f.Client, f.Server, &f.ClientProcess
	}
	if r, ok := h.told.Take(local, remote); ok {
		f.Reason = r.Reason
		if clueOf(r.Reason) != clue.Count && h.holders != nil { // a call brought it about, not a timer
			if p, ok := h.holders.Named(r.PID); ok && r.PID != 0 {
				*process = p.String()
			}
		}
	}
	if h.holders == nil {
		return
	}
	held := func(local, remote netip.AddrPort) string {
		if p, ok := h.holders.Of(local, remote); ok {
			return p.String()
		}
		return ""
	}
	f.ClientProcess = cmp.Or(f.ClientProcess, held(f.Client, f.Server))
	f.ServerProcess = cmp.Or(f.ServerProcess, held(f.Server, f.Client))
}

// unseen says what could not be seen.
func (h *host) unseen() []string {
	out := slices.Clone(h.missing)
	if h.holders != nil && h.holders.Hidden() > 0 {
		out = append(out, fmt.Sprintf("the sockets of %d processes could not be seen, which takes CAP_SYS_PTRACE, or root: which process held a connection may be missing", h.holders.Hidden()))
	}
	if h.resets != nil && h.resets.Lost() > 0 {
		out = append(out, fmt.Sprintf("%d events of the kernel came too fast to be read: its reasons may be missing", h.resets.Lost()))
	}
	return out
}

// counted says what the kernel counted while the tap listened.
func (h *host) counted() (out []string) {
	if h.before != nil {
		if now, err := sockets.ReadCounters(h.proc); err == nil {
			out = now.Since(h.before)
		}
	}
	if h.resets == nil {
		return out
	}
	drops := h.resets.Drops()
	for _, reason := range slices.Sorted(maps.Keys(drops)) {
		out = append(out, fmt.Sprintf("%d packets were dropped on this host: %s", drops[reason], reason))
	}
	return out
}
