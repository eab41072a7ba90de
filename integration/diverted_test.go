package integration

import (
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/strike"
	"github.com/faultctl/faultctl/lab"
)

// waiting has settings for every fault of the catalogue with which it waits while
// a connection lives, in every variant that makes a difference to what the kernel
// passes to user space. "skip" before one says that the connection is not chosen;
// the fault strikes a connection that is chosen as soon as it opens.
var waiting = map[string][]string{
	"reset":                 {"at=fin", "at=request=1000000", "at=response=1000000", "at=tls-data", "at=segment=1000000@client", "at=age=1h", "at=idle=1h", "at=bytes=1000000000", "at=segment=1000000", "at=match=nowhere"},
	"syn-drop":              {"backlog=1000,drain=1000", "skip"},
	"idle-expire":           {"after=1h", "after=1h,then=rst-both", "after=1h,refresh=data", "after=1h,keepalives=ignore"},
	"half-open":             {"at=fin", "at=age=1h"},
	"closed-socket":         {"at=fin", "at=age=1h"},
	"linger-reset":          {""},
	"unread-close":          {"skip"},
	"rst-close":             {""},
	"half-close-intolerant": {""},
	"accept-overflow":       {"skip"},
	"refuse":                {"skip"},
	"unreachable":           {"skip"},
	"connect-stall":         {"for=1ms"},
	"syn-challenge":         {"skip"},
	"nat-leak":              {"at=fin", "at=age=1h", "at=response=1000000"},
	"paws-reject":           {""},
	"keepalive-drop":        {""},
	"bad-seq":               {"skip"},
	"stall":                 {"at=fin"},
	"hang":                  {"at=fin", "at=age=1h"},
	"observe":               {""},
	"partition":             {"at=fin", "at=age=1h"},
	"mtu-hole":              {"above=60000"},
	"delay":                 {"by=1us"},
	"loss":                  {"chance=0%"},
	"throttle":              {"rate=100gbit"},
	"duplicate":             {"chance=0%"},
	"reorder":               {"chance=0%"},
	"corrupt":               {"chance=0%"},
	"slice":                 {"size=60000"},
}

// TestDiverted checks each fault's documented promise about what enters user
// space: while it waits and a connection carries a thousand segments, the kernel
// passes to user space the segments that the fault's Diverts names, and no
// others. The run's own counters must agree, or it would report overruns.
func TestDiverted(t *testing.T) {
	for _, kind := range faults.Catalog {
		if len(waiting[kind.Name]) == 0 {
			t.Errorf("%s: not tried", kind.Name)
		}
		for i, knobs := range waiting[kind.Name] {
			t.Run(kind.Name+"/"+knobs, func(t *testing.T) {
				t.Parallel()
				rule := injector.Rule{Match: target.Matcher{To: []target.Endpoint{{LowPort: 5432, HighPort: 5432}}}}
				skip := knobs == "skip"
				if skip {
					rule.Pick.Skip, knobs = 1000, ""
				}
				model := strike.Fault(t, kind.Name+":"+knobs)
				rule.Faults = []injector.NamedModel{model}
				w := newTestbed(t, loopback, i%2 == 1 || len(kind.Name)%2 == 1) // both families are used
				cap := w.capture()
				run := w.run(injector.Config{Rules: []injector.Rule{rule}})
				client, server := w.open()
				const exchanges = 500
				for i := range exchanges {
					if i%20 == 0 && !cap.Wait(5432, func(s []lab.Captured) bool { return len(s) >= 2*i }) {
						t.Fatal("the capture does not keep up") // without root of the host its buffer is small
					}
					if client.Send("ping") != "4" || server.Recv() != "ping" || server.Send("pong") != "4" || client.Recv() != "pong" {
						t.Fatal("the connection broke: ", client.Calls()[len(client.Calls())-1])
					}
				}
				quiet := func(a *lab.App) bool { i, err := a.Info(); return err == nil && i.Unacked == 0 }
				if !lab.Eventually(func() bool { return quiet(client) && quiet(server) }) {
					t.Fatal("the connection does not come to rest")
				}
				run.stop()
				d := model.Model.Diverts()
				d.SYNACK = d.SYNACK || strings.Contains(knobs, "-both") // a device that speaks for both ends must have heard both
				var segs []lab.Captured
				if !cap.Wait(5432, func(s []lab.Captured) bool { segs = s; return len(s) >= 3+2*exchanges }) {
					t.Fatalf("%d segments were captured", len(segs))
				}
				want, again, syns := 0, 0, map[packet.Flags]bool{}
				for i := range segs {
					if f := segs[i].Flags(); f.Has(packet.SYN) {
						if syns[f] {
							again++
							continue // it was held, and sent again by faultctl, or by its TCP if the machine stalled
						}
						syns[f] = true
					}
					if promised(d, &segs[i], skip || strings.Contains(knobs, "age=")) {
						want++
					}
				}
				s := run.Stats()
				got := int(s.Diverted)
				if strings.Contains(knobs, "age=") { // the handshake, for its sequence numbers
					want = min(max(want, got), 4)
				}
				if got < want || got > want+again || s.Overruns != 0 {
					t.Errorf("%d of %d segments entered user space, want %d; overruns %d", got, len(segs), want, s.Overruns)
				}
			})
		}
	}
}

// promised reports whether a waiting fault gets the segment. released says that
// the fault released the flow with its SYN.
func promised(d faults.Diversion, s *lab.Captured, released bool) bool {
	flags := s.Flags()
	switch {
	case flags.Has(packet.SYN) && !flags.Has(packet.ACK):
		return true
	case released:
		return false
	case d.All, d.SYNACK && flags.Has(packet.SYN), d.FIN && flags.Has(packet.FIN), d.RST && flags.Has(packet.RST):
		return true
	case d.Above != 0 && s.HeaderLen()+s.PayloadLen() > d.Above:
		return true
	}
	return d.Small && s.PayloadLen() <= 1 && !flags.Any(packet.SYN|packet.FIN|packet.RST)
}
