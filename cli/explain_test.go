package cli

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults/packet"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// idleCapture is a capture of n connections that a device forgot after five
// minutes.
func idleCapture(t *testing.T, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(1<<16, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	server := netip.MustParseAddrPort("10.0.0.5:5432")
	type seg struct {
		at       time.Duration
		server   bool
		flags    packet.Flags
		seq, ack packet.Seq
		size     int
		ttl      uint8
	}
	segs := []seg{
		{0, false, packet.SYN, 1000, 0, 0, 64},
		{time.Millisecond, true, packet.SYN | packet.ACK, 5000, 1001, 0, 61},
		{2 * time.Millisecond, false, packet.ACK | packet.PSH, 1001, 5001, 10, 64},
		{3 * time.Millisecond, true, packet.ACK | packet.PSH, 5001, 1011, 10, 61},
		{4 * time.Millisecond, false, packet.ACK, 1011, 5011, 0, 64},
		{300 * time.Second, false, packet.ACK | packet.PSH, 1011, 5011, 10, 64},
		{300*time.Second + time.Millisecond, true, packet.RST, 5011, 0, 0, 254},
	}
	for _, s := range segs {
		for i := range n {
			client := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.9"), uint16(40000+i))
			f := packet.Fields{Src: client, Dst: server, TTL: s.ttl, ID: 1, DF: true, Flags: s.flags, Seq: s.seq, Ack: s.ack, Window: 500}
			if s.server {
				f.Src, f.Dst = server, client
			}
			data := f.Append(nil, make([]byte, s.size))
			at := noon.Add(s.at + time.Duration(i)*time.Microsecond)
			if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(data), Length: len(data)}, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b.Bytes()
}

func TestExplain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capture.pcap")
	if err := os.WriteFile(path, idleCapture(t, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string][]string{
		path: {
			"21 frames, 3 connections; 0 closed in order or in use, 3 not", "3 of 3  idle-expire, sure  to 10.0.0.5:5432",
			"repeat    faultctl inject idle-expire --after=4m59s --to 10.0.0.5:5432", "silence of 300 s before",
			"its TTL is 254, that of the other packets of the server 61", "2 connections like this one; --all shows each",
		},
		path + " --all": {"10.0.0.9:40002 > 10.0.0.5:5432"},
		path + " -o json": {
			`"event":"explained","client":"10.0.0.9:40000","server":"10.0.0.5:5432"`, `"cause":"idle-expire","certainty":"sure"`, `"frame":19,"answers":16`,
			`"event":"explained-all"`, `"connections":3`,
		},
	} {
		w := newWorld(t)
		if code := w.faultctl("explain " + args); code != exitOK {
			t.Fatalf("%s: exit %d: %s", args, code, &w.err)
		}
		for _, s := range want {
			if !strings.Contains(strings.Join(strings.Fields(w.out.String()), " "), strings.Join(strings.Fields(s), " ")) {
				t.Errorf("%s: no %q in\n%s", args, s, &w.out)
			}
		}
	}
}

// TestExplainTerminal holds that explain treats a terminal as the other commands do:
// it follows NO_COLOR and fits its width, and what comes and goes is not on stderr,
// which may be a file.
func TestExplainTerminal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "capture.pcap")
	if err := os.WriteFile(path, idleCapture(t, 3000), 0o600); err != nil { // enough frames for the progress to be said
		t.Fatal(err)
	}
	for value, coloured := range map[string]bool{"": true, "1": false} {
		w := newWorld(t)
		w.terminal, w.width = true, 500
		t.Setenv("NO_COLOR", value)
		if code := w.faultctl("explain " + path); code != exitOK || w.err.String() != "" {
			t.Fatalf("exit %d: %q", code, &w.err)
		}
		out := w.out.String()
		if !strings.Contains(out, " frames\r\x1b[K") && !strings.Contains(out, " frames\x1b[0m\r\x1b[K") {
			t.Errorf("no progress in %q", out[:min(len(out), 400)])
		}
		said := out[strings.LastIndex(out, "\r\x1b[K")+len("\r\x1b[K"):]
		if got := strings.Contains(said, "\x1b["); got != coloured {
			t.Errorf("NO_COLOR=%q: coloured is %v", value, got)
		}
		for l := range strings.Lines(said) {
			if strings.HasPrefix(l, "  cause") && len(l) > 101 {
				t.Errorf("a line of %d bytes: %s", len(l), l)
			}
		}
	}
}

func TestExplainErrors(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("hello, world"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"":                "which capture?",
		"/nowhere.pcap":   "no such file",
		text:              "neither pcap nor pcapng",
		text + " --xyzzy": "xyzzy",
	} {
		w := newWorld(t)
		if code := w.faultctl("explain " + args); code != exitUsage || !strings.Contains(w.err.String(), want) {
			t.Errorf("explain %s: exit %d, %q is not in %q", args, code, want, &w.err)
		}
	}
}
