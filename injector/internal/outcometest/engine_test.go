package outcometest

import (
	"fmt"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/lab"
	"testing"
	"time"
)

const (
	ms   = time.Millisecond
	wait = 1500 * ms       // longer than the first retransmission of anything takes
	more = 2 * time.Second // with that it is as long as silence must be to be evidence
)

// verdicts are what is said of a play by vantage: "" stands for those that are not named.
type verdicts map[string]outcome.Verdict

func all(v outcome.Verdict) verdicts { return verdicts{"": v} }

func (vs verdicts) at(vantage string) outcome.Verdict {
	if v, ok := vs[vantage]; ok {
		return v
	}
	return vs[""]
}

// play is a connection under a fault, and the verdict if its command succeeds.
type play struct {
	name, spec string
	steps      steps
	want       verdicts
	unwatched  verdicts // where the kernel lets pass what the fault does not need; nil: no difference
}

// plays are the worlds of TestEngine: what the fault is, what the ends do, and whether the
// client's firewall drops RSTs.
var plays = []play{
	// An idle connection that is struck, and is only closed afterwards.
	{"idle-expire on the client's own FIN", "idle-expire:after=1s", steps{used, idle(1500 * ms), closes}, all(outcome.Unfelt), nil},
	{"half-open after the only answer", "half-open:at=age=1s", steps{used, idle(1500 * ms), closes}, all(outcome.Unfelt), nil},
	{"reset by age after the only answer", "reset:at=age=1s", steps{used, idle(1500 * ms), asksKernel, closes}, all(outcome.Unfelt), all(outcome.Unknown)},
	{"a server that closed, and the client closes as well", "closed-socket:at=age=1s", steps{used, idle(1500 * ms), closes}, all(outcome.Unfelt), all(outcome.Unknown)},
	{"a partition of a connection that is only closed", "partition:at=age=1s", steps{used, idle(1500 * ms), closes}, all(outcome.Unfelt), nil},
	{"rst-close of the server that answers the client's close", "rst-close:side=server", steps{used, idle(300 * ms), closes, serverCloses}, all(outcome.Unfelt), nil},
	{"linger-reset of the same", "linger-reset:side=server", steps{used, idle(300 * ms), closes, serverCloses}, all(outcome.Unfelt), nil},

	// An idle connection that is struck, and asked again.
	{"idle-expire, and the client asks again", "idle-expire:after=1s", steps{used, idle(1500 * ms), asks("ECONNRESET")}, all(outcome.Survived), nil},
	{"a rebooted peer, and the client asks again", "half-open:at=age=1s,peer=rebooted", steps{used, idle(1500 * ms), asks("ECONNRESET")}, all(outcome.Survived), nil},
	{"a server that closed, and the client asks again", "closed-socket:at=age=1s", steps{used, idle(1500 * ms), asks("EOF", "ECONNRESET")}, all(outcome.Survived), nil},
	{"a peer that stops reading", "stall:at=age=1s", steps{used, idle(1500 * ms), patience(500 * ms), asks("EAGAIN")}, all(outcome.Survived), nil},
	{"a partition", "partition:at=age=1s", steps{used, idle(1500 * ms), sends("again")}, all(outcome.Survived), nil},

	// The first exchange.
	{"reset at the request", "reset:at=request", steps{connects("ok"), asks("ECONNRESET")}, all(outcome.Survived), nil},
	{"reset at the request, behind the client's firewall", "reset:at=request", steps{firewall, connects("ok"), patience(wait), asks("EAGAIN")}, verdicts{"": outcome.Unaccepted, serversSocket: outcome.Survived}, nil},
	{"reset of a connection whose segments are signed", "reset:at=request", steps{connectsSigned, patience(wait), asks("EAGAIN")}, all(outcome.NeverFired), nil}, // it is left alone
	{"an answer that is cut", "unread-close:pass=1448", steps{connects("ok"), asked, serverSends(30000), idle(100 * ms)}, verdicts{"client": outcome.Survived, "": outcome.Unknown}, nil},
	{"the answer takes longer", "delay:by=50ms", steps{used}, all(outcome.Survived), nil},
	{"pieces", "slice:size=3", steps{used}, all(outcome.Survived), nil},

	// The handshake.
	{"refused", "refuse", steps{connects("ECONNREFUSED")}, all(outcome.Survived), nil},
	{"refused behind the client's firewall", "refuse", steps{firewall, connects("EINPROGRESS")}, all(outcome.Unaccepted), nil},
	{"unreachable", "unreachable", steps{connects("EHOSTUNREACH")}, all(outcome.Survived), nil},
	{"a SYN is dropped once", "syn-drop:attempts=1", steps{used}, verdicts{"": outcome.Survived, serversCommand: outcome.Unfelt}, nil}, // the client waits, not the server

	// A connection that both ends have closed. On the ends' own hosts the kernel is asked first.
	{"expired on both ends after both have closed", "idle-expire:after=1s,then=rst-both", steps{used, serverClosesFirst, closes, idle(100 * ms), asksBefore},
		all(outcome.NeverFired), nil},
}

