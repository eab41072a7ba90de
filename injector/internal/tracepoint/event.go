package tracepoint

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is the kind of an Event.
type Kind uint8

// The kinds.
const (
	ReceivedReset Kind = iota // a socket received a RST, which closes it
	ErrorReported             // a socket that a program has open got an error
	CallFailed                // a call that receives or sends failed
	SentReset                 // a RST is sent, by a socket or by none
	Dropped                   // a packet was dropped for a reason that matters to TCP
	numKinds
)

func (k Kind) String() string {
	return [...]string{"received a RST", "error reported", "call failed", "sent a RST", "dropped a packet"}[min(k, Dropped)]
}

// Event is something that the kernel tells.
type Event struct {
	Kind          Kind
	At            time.Duration // CLOCK_MONOTONIC
	PID           uint32        // of the running thread; with CallFailed, the one that made the call; with SentReset, the one that closed, if a call did it
	Local, Remote netip.AddrPort
	Cookie        uint64     // of the socket, as sock_diag tells it; 0 if it is not told
	Sock          uint64     // the address of the socket in the kernel, the same for all its events; 0 if it is not told
	Errno         unix.Errno // the error
	Reason        string     // of SentReset and Dropped, the kernel's word (enum sk_rst_reason, enum skb_drop_reason); empty if it is not told
}

// event reads a sample: pid, tid, time, size of the raw data, raw data.
func (s *Source) event(b []byte) (ev Event, ok bool) {
	if len(b) < 20 {
		return Event{}, false
	}
	ev.PID = binary.NativeEndian.Uint32(b)
	ev.At = time.Duration(binary.NativeEndian.Uint64(b[8:]))
	raw := b[20:]
	if n := int(binary.NativeEndian.Uint32(b[16:])); n <= len(raw) {
		raw = raw[:n]
	}
	if len(raw) < 2 {
		return Event{}, false
	}
	id := uint64(binary.NativeEndian.Uint16(raw)) // common_type
	for i := range s.points {
		if p := &s.points[i]; p.id == id {
			p.fill(&ev, raw)
			return ev, true
		}
	}
	return Event{}, false
}

func (p *point) fill(ev *Event, raw []byte) {
	ev.Kind = p.kind
	family := p.num(raw, "family")
	ends := func(addr, addr6, port string) netip.AddrPort {
		if f := p.fields[addr]; f.size == sockaddrSize {
			return sockaddr(raw, f.offset)
		}
		name := addr
		if family == unix.AF_INET6 {
			name = addr6
		}
		f, ok := p.fields[name]
		if !ok || f.offset+f.size > len(raw) {
			return netip.AddrPort{}
		}
		a, _ := netip.AddrFromSlice(raw[f.offset : f.offset+f.size])
		return netip.AddrPortFrom(a.Unmap(), uint16(p.num(raw, port)))
	}
	ev.Local, ev.Remote = ends("saddr", "saddr_v6", "sport"), ends("daddr", "daddr_v6", "dport")
	ev.Cookie = p.num(raw, "sock_cookie")
	ev.Sock = p.num(raw, "skaddr") | p.num(raw, "sk")
	if p.reasons != nil {
		ev.Reason = p.reasons[p.num(raw, "reason")]
	}
	if e := int32(p.num(raw, "ret")); e < 0 {
		ev.Errno = unix.Errno(-e)
	} else {
		ev.Errno = unix.Errno(p.num(raw, "error"))
	}
}

const sockaddrSize = 28 // struct sockaddr_in6

// sockaddr reads a struct sockaddr_in or sockaddr_in6.
func sockaddr(raw []byte, at int) netip.AddrPort {
	if at+sockaddrSize > len(raw) {
		return netip.AddrPort{}
	}
	b := raw[at:]
	addr := b[4:8]
	switch binary.NativeEndian.Uint16(b) {
	case unix.AF_INET:
	case unix.AF_INET6:
		addr = b[8:24]
	default:
		return netip.AddrPort{}
	}
	a, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(b[2:]))
}

// num reads a field. It is 0 if this kernel has no field of that name.
func (p *point) num(raw []byte, name string) uint64 {
	f, ok := p.fields[name]
	if !ok || f.offset+f.size > len(raw) {
		return 0
	}
	switch b := raw[f.offset:]; f.size {
	case 2:
		return uint64(binary.NativeEndian.Uint16(b))
	case 4:
		return uint64(binary.NativeEndian.Uint32(b))
	case 8:
		return binary.NativeEndian.Uint64(b)
	}
	return 0
}
