package fidelity

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/explain/capture"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/lab"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// vantages are where captures are made, in the order of the page.
var vantages = []string{"client", "router", "server"}

// explained is what explain says of a lane from one vantage.
type explained struct {
	cause   *cause
	v6      bool
	vantage string
	verdict explain.Verdict
	nothing bool // it found nothing, or no more than that an answer has not come yet
}

// truth is the name of the fault that a genuine lane is an instance of. A tool can
// make a reset of any shape, so some causes of the fault reset are better known by
// another name.
func (c *cause) truth() []string {
	named := map[string][]string{
		"reset, at the SYN":         {"refuse"},
		"reset, at the SYN-ACK":     {"refuse"},
		"reset, at the request":     {"half-open"},
		"half-open, closed":         {"half-open", "closed-socket"}, // the same: a close whose FIN is lost
		"closed-socket, FIN lost":   {"closed-socket", "half-open"},
		"half-open, unreachable":    {"half-open", "unreachable"},
		"unreachable, established":  {"unreachable", "half-open"},
		"rst-close":                 {"rst-close", "linger-reset"}, // the same in the kernel: SO_LINGER 0
		"rst-close, HAProxy":        {"rst-close", "linger-reset"},
		"linger-reset":              {"linger-reset", "rst-close"},
		"linger-reset, open before": {"linger-reset", "rst-close"},

		"hang, window closes":             {"hang", "stall"},                // a process that was stopped does not read either
		"idle-expire, HAProxy, keepalive": {"idle-expire", "closed-socket"}, // the probes hide how long it was idle
	}
	if names := named[c.name]; names != nil {
		return names
	}
	return []string{strings.SplitN(c.fault, ":", 2)[0]}
}

// unequal are causes whose lanes differ in what explain looks at although they fail
// alike.
var unequal = map[string]bool{
	"closed-socket, process killed": true, // the lanes close at different times
	"half-open, from yesterday":     true, // faultctl saw no segment of that host, so it does not know its TTL: FIDELITY.md says so
	"nat-leak":                      true, // in the genuine lane the segment that leaked is in the capture, with its other address
	"syn-challenge":                 true, // the numbers of an old connection are made up
	"syn-drop, SYN queue full":      true, // another host's SYN fills the queue in the genuine lane
}

// TestExplain reads captures of every genuine lane, from each vantage: no name may
// be both sure and wrong. Of the injected lane it must say the same, at the ends
// that are watched: a difference would be a tell.
func TestExplain(t *testing.T) {
	var mu sync.Mutex
	var all []explained
	t.Run("causes", func(t *testing.T) {
		for n := range causes {
			c := &causes[n]
			if kind, _ := faults.Find(strings.SplitN(c.fault, ":", 2)[0]); kind.Shows == nil || c.sums != nil {
				continue
			}
			for _, v6 := range []bool{false, true} {
				t.Run(strings.ReplaceAll(c.name, " ", "-")+"/"+family(v6), func(t *testing.T) {
					t.Parallel()
					var real []explained
					var unlike string
					for try := range tries { // on a busy machine every timer is late
						var records []record
						real, records = explainLane(t, c, genuine, v6, nil)
						if c.asks || unequal[c.name] {
							break // if faultctl asks for the numbers, its probe is seen: FIDELITY.md says so
						}
						forged, _ := explainLane(t, c, injected, v6, records)
						if unlike = c.unlikeAt(real, forged); unlike == "" {
							break
						}
						if try < tries-1 {
							t.Logf("played again: %s", unlike)
						}
					}
					if unlike != "" {
						t.Error(unlike)
					}
					mu.Lock()
					all = append(all, real...)
					mu.Unlock()
				})
			}
		}
	})
	if t.Failed() || flag.Lookup("test.run").Value.String() != "" && !*update {
		return
	}
	if *update {
		if err := os.WriteFile("../../docs/EXPLAIN.md", []byte(explainPage(all)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// unlikeAt says where explain takes the injected lane for something else than the
// genuine one, at the ends that are watched; empty if nowhere.
func (c *cause) unlikeAt(real, forged []explained) string {
	for i, v := range vantages {
		if v == "router" || !c.watch.Includes(map[string]side{"client": faults.Client, "server": faults.Server}[v]) {
			continue
		}
		if a, b := real[i].String(), forged[i].String(); a != b {
			return fmt.Sprintf("%s: of the genuine cause it says %q, of the injected one %q", v, a, b)
		}
	}
	return ""
}

// explainLane plays a lane and explains a capture from each vantage.
func explainLane(t *testing.T, c *cause, l lane, v6 bool, other []record) ([]explained, []record) {
	t.Helper()
	p := begin(t, c, l, atRouter, v6)
	defer p.end()
	taps := map[string]*lab.Capture{
		"client": p.ends[faults.Client].wire[0], "server": p.ends[faults.Server].wire[0], "router": p.capture(p.Router.Capture("c0")),
	}
	records := p.perform(other)
	var out []explained
	for _, v := range vantages {
		segs := slices.DeleteFunc(taps[v].Packets(p.service.Port()), func(s lab.Captured) bool { return s.At.Before(p.since) })
		e := explained{cause: c, v6: v6, vantage: v}
		fs := findings(t, segs, p.port)
		if e.nothing = len(fs) == 0; !e.nothing {
			e.verdict = fs[0].Verdict
			e.nothing = fs[0].Facts.Yes.Has(clue.Unanswered) && !e.named()
		}
		out = append(out, e)
		if l == genuine && e.verdict.Certainty == explain.Sure && !e.named() {
			t.Errorf("%s: surely wrong: %v:\n%s", v, e, lab.Conversation(segs, p.service))
		}
		t.Logf("%s lane, %s: %v", l, v, e)
		if e.verdict.Certainty == explain.Unknown && !e.nothing {
			t.Logf("\n%s%+v", lab.Conversation(segs, p.service), fs[0].Facts)
		}
	}
	return out, records
}

func (e explained) String() string {
	switch v := e.verdict; {
	case e.nothing:
		return "nothing"
	case v.Certainty == explain.Unknown:
		return "unknown"
	case v.Certainty == explain.CannotTell:
		return strings.Join(append([]string{v.Cause}, v.Twins...), " or ")
	default:
		return v.Certainty.String() + ": " + v.Cause
	}
}

// named reports whether the name is right, or one of those that look the same.
func (e explained) named() bool {
	return slices.ContainsFunc(append([]string{e.verdict.Cause}, e.verdict.Twins...), func(n string) bool { return slices.Contains(e.cause.truth(), n) })
}

// findings writes a capture file and explains it.
func findings(t *testing.T, segs []lab.Captured, client uint16) []explain.Finding {
	t.Helper()
	if len(segs) == 0 {
		return nil
	}
	var file bytes.Buffer
	w := pcapgo.NewWriterNanos(&file)
	if err := w.WriteFileHeader(1<<16, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	for _, s := range segs {
		b := s.Bytes()
		if s.ICMP != nil {
			b = s.ICMP
		}
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: s.At, CaptureLength: len(b), Length: len(b)}, b); err != nil {
			t.Fatal(err)
		}
	}
	var found []explain.Finding
	table := explain.New(func(f explain.Finding) { found = append(found, f) })
	r, err := capture.New(&file)
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		table.Add(p)
	}
	table.End(segs[len(segs)-1].At.Add(1e9))
	return slices.DeleteFunc(found, func(f explain.Finding) bool { return f.Client.Port() != client })
}
