package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/lab"
)

// scraped is the address of the counters, in a separate namespace.
const scraped = "127.0.0.1:9187"

// TestEvidence strikes one of two connections and reads the run's output with the
// programs that people use for it: the capture, the report, the counters and the
// events. Then it replays the run's decisions.
func TestEvidence(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil && os.Getenv("FAULTCTL_REQUIRE") == "1" {
		t.Fatal("tshark is missing: make deps installs it")
	}
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("v6=%v", v6), func(t *testing.T) {
			t.Parallel()
			w, dir := newTestbed(t, atRouter, v6), t.TempDir()
			file := func(name string) string { return filepath.Join(dir, name) }
			args := []string{"inject", "reset:hit=client", "--fault", "delay:by=20ms,dir=server", "--every", "2", "--to", fmt.Sprintf(":%d", w.service.Port()),
				"--seed", "7", "-o", "json", "--pcap", file("run.pcapng"), "--report", file("run.html")}
			p := w.start("faultctl", args...)
			events := p.keep("ready")
			struck, _ := w.open()
			says(t, "struck", struck.Send("hello"), struck.Recv())("5", "ECONNRESET")
			client, server := w.open()
			healthy(t, "left alone", client, server)
			p.cmd.Process.Signal(syscall.SIGTERM)
			events = append(events, p.keep("")...)
			if code := p.end(); code != 143 {
				t.Fatalf("exit %d\n%s", code, p.stderr.String())
			}

			page, err := os.ReadFile(file("run.html"))
			if want := "rst to client, reset (rule 0, connection 0)"; err != nil || !strings.Contains(string(page), want) {
				t.Errorf("the report does not say %q: %v", want, err)
			}
			if tshark != "" {
				capture(t, tshark, file("run.pcapng"))
			}

			again := file("events.ndjson")
			if err := os.WriteFile(again, []byte(strings.Join(events, "")), 0o644); err != nil {
				t.Fatal(err)
			}
			p = w.start("faultctl", "replay", again, "-o", "json", "--report", file("again.json"), "--metrics", scraped)
			p.wait("ready")
			struck, _ = w.open()
			says(t, "struck again", struck.Send("hello"), struck.Recv())("5", "ECONNRESET")
			got, err := w.scrape()
			if err != nil {
				t.Fatal(err)
			}
			if want := `faultctl_connections_fired_total{fault="reset",place="0",rule="0"} 1`; !strings.Contains(got, want) {
				t.Errorf("no %s in\n%s", want, got)
			}
			if strings.Contains(got, "faultctl_verdict_latency_seconds_count 0\n") || !strings.Contains(got, "faultctl_verdict_latency_seconds_count ") {
				t.Errorf("no verdict was timed:\n%s", got)
			}
			p.cmd.Process.Signal(syscall.SIGTERM)
			if ev := p.wait("replayed"); ev["connections"] != 1.0 || ev["same"] != 1.0 {
				t.Errorf("replayed: %v", ev)
			}
			p.end()
			var r report.Report
			if b, err := os.ReadFile(file("again.json")); err != nil || json.Unmarshal(b, &r) != nil || len(r.Cases) != 1 {
				t.Fatalf("%v: %s", err, b)
			}
			if c := r.Cases[0]; r.Code != 143 || c.Verdict != report.Done || c.Faults[0].Fired != 1 || len(c.Packets) == 0 {
				t.Errorf("the report of the replay: code %d, %+v", r.Code, c)
			}
		})
	}
}

// TestRunMetrics checks that the counters of a run can be scraped where faultctl
// was called, wherever the command runs.
func TestRunMetrics(t *testing.T) {
	for _, m := range cageKinds(t) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			w, mark := newTestbed(t, loopback, false), mark()
			cmd := m.faultctl("run", "observe", "--metrics", scraped, "--", "sleep", mark)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := w.node().Do(cmd.Start); err != nil {
				t.Fatal(err)
			}
			defer expose(cmd).Stop()
			var got string
			if !lab.Eventually(func() bool {
				got, _ = w.scrape()
				return strings.Contains(got, "faultctl_packets_diverted_total 0\n")
			}) {
				t.Errorf("no counters of the run: %s", got)
			}
			cmd.Process.Signal(syscall.SIGTERM)
			cmd.Wait()
			m.nothingLeft(t, w.node(), cmd.Process.Pid, mark)
			if t.Failed() {
				t.Logf("%s", &out)
			}
		})
	}
}

// keep collects the lines of events up to one of that name, or to the end.
func (p *process) keep(last string) (lines []string) {
	p.t.Helper()
	for ev := range p.events {
		line, err := json.Marshal(ev)
		if err != nil {
			p.t.Fatal(err)
		}
		lines = append(lines, string(line)+"\n")
		if ev["event"] == last {
			return lines
		}
	}
	if last != "" {
		<-p.ended
		p.t.Fatalf("no event %q; exit %v\n%s", last, p.cmd.ProcessState, p.stderr.String())
	}
	return lines
}

// scrape reads the counters of a run.
func (w *testbed) scrape() (body string, err error) {
	err = w.node().Do(func() error {
		conn, err := net.Dial("tcp", scraped)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprintf(conn, "GET /metrics HTTP/1.0\r\n\r\n")
		b, err := io.ReadAll(conn)
		body = string(b)
		return err
	})
	return body, err
}

// capture checks the contents of a capture: a packet that passed has no comment,
// the delayed ones are there twice, and the segment that was answered with a RST
// is there.
func capture(t *testing.T, tshark, path string) {
	t.Helper()
	out, err := exec.Command(tshark, "-r", path, "-T", "fields", "-E", "separator=|",
		"-e", "frame.interface_name", "-e", "tcp.flags.str", "-e", "tcp.len", "-e", "frame.comment").Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for what, ok := range map[string]func(string) bool{
		"a SYN that passed, without a comment": func(l string) bool { return l == "judged|··········S·|0|" },
		"a SYN-ACK that was delayed, as it came": func(l string) bool {
			return strings.HasPrefix(l, "withheld|·······A··S·|0|delayed for 20ms by delay: delay to client, ")
		},
		"the SYN-ACK as it left": func(l string) bool {
			return strings.HasPrefix(l, "put|·······A··S·|0|went on 20ms after it came, delayed by delay: delay to client, ")
		},
		"the forged RST": func(l string) bool {
			return strings.Contains(l, "R··|0|") && strings.Contains(l, "by reset") && strings.Contains(l, ": rst to client, ") && strings.HasSuffix(l, "(rule 0, connection 0)")
		},
	} {
		if !slices.ContainsFunc(lines, ok) {
			t.Errorf("the capture does not show %s:\n%s", what, out)
		}
	}
	for _, l := range lines {
		if strings.Contains(l, "connection 1)") {
			t.Errorf("the capture shows a connection that was not chosen: %s", l)
		}
	}
}
