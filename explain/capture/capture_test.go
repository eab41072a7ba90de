package capture_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/explain/capture"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/pcap"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

var start = time.Date(2026, 3, 4, 12, 0, 0, 123456789, time.UTC)

// closed is a connection whose server closes, and is sent data after that.
func closed(v6 bool) [][]byte {
	client, server := netip.MustParseAddrPort("10.0.0.9:40000"), netip.MustParseAddrPort("10.0.0.5:5432")
	if v6 {
		client, server = netip.MustParseAddrPort("[fd00::9]:40000"), netip.MustParseAddrPort("[fd00::5]:5432")
	}
	var out [][]byte
	for i, s := range []struct {
		fromServer bool
		flags      packet.Flags
		seq, ack   uint32
		payload    int
	}{
		{false, packet.SYN, 0, 0, 0},
		{true, packet.SYN | packet.ACK, 0, 1, 0},
		{false, packet.ACK, 1, 1, 0},
		{false, packet.ACK | packet.PSH, 1, 1, 100},
		{true, packet.ACK | packet.PSH, 1, 101, 200},
		{false, packet.ACK, 101, 201, 0},
		{true, packet.ACK | packet.FIN, 201, 101, 0},
		{false, packet.ACK, 101, 202, 0},
		{false, packet.ACK | packet.PSH, 101, 202, 50},
		{true, packet.RST, 202, 0, 0},
	} {
		f := packet.Fields{Src: client, Dst: server, TTL: 64, ID: uint16(i + 1), DF: true, Flags: s.flags, Seq: packet.Seq(1000 + s.seq), Ack: packet.Seq(5000 + s.ack), Window: 500}
		if s.fromServer {
			f.Src, f.Dst, f.Seq, f.Ack = server, client, packet.Seq(5000+s.seq), packet.Seq(1000+s.ack)
		}
		if !s.flags.Has(packet.ACK) {
			f.Ack = 0
		}
		if !s.flags.Has(packet.RST) {
			f.SetTimestamps(uint32(i), uint32(i))
		}
		out = append(out, f.Append(nil, make([]byte, s.payload)))
	}
	return out
}

// links are the link types, and how each wraps an IP packet.
var links = map[layers.LinkType]func(ip []byte) []byte{
	layers.LinkTypeEthernet: func(ip []byte) []byte { return ethernet(ip) },
	layers.LinkTypeRaw:      func(ip []byte) []byte { return ip },
	layers.LinkTypeNull:     func(ip []byte) []byte { return append([]byte{2, 0, 0, 0}, ip...) },
	layers.LinkTypeLoop:     func(ip []byte) []byte { return append([]byte{0, 0, 0, 2}, ip...) },
	layers.LinkTypeLinuxSLL: func(ip []byte) []byte { return slices.Concat(make([]byte, 14), ether(ip), ip) },
	276:                     func(ip []byte) []byte { return slices.Concat(ether(ip), make([]byte, 18), ip) }, // SLL2
}

func ether(ip []byte) []byte {
	if ip[0]>>4 == 6 {
		return []byte{0x86, 0xdd}
	}
	return []byte{0x08, 0x00}
}

func ethernet(ip []byte, tags ...byte) []byte {
	return slices.Concat(make([]byte, 12), tags, ether(ip), ip)
}

