package injector

import (
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector/internal/tracepoint"
	"golang.org/x/sys/unix"
)

// TestTraced holds that a call which returns an error is the struck connection's only if it is on
// the socket that took the RST: not on one of another namespace with the same
// addresses, nor on one that has the memory of a socket which is closed.
func TestTraced(t *testing.T) {
	cookie := uint64(client.Port()) // as the fake has it
	reset := tracepoint.Event{Kind: tracepoint.ReceivedReset, Local: client, Remote: server, Cookie: cookie, Sock: 77}
	other := reset
	other.Cookie++
	failed := tracepoint.Event{Kind: tracepoint.CallFailed, Sock: 77, Errno: unix.ECONNRESET}
	late := failed
	late.Errno = unix.ETIMEDOUT
	for name, c := range map[string]struct {
		events []tracepoint.Event
		orphan bool
		want   outcome.Evidence
	}{
		"its own call":               {[]tracepoint.Event{reset, failed}, false, outcome.ToldByCall},
		"no call":                    {[]tracepoint.Event{reset}, false, outcome.NothingAtStake},
		"another socket's call":      {[]tracepoint.Event{other, failed}, false, outcome.NotAccepted}, // the fake's socket lives on
		"its memory is another's":    {[]tracepoint.Event{reset, other, failed}, false, outcome.NothingAtStake},
		"the call gave up by itself": {[]tracepoint.Event{reset, late}, false, outcome.NothingAtStake},
		"nobody has the socket":      {[]tracepoint.Event{reset, failed}, true, outcome.ClosedItself},
	} {
		b := newTrackBench(t, true, localOut, model(t, "reset", "at", "age=1s"))
		b.kernel.is(client, sockAlive)
		b.open()
		b.exchange("request")
		if c.orphan {
			b.kernel.is(client, sockOrphan)
		}
		b.after(time.Second)
		b.sends(faults.Reply, ack, "") // the answer to the probe
		for _, ev := range c.events {
			b.traced(ev)
		}
		if got := b.end(0).Settled.Furthest.Felt.Evidence; got != c.want {
			t.Errorf("%s: felt: %s, want %s", name, got, c.want)
		}
	}
}
