package integration

import (
	"testing"

	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// TestDiscards checks that a dead peer does not answer what no host answers: a
// segment whose checksum is wrong, one without ACK, SYN and RST, and one that is
// signed. A segment that it answers follows each of them.
func TestDiscards(t *testing.T) {
	everywhere(t, func(t *testing.T, w *testbed) {
		if w.at == atClient {
			t.Skip("no capture on a host shows what is dropped in its output")
		}
		w.inject("half-open:peer=rebooted")
		cap := w.capture()
		client, _ := w.open()
		says(t, "client", client.Send("hello"), client.Recv())("5", "ECONNRESET")

		var last packet.Fields
		answered := map[packet.Seq]bool{} // by the sequence number of the RST, which is what it answers acknowledges
		look := func(segs []lab.Captured) {
			for _, s := range segs {
				switch {
				case s.Flags().Has(packet.RST | packet.ACK):
					t.Fatalf("an answer to a segment without ACK: ack %d", s.Ack())
				case s.Flags().Has(packet.RST):
					answered[s.Seq()] = true
				case s.PayloadLen() == 5:
					last = packet.FieldsOf(s.Segment)
				}
			}
		}
		wait := func(ack packet.Seq) {
			if !cap.Wait(w.service.Port(), func(segs []lab.Captured) bool { look(segs); return answered[ack] }) {
				t.Fatalf("no RST answers a segment that acknowledges %d", ack)
			}
		}
		if !cap.Wait(w.service.Port(), func(segs []lab.Captured) bool { look(segs); return last.Flags != 0 }) {
			t.Fatal("no data")
		}
		wait(last.Ack)

		send, nth := w.rawSender(), last.Ack
		for name, build := range map[string]func(f packet.Fields) []byte{
			"damaged": func(f packet.Fields) []byte {
				b := f.Append(nil, []byte("hello"))
				b[len(b)-1] ^= 1
				return b
			},
			"bare": func(f packet.Fields) []byte {
				f.Flags = packet.FIN
				return f.Append(nil, nil)
			},
			"signed": func(f packet.Fields) []byte {
				f.OptionsLen = copy(f.Options[:], append([]byte{1, 1, 19, 18}, make([]byte, 16)...))
				return f.Append(nil, nil)
			},
		} {
			probe, good := last, last
			probe.Ack, good.Ack, nth = nth.Add(1), nth.Add(2), nth.Add(2)
			send(build(probe))
			send(good.Append(nil, []byte("hello")))
			if wait(good.Ack); answered[probe.Ack] {
				t.Errorf("a RST answers the %s segment", name)
			}
		}
	})
}

// rawSender returns a function that sends a packet from the client's host as it is.
func (w *testbed) rawSender() func(pkt []byte) {
	w.t.Helper()
	family, to := unix.AF_INET, unix.Sockaddr(nil)
	if a := w.service.Addr(); a.Is4() {
		to = &unix.SockaddrInet4{Addr: a.As4()}
	} else {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Addr: a.As16()}
	}
	fd := -1
	err := w.from.Do(func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { unix.Close(fd) })
	return func(pkt []byte) {
		if err := unix.Sendto(fd, pkt, 0, to); err != nil {
			w.t.Error(err)
		}
	}
}