// file writes frames as a pcap or pcapng file.
func file(t testing.TB, link layers.LinkType, ng bool, snap int, frames [][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var write func(gopacket.CaptureInfo, []byte) error
	if ng {
		w, err := pcapgo.NewNgWriter(&b, link)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Flush()
		write = func(ci gopacket.CaptureInfo, data []byte) error {
			if err := w.WritePacket(ci, data); err != nil {
				return err
			}
			return w.Flush()
		}
	} else {
		w := pcapgo.NewWriter(&b)
		if err := w.WriteFileHeader(1<<16, link); err != nil {
			t.Fatal(err)
		}
		write = w.WritePacket
	}
	for i, data := range frames {
		cut := data[:min(len(data), snap)]
		if err := write(gopacket.CaptureInfo{Timestamp: start.Add(time.Duration(i) * 10 * time.Millisecond), CaptureLength: len(cut), Length: len(data)}, cut); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// names is what is said of the connections of a file.
func names(t testing.TB, b []byte) (string, capture.Totals) {
	t.Helper()
	said := ""
	totals, err := capture.Explain(bytes.NewReader(b), func(f explain.Finding) { said += fmt.Sprint(f.Verdict.Certainty, " ", f.Verdict.Cause, "; ") }, nil)
	if err != nil {
		t.Fatal(err)
	}
	return said, totals
}

// TestFormats holds that each format, link type and length says the same.
func TestFormats(t *testing.T) {
	const want = "sure closed-socket; "
	for link, wrap := range links {
		for _, ng := range []bool{false, true} {
			for _, v6 := range []bool{false, true} {
				for _, snap := range []int{1 << 16, 96, 68} {
					var frames [][]byte
					for _, ip := range closed(v6) {
						frames = append(frames, wrap(ip))
					}
					got, totals := names(t, file(t, link, ng, snap, frames))
					if v6 && snap == 68 && len(wrap(frames[0]))-len(frames[0]) > 14 { // 12 bytes of the TCP header, and no flags
						if got != "" || totals.Skipped.Short != len(frames) {
							t.Errorf("%v, pcapng %v, cut to %d: %q, %+v", link, ng, snap, got, totals)
						}
						continue
					}
					if got != want || totals.Packets != len(frames) || totals.Broken != nil {
						t.Errorf("%v, pcapng %v, IPv6 %v, cut to %d: %q, %+v", link, ng, v6, snap, got, totals)
					}
				}
			}
		}
	}
}

// TestCutWindow holds that nothing is said of a window that the capture does not hold.
func TestCutWindow(t *testing.T) {
	var frames [][]byte
	for _, ip := range append(closed(true)[:6], closed(false)[0]) {
		frames = append(frames, ethernet(ip))
	}
	for range 100 { // for a second another client sends its SYN in vain
		frames = append(frames, frames[len(frames)-1])
	}
	for _, snap := range []int{68, 69} { // up to the flags of IPv6, and half of the window
		if got, totals := names(t, file(t, layers.LinkTypeEthernet, false, snap, frames)); got != "likely syn-drop; " || totals.Connections != 2 {
			t.Errorf("cut to %d: %q, %+v", snap, got, totals)
		}
	}
}

// TestTags holds that VLAN tags and PPPoE are removed.
func TestTags(t *testing.T) {
	for name, tags := range map[string][]byte{
		"VLAN": {0x81, 0x00, 0, 7}, "two VLANs": {0x88, 0xa8, 0, 7, 0x81, 0x00, 0, 8},
		"PPPoE": nil,
	} {
		var frames [][]byte
		for _, ip := range closed(false) {
			if tags == nil {
				pppoe := []byte{0x88, 0x64, 0x11, 0, 0, 1, byte(len(ip) >> 8), byte(len(ip)), 0, 0x21}
				frames = append(frames, slices.Concat(make([]byte, 12), pppoe, ip))
				continue
			}
			frames = append(frames, ethernet(ip, tags...))
		}
		if got, _ := names(t, file(t, layers.LinkTypeEthernet, false, 1<<16, frames)); got != "sure closed-socket; " {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// icmp is an error about a packet, of which it quotes so much.
func icmp(kind, code byte, ip []byte, quote int) []byte {
	var b []byte
	if ip[0]>>4 == 6 {
		b = make([]byte, 40)
		b[0], b[6], b[7] = 0x60, 58, 62
	} else {
		b = make([]byte, 20)
		b[0], b[8], b[9] = 0x45, 62, 1
	}
	return slices.Concat(b, []byte{kind, code, 0, 0, 0, 0, 0, 0}, ip[:quote])
}

// TestErrors holds that ICMP errors are understood, however little they quote.
func TestErrors(t *testing.T) {
	syn, syn6 := closed(false), closed(true)
	for name, c := range map[string]struct {
		frames [][]byte
		want   string
	}{
		"host unreachable":            {[][]byte{syn[0], icmp(3, 1, syn[0], 28)}, "sure unreachable; "},
		"prohibited, all is quoted":   {[][]byte{syn[0], icmp(3, 13, syn[0], len(syn[0]))}, "sure unreachable; "},
		"of IPv6":                     {[][]byte{syn6[0], icmp(1, 3, syn6[0], len(syn6[0]))}, "sure unreachable; "},
		"of IPv6, cut":                {[][]byte{syn6[0], icmp(1, 3, syn6[0], 48)}, "sure unreachable; "},
		"a smaller MTU":               {[][]byte{syn[0], icmp(3, 4, syn[0], 28), syn[1], syn[2]}, ""},
		"a passing error":             {[][]byte{syn[0], icmp(3, 1, syn[0], 28), syn[1], syn[2]}, ""},
		"about nothing that was seen": {[][]byte{icmp(3, 1, syn[3], 28)}, ""},
		"the ping of another host":    {[][]byte{icmp(8, 0, syn[0], 28)}, ""},
	} {
		if got, totals := names(t, file(t, layers.LinkTypeRaw, false, 1<<16, c.frames)); got != c.want {
			t.Errorf("%s: %q, want %q; %+v", name, got, c.want, totals)
		}
	}
}

// TestTwice holds that a router's capture, which has each packet twice, says the
// same.
func TestTwice(t *testing.T) {
	var frames [][]byte
	for _, ip := range closed(false) {
		for iface := range 2 {
			b := append(make([]byte, 20), ip...)
			binary.BigEndian.PutUint16(b, 0x0800)
			b[7] = byte(iface + 1)
			b[20+8] -= byte(iface) // the TTL
			frames = append(frames, b)
		}
	}
	if got, _ := names(t, file(t, 276, false, 1<<16, frames)); got != "sure closed-socket; " {
		t.Errorf("%q", got)
	}
}

// TestOwn checks that a capture of faultctl's own is read as the client would have
// made it: the FIN that was replaced by a RST did not arrive, and the RST with which
// the server was disposed of is none of the client's.
func TestOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.pcapng")
	f, err := pcap.Create(path, "test")
	if err != nil {
		t.Fatal(err)
	}
	at := start
	write := func(fate injector.Fate, b []byte) {
		at = at.Add(10 * time.Millisecond)
		f.Write(injector.Packet{Time: at, Fate: fate, Bytes: b, Length: len(b)})
	}
	ips := closed(false)
	for _, ip := range ips[:6] {
		write(injector.Passed, ip)
	}
	fin, err := packet.Parse(ips[6])
	if err != nil {
		t.Fatal(err)
	}
	write(injector.Dropped, ips[6])
	abort := packet.Abort(fin)
	write(injector.Forged, abort.Append(nil, nil))
	last, err := packet.Parse(ips[5])
	if err != nil {
		t.Fatal(err)
	}
	dispose := packet.Abort(last)
	write(injector.Forged, dispose.Append(nil, nil))
	if err := f.Close(0); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, totals := names(t, b); got != "cannot tell rst-close; " || totals.Connections != 1 {
		t.Errorf("%q, %+v", got, totals)
	}
}

// TestCompressed holds that gzip is read.
func TestCompressed(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(file(t, layers.LinkTypeRaw, false, 1<<16, closed(false)))
	w.Close()
	if got, _ := names(t, b.Bytes()); got != "sure closed-socket; " {
		t.Errorf("%q", got)
	}
}

// TestCutOff holds that what comes before a file's broken end is explained.
func TestCutOff(t *testing.T) {
	for _, ng := range []bool{false, true} {
		b := file(t, layers.LinkTypeRaw, ng, 1<<16, append(closed(false), closed(true)...))
		got, totals := names(t, b[:len(b)-10])
		if got != "sure closed-socket; " || totals.Broken == nil {
			t.Errorf("pcapng %v: %q, %+v", ng, got, totals)
		}
	}
	if _, err := capture.New(bytes.NewReader([]byte("#!/bin/sh\n"))); err != capture.ErrNotCapture {
		t.Errorf("of a script: %v", err)
	}
	if _, err := capture.New(bytes.NewReader(nil)); err != capture.ErrNotCapture {
		t.Errorf("of nothing: %v", err)
	}
}

// FuzzRead holds that no file makes the reader fail otherwise than with an error,
// and that no name is given for more connections than there are packets.
func FuzzRead(f *testing.F) {
	for link, wrap := range links {
		var frames [][]byte
		for _, ip := range closed(link == layers.LinkTypeRaw) {
			frames = append(frames, wrap(ip))
		}
		f.Add(file(f, link, link == layers.LinkTypeEthernet, 1<<16, frames))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		totals, err := capture.Explain(io.LimitReader(bytes.NewReader(b), 1<<20), func(x explain.Finding) { n++; x.Evidence() }, nil)
		if err == nil && (n > totals.Packets || totals.Connections > totals.Packets) {
			t.Fatalf("%d findings of %+v", n, totals)
		}
	})
}
