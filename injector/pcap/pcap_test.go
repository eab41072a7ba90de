package pcap

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/gopacket/gopacket/pcapgo"
)

// syn is a SYN from 10.0.0.1:40000 to 10.0.0.2:5432, checksum in order.
var syn = []byte{
	0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0x26, 0xce, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
	0x9c, 0x40, 0x15, 0x38, 0, 0, 0, 100, 0, 0, 0, 0, 0x50, 2, 3, 0xe8, 0, 0, 0, 0, // TCP
}

func packetOf(fate injector.Fate, delay time.Duration) injector.Packet {
	p := injector.Packet{
		Time: time.Now(), Bytes: bytes.Clone(syn), Length: len(syn), Fate: fate, Hook: injector.Forward, Delay: delay, Ordinal: 7,
		Flow: injector.Flow{Client: "10.0.0.1:40000", Server: "10.0.0.2:5432"},
	}
	if fate != injector.Passed {
		p.Fault, p.Notes = "syn-drop", []faults.Note{{Action: faults.Dropped, To: faults.Server, Reason: "backlog full"}}
	}
	if !fate.Came() {
		p.Time = p.Time.Add(delay)
	}
	return p
}

const dropComment = "dropped by syn-drop: drop to server, backlog full (rule 0, connection 7)"

// read returns the comments of the packets of a file, "" where there is none.
func read(t *testing.T, path string) (comments []string, faces []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, ci, opts, err := r.ReadPacketDataWithOptions()
		if err != nil {
			return comments, faces
		}
		face, _ := r.Interface(ci.InterfaceIndex)
		comments, faces = append(comments, strings.Join(opts.Comments, "|")), append(faces, face.Name)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.pcapng")
	f, err := Create(path, "test")
	if err != nil {
		t.Fatal(err)
	}
	f.Write(packetOf(injector.Late, time.Hour)) // it would leave long after the end
	f.Write(packetOf(injector.Passed, 0))
	f.Write(packetOf(injector.Dropped, 0))
	f.Write(packetOf(injector.Forged, 0))
	if err := f.Close(3); err != nil {
		t.Fatal(err)
	}
	comments, faces := read(t, path)
	want := []string{"", dropComment, "forged by syn-drop: drop to server, backlog full (rule 0, connection 7)",
		"went on 1h0m0s after it came, delayed by syn-drop: drop to server, backlog full (rule 0, connection 7)"}
	if !slices.Equal(comments, want) {
		t.Errorf("comments %q, want %q", comments, want)
	}
	if want := []string{"judged", "withheld", "put", "put"}; !slices.Equal(faces, want) {
		t.Errorf("interfaces %q, want %q", faces, want)
	}
}

// TestKilled checks that a file that nobody closes can be read up to the last
// flush, and that a flush comes by itself.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.pcapng")
	f, err := Create(path, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close(0)
	f.Write(packetOf(injector.Dropped, 0))
	f.Write(packetOf(injector.Forged, time.Millisecond)) // written when it leaves
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if comments, _ := read(t, path); len(comments) == 2 {
			return
		}
	}
	t.Error("the packets are not in the file after a minute")
}

// TestFullDisk checks that a file that cannot be written says so at the end and
// stops nobody meanwhile.
func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	if _, err := Create("/dev/full", "test"); err == nil {
		t.Error("a file on a full disk was made")
	}
	if _, err := Create(filepath.Join(t.TempDir(), "none", "run.pcapng"), ""); err == nil {
		t.Error("a file in no directory was made")
	}
}

// TestTcpdump checks that libpcap reads both interfaces of a file: up to 1.10 it wants
// one link type that has the same number in files as in its programs.
func TestTcpdump(t *testing.T) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		if os.Getenv("FAULTCTL_REQUIRE") == "1" {
			t.Fatal("tcpdump is missing")
		}
		t.Skip("tcpdump is missing")
	}
	path := filepath.Join(t.TempDir(), "run.pcapng")
	f, err := Create(path, "test")
	if err != nil {
		t.Fatal(err)
	}
	f.Write(packetOf(injector.Passed, 0))
	f.Write(packetOf(injector.Forged, 0))
	if err := f.Close(0); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tcpdump, "-nr", path).CombinedOutput()
	if n := strings.Count(string(out), "10.0.0.1.40000 > 10.0.0.2.5432: Flags [S]"); err != nil || n != 2 {
		t.Errorf("%d of 2 packets, %v:\n%s", n, err, out)
	}
}

// TestWholeBlocks checks that a file of which nothing was closed ends with a whole block at
// any moment: what is not whole is not written.
func TestWholeBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.pcapng")
	f, err := Create(path, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close(0)
	for range 500 { // far more than is buffered
		f.Write(packetOf(injector.Dropped, 0))
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for len(b) > 0 {
			if len(b) < 8 || int(binary.LittleEndian.Uint32(b[4:])) > len(b) {
				t.Fatalf("%d bytes of a block at the end", len(b))
			}
			b = b[binary.LittleEndian.Uint32(b[4:]):]
		}
	}
}

// TestTshark checks that Wireshark's own reader finds what was written.
func TestTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("FAULTCTL_REQUIRE") == "1" {
			t.Fatal("tshark is missing")
		}
		t.Skip("tshark is missing")
	}
	path := filepath.Join(t.TempDir(), "run.pcapng")
	f, err := Create(path, "test")
	if err != nil {
		t.Fatal(err)
	}
	f.Write(packetOf(injector.Passed, 0))
	f.Write(packetOf(injector.Dropped, 0))
	f.Write(packetOf(injector.Forged, 0))
	if err := f.Close(0); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tshark, "-r", path, "-T", "fields", "-E", "separator=|",
		"-e", "frame.interface_name", "-e", "tcp.dstport", "-e", "tcp.flags.str", "-e", "frame.comment").CombinedOutput()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, out)
	}
	for _, want := range []string{
		"judged|5432|··········S·|\n", "withheld|5432|··········S·|" + dropComment + "\n", "put|5432|··········S·|forged by syn-drop",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("tshark does not print %q in\n%s", want, out)
		}
	}
}
