package fidelity

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// forgedCauses are segments with wrong sequence numbers. Such a segment is always
// forged; in the genuine lane by a raw socket on the device. The client's kernel
// answers it and counts it.
var forgedCauses = []cause{
	wrongNumbers("rst-in-window", "a RST inside the window, but not at its start", "TCPChallengeACK",
		func(f *packet.Fields) string { f.Flags, f.Seq = packet.RST|packet.ACK, f.Seq.Add(10); return "" },
		"S>C [R.] seq=15 ack=1 len=0 TS id=+1", challengeACK),
	wrongNumbers("rst-old", "a RST from before the window", "",
		func(f *packet.Fields) string {
			f.Flags, f.Seq = packet.RST|packet.ACK, f.Seq.Add(^uint32(0))
			return ""
		},
		"S>C [R.] seq=4 ack=1 len=0 TS id=+1"),
	wrongNumbers("rst-beyond", "a RST from beyond the window", "",
		func(f *packet.Fields) string { f.Flags, f.Seq = packet.RST|packet.ACK, f.Seq.Add(1<<29); return "" },
		"S>C [R.] len=0 TS id=+1"),
	wrongNumbers("syn", "a SYN in the middle of the connection", "TCPSYNChallenge",
		func(f *packet.Fields) string { f.Flags, f.Seq, f.Ack = packet.SYN, f.Seq.Add(10), 0; return "" },
		"S>C [S] seq=15 len=0 TS id=+1", challengeACK),
	wrongNumbers("old-data", "a byte that was already received", "",
		func(f *packet.Fields) string { f.Seq = f.Seq.Add(^uint32(0)); return "\x00" },
		"S>C [.] seq=4 ack=1 len=1 TS id=+1", challengeACK+" sack"),
	wrongNumbers("old-ack", "an acknowledgment that is far too old", "TCPChallengeACK",
		func(f *packet.Fields) string { f.Ack = f.Ack.Add(^uint32(1 << 29)); return "" },
		"S>C [.] seq=5 len=0 TS id=+1", challengeACK),
	wrongNumbers("old-ts", "data with a timestamp that is far too old", "PAWSEstab",
		func(f *packet.Fields) string {
			val, ecr, _ := f.Timestamps()
			f.SetTimestamps(val-1<<20, ecr)
			return "\x00"
		},
		"S>C [.] seq=5 ack=1 len=1 TS id=+1", challengeACK),
}

// forged marks what the device sends in another host's name.
const forged = 0xf0

// challengeACK is TCP's answer to a segment that it does not accept (RFC 5961): it
// acknowledges again what it has received.
const challengeACK = "C>S [.] seq=1 ack=5 len=0 (again)"

// wrongNumbers is a forger on the path that sends a modified copy of the segment
// that the server would send next. The connection survives.
func wrongNumbers(kind, what, counter string, forge func(*packet.Fields) (payload string), shows ...string) cause {
	then := []string{`recv() = pong`}
	for _, segment := range shows {
		segment = strings.TrimSuffix(segment, " id=+1")
		then = append(then, segment)
		if strings.HasPrefix(segment, "C>S") {
			then = append(then, "server: "+segment)
		}
	}
	return cause{
		name: "bad-seq, " + kind, fault: "bad-seq:kind=" + kind, watch: faults.Both, stranger: true,
		genuine: "the server sends first, and then a raw socket on the router sends the client " + what,
		counts:  counter, counted: faults.Client,
		before: func(p *play) {
			p.open()
			p.server.Send("pong")
			p.await(func(l line) bool { return fits(l, "C>S [.] seq=1 ack=5", p.v6) })
		},
		act: func(p *play) {
			f := p.next()
			payload := forge(&f)
			p.must(p.raw(p.path, f.Append(nil, []byte(payload)), forged))
		},
		then: append(then, `send("hello") = 5`, `server: recv() = hello`, "quiet"),
		shows: slices.Concat([]string{"S>C [P.] seq=1 ack=1 len=4", "C>S [.] seq=1 ack=5"}, shows,
			[]string{"C>S [P.] seq=1 ack=5 len=5", "S>C [.] seq=5 ack=6"}),
	}
}

// next returns a segment without data as the server would send it next, as far as
// the client can tell.
func (p *play) next() packet.Fields {
	p.t.Helper()
	var last, sent lab.Captured
	for _, s := range p.stack(p.ends[faults.Client]) {
		*pick(s.Out, &sent, &last) = s
	}
	f := packet.FieldsOf(last.Segment)
	f.Flags, f.Seq, f.ID = packet.ACK, last.End(), last.ID()+1
	val, _, _ := last.Timestamps()
	echo, _, _ := sent.Timestamps()
	f.SetTimestamps(val, echo)
	return f
}

// raw sends a packet from a host. A mark other than 0 says that the device sends
// it, so stack captures do not record it as sent by the host's own TCP.
func (p *play) raw(from *lab.Node, pkt []byte, mark int) error {
	seg, err := packet.Parse(pkt)
	if err != nil {
		return err
	}
	af, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: seg.Dst().As16()})
	if !p.v6 {
		af, to = unix.AF_INET, &unix.SockaddrInet4{Addr: seg.Dst().As4()}
	}
	own, _, err := injector.Sign(from.NS)
	if err != nil {
		return err
	}
	return from.Do(func() error {
		fd, err := unix.Socket(af, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return fmt.Errorf("open a raw socket: %w", err)
		}
		defer unix.Close(fd)
		if mark != 0 {
			err = errors.Join(
				unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark),
				unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, int(own)),
			)
		}
		return errors.Join(err, unix.Sendto(fd, pkt, 0, to))
	})
}
