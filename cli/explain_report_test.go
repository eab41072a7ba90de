package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/experiment/report"
	"github.com/gopacket/gopacket/pcapgo"
)

// TestExplainReport holds that a report in each form says what the text says.
func TestExplainReport(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "capture.pcap")
	if err := os.WriteFile(path, idleCapture(t, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	args := "explain " + path
	for _, form := range []string{"html", "json", "md"} {
		args += " --report " + filepath.Join(dir, "why."+form)
	}
	w := newWorld(t)
	if code := w.faultctl(args); code != exitOK {
		t.Fatalf("exit %d: %s", code, &w.err)
	}
	for form, want := range map[string][]string{
		"html": {"3 of 3 connections did not end in order", "<code>10.0.0.5:5432</code>", "faultctl inject idle-expire --after=4m59s", "10.0.0.9:40002", "its TTL is 254"},
		"md":   {"| 3 | idle-expire, sure | `10.0.0.5:5432` | server |", "- repeat: `faultctl inject idle-expire --after=4m59s --to 10.0.0.5:5432`", "- silence of 300 s before"},
		"json": {`"command": "faultctl explain ` + path},
	} {
		b, err := os.ReadFile(filepath.Join(dir, "why."+form))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range want {
			if !strings.Contains(string(b), s) {
				t.Errorf("%s: no %q in\n%s", form, s, b)
			}
		}
		if form != "json" {
			continue
		}
		var x report.Explanation
		if err := json.Unmarshal(b, &x); err != nil {
			t.Fatal(err)
		}
		if len(x.Captures) != 1 || len(x.Captures[0].Groups) != 1 {
			t.Fatalf("%+v", x)
		}
		g := x.Captures[0].Groups[0]
		if g.Cause != "idle-expire" || g.Certainty != "sure" || len(g.Connections) != 3 || g.Connections[0].Frame != 19 || g.Connections[0].Answers != 16 {
			t.Errorf("%+v", g)
		}
	}
}

// TestExplainPcap holds that the packets are written again with comments on those
// that decided, and that explain says the same of them; from standard input too.
func TestExplainPcap(t *testing.T) {
	dir := t.TempDir()
	from := filepath.Join(dir, "capture.pcap")
	content := idleCapture(t, 2)
	if err := os.WriteFile(from, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, arg := range []string{from, "-"} {
		to := filepath.Join(dir, "commented.pcapng")
		w := newWorld(t)
		w.stdin = bytes.NewReader(content)
		if code := w.faultctl("explain " + arg + " --pcap " + to); code != exitOK {
			t.Fatalf("%s: exit %d: %s", arg, code, &w.err)
		}
		b, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			t.Fatal(err)
		}
		says := map[int]string{}
		frames := 0
		for {
			_, _, opts, err := r.ReadPacketDataWithOptions()
			if err != nil {
				break
			}
			frames++
			if len(opts.Comments) > 0 {
				says[frames] = strings.Join(opts.Comments, "|")
			}
		}
		if frames != 14 || len(says) != 4 || !strings.HasPrefix(says[13], "explain: idle-expire, sure: a RST in the name of the server") || says[11] != "explain: frame 13 answers this" {
			t.Errorf("%s: %d frames, %v", arg, frames, says)
		}
		first := strings.SplitN(w.out.String(), "\n", 2)[1]
		again := newWorld(t)
		if code := again.faultctl("explain " + to); code != exitOK || strings.SplitN(again.out.String(), "\n", 2)[1] != first {
			t.Errorf("%s: exit %d: of the commented capture it says\n%s\nand not\n%s", arg, code, &again.out, first)
		}
	}
	for args, want := range map[string]string{
		from + " --pcap " + from:         "the capture itself",
		from + " - --pcap x.pcapng":      "one capture",
		from + " --pcap -":               "standard output",
		from + " --report why.pdf":       ".html, .json or .md",
		from + " --report why.xml":       ".html, .json or .md",
		from + " --report /nowhere/x.md": "no such file",
	} {
		w := newWorld(t)
		if code := w.faultctl("explain " + args); code != exitUsage || !strings.Contains(w.err.String(), want) || w.out.String() != "" {
			t.Errorf("explain %s: exit %d, %q is not in %q", args, code, want, &w.err)
		}
	}
	if b, err := os.ReadFile(from); err != nil || !bytes.Equal(b, content) {
		t.Error("the capture was changed")
	}
}