// serversCommand is the vantage of the server's host where the command is the server, if it
// differs.
const serversCommand = "server's command"

// serversSocket is the vantage of the server's host where no command is judged, so that
// either end counts, if it differs: the kernel knows what became of the server's socket.
const serversSocket = "server's socket"

// TestEngine plays each case at each vantage, over IPv4 and IPv6. A watched run judges a
// command, and sees all segments of the connection.
func TestEngine(t *testing.T) {
	for _, p := range plays {
		for _, at := range []string{"client", "router", "server"} {
			for _, v6 := range []bool{false, true} {
				if v6 && !lab.IPv6() {
					continue
				}
				for _, watched := range []bool{true, false} {
					t.Run(fmt.Sprintf("%s/%s/%s/watched %v", p.name, at, map[bool]string{false: "IPv4", true: "IPv6"}[v6], watched), func(t *testing.T) {
						t.Parallel()
						w := newWorld(t, at, v6, watched, p.spec)
						for _, step := range p.steps {
							step(w)
						}
						want := p.want
						if !watched && p.unwatched != nil {
							want = p.unwatched
						}
						w.judge(want.at(at))
						here := map[bool]string{true: serversCommand, false: serversSocket}[watched]
						if v, differs := want[here]; differs && at == "server" {
							w.judgeEngine(v, watched)
						} else if at != "server" || !watched || !w.blocked { // there the command is the server, which no firewall shields
							w.judgeEngine(want.at(at), watched)
						}
					})
				}
			}
		}
	}
}

// judgeEngine checks that the engine comes to the same verdict as the watcher. Unwatched it
// may know less, because it forgets what was outstanding on a connection that it parks;
// and it may know from a socket of its host that there was nothing to strike.
func (w *world) judgeEngine(want outcome.Verdict, watched bool) {
	w.t.Helper()
	time.Sleep(more) // silence counts from 3 s on
	w.stop()
	f := w.engine.Stats().Rules[0].Faults[0]
	o := f.Settled.Furthest
	got := outcome.Judge(outcome.Case{Outcome: o, Command: outcome.Succeeded, Prevented: f.Settled.Prevented.How != features.NotPrevented && f.Settled.Prevented.How != features.ByServer})
	known := got == want || !watched && (got == outcome.Unknown || got == outcome.NeverFired && want == outcome.Unknown && o.Why == outcome.ClosedBefore)
	if !known {
		w.t.Errorf("the engine says %s, want %s", got, want)
	}
	if !known || testing.Verbose() {
		w.t.Logf("engine: %+v; sent %s: %s; accepted %s: %s; felt %s: %s", f, o.Sent.Answer, o.Sent.Evidence,
			o.Accepted.Answer, o.Accepted.Evidence, o.Felt.Answer, o.Felt.Evidence)
	}
}

// judge checks the verdict on what the tap showed.
func (w *world) judge(want outcome.Verdict) {
	w.t.Helper()
	time.Sleep(200 * ms)
	w.askKernel()
	time.Sleep(wait)
	w.watcher.mu.Lock()
	defer w.watcher.mu.Unlock()
	o := w.watcher.tr.Outcome(time.Since(w.watcher.start)+more, faults.Client)
	got := outcome.Judge(outcome.Case{Outcome: o, Command: outcome.Succeeded})
	if got != want {
		w.t.Errorf("%s, want %s", got, want)
	}
	if got != want || testing.Verbose() {
		w.t.Logf("struck %v (%s); sent %s: %s; accepted %s: %s; felt %s: %s", o.Struck, o.Why, o.Sent.Answer, o.Sent.Evidence,
			o.Accepted.Answer, o.Accepted.Evidence, o.Felt.Answer, o.Felt.Evidence)
		for _, line := range w.watcher.seen {
			w.t.Log(line)
		}
	}
}
