package fidelity

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/explain/capture"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/lab"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// vantages are where captures are made, in the order of the page.
var vantages = []string{"client", "router", "server"}

// explained is what explain says of a cause's genuine lane from one vantage.
type explained struct {
	cause   *cause
	v6      bool
	vantage string
	verdict explain.Verdict
	nothing bool // it found nothing
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
	}
	if names := named[c.name]; names != nil {
		return names
	}
	return []string{strings.SplitN(c.fault, ":", 2)[0]}
}

// TestExplain reads captures of every genuine lane, from each vantage.
func TestExplain(t *testing.T) {
	var mu sync.Mutex
	var all []explained
	t.Run("causes", func(t *testing.T) {
		for n := range causes {
			c := &causes[n]
			if kind, _ := faults.Find(strings.SplitN(c.fault, ":", 2)[0]); kind.Shows == nil || c.notOn[atRouter] != "" {
				continue
			}
			for _, v6 := range []bool{false, true} {
				t.Run(strings.ReplaceAll(c.name, " ", "-")+"/"+family(v6), func(t *testing.T) {
					t.Parallel()
					p := begin(t, c, genuine, atRouter, v6)
					router := p.capture(p.Router.Capture("c0"))
					p.perform(nil)
					taps := map[string]*lab.Capture{"client": p.ends[faults.Client].wire[0], "server": p.ends[faults.Server].wire[0], "router": router}
					for _, v := range vantages {
						e := explained{cause: c, v6: v6, vantage: v}
						fs := findings(t, taps[v].Packets(p.service.Port()), p.port)
						if e.nothing = len(fs) == 0; !e.nothing {
							e.verdict = fs[0].Verdict
						}
						mu.Lock()
						all = append(all, e)
						mu.Unlock()
						if testing.Verbose() {
							t.Logf("%s: %s", v, say(e))
							if !e.named() {
								t.Logf("\n%s\n%+v", lab.Conversation(taps[v].Packets(p.port), p.service), fs)
							}
						}
						if e.wrong() {
							t.Errorf("%s: %s: surely wrong:\n%s", v, say(e), lab.Conversation(taps[v].Packets(p.port), p.service))
						}
					}
					p.end()
				})
			}
		}
	})
	slices.SortStableFunc(all, func(a, b explained) int { return cmp.Compare(a.cause.name, b.cause.name) })
	named, seen := 0, 0
	for _, e := range all {
		if e.nothing {
			continue
		}
		seen++
		if e.named() {
			named++
		}
	}
	t.Logf("%d of %d named, %d saw nothing", named, seen, len(all)-seen)
}

func say(e explained) string {
	if e.nothing {
		return "nothing"
	}
	return strings.Join(append([]string{e.verdict.Certainty.String(), e.verdict.Cause}, e.verdict.Twins...), " ") + " (then " + e.verdict.RunnerUp + ")"
}

// named reports whether the name is right, or one of those that look the same.
func (e explained) named() bool {
	return slices.ContainsFunc(append([]string{e.verdict.Cause}, e.verdict.Twins...), func(n string) bool { return slices.Contains(e.cause.truth(), n) })
}

// wrong reports whether it surely names another cause.
func (e explained) wrong() bool { return e.verdict.Certainty == explain.Sure && !e.named() }

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
