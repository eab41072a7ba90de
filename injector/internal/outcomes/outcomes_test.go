package outcomes

import (
	"errors"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/faults/packet"
	"github.com/faultctl/faultctl/injector/internal/tracepoint"
	"golang.org/x/sys/unix"
)

// TestMayStrike checks on which connections a fault may act for the first time.
func TestMayStrike(t *testing.T) {
	for name, c := range map[string]struct {
		signed, forges bool
		sock           Socket
		err            error
		want           bool
		tally          outcome.Tally
	}{
		"alive":                        {sock: Socket{Alive, 7}, forges: true, want: true, tally: outcome.Tally{Struck: 1, Felt: 1}},
		"closed":                       {sock: Socket{Gone, 7}, forges: true, tally: outcome.Tally{ClosedBefore: 1}},
		"closed, and only a drop":      {sock: Socket{Gone, 7}, tally: outcome.Tally{ClosedBefore: 1}},
		"no process has it":            {sock: Socket{Orphan, 7}, forges: true, want: true, tally: outcome.Tally{Struck: 1, Unfelt: 1}},
		"the kernel does not say":      {sock: Socket{Gone, 7}, err: errors.New("no"), forges: true, want: true, tally: outcome.Tally{Struck: 1, Felt: 1}},
		"signed, and a forged segment": {sock: Socket{Alive, 7}, signed: true, forges: true},
		"signed, and only a drop":      {sock: Socket{Alive, 7}, signed: true, want: true, tally: outcome.Tally{Struck: 1, Felt: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(true, c.signed)
			b.open("request")
			b.kernel.sock, b.kernel.err = c.sock, c.err
			d := b.decide(faults.Drop, dropped())
			if c.forges {
				b.out.Forged = append(b.out.Forged, faults.Forged{})
			}
			if got := b.sends(faults.Reply, packet.ACK, "answer", d); got != c.want {
				t.Errorf("may strike: %v", got)
			}
			if n := b.signed.Load(); (n == 1) != (c.signed && c.forges) {
				t.Errorf("%d connections counted as signed", n)
			}
			b.kernel.err = nil
			check(t, b.end(), c.tally)
			if n := b.sums[1].Sum(); n != (outcome.Tally{}) {
				t.Errorf("the other fault got %+v", n)
			}
		})
	}
}

// TestAsksOnlyWhereNeeded checks that the kernel is not asked on the packet path for
// connections that can be struck only by a segment, in a run that judges no command.
func TestAsksOnlyWhereNeeded(t *testing.T) {
	for _, c := range []struct {
		judged, armed bool
		want          int
	}{{false, false, 0}, {false, true, 1}, {true, false, 1}} {
		b := newBench(c.judged, false)
		b.armed = c.armed
		b.open("request")
		b.pass(faults.Reply, packet.ACK, "answer")
		if b.kernel.asked != c.want {
			t.Errorf("judged %v, armed %v: asked %d times, want %d", c.judged, c.armed, b.kernel.asked, c.want)
		}
	}
}

// TestSeeksWhatIsStruck checks that a run that judges no command knows at its end whether
// a local end accepted what it was sent, and asks about no others.
func TestSeeksWhatIsStruck(t *testing.T) {
	rst := faults.Note{Action: faults.SentRST, To: faults.Client}
	for name, c := range map[string]struct {
		note    faults.Note
		atOnce  bool // by the first segment that is seen
		before  SocketState
		after   SocketState
		asked   int
		accept  outcome.Answer
		because outcome.Evidence
	}{
		"accepted":                         {note: rst, after: Gone, asked: 2, accept: outcome.Yes, because: outcome.SocketGone},
		"by the first segment":             {note: rst, atOnce: true, after: Gone, asked: 2, accept: outcome.Yes, because: outcome.SocketGone},
		"ignored":                          {note: rst, after: Alive, asked: 2, accept: outcome.No, because: outcome.SocketAlive},
		"an error":                         {note: faults.Note{Action: faults.SentICMP, To: faults.Client}, after: Gone, asked: 2, accept: outcome.Yes, because: outcome.SocketGone},
		"its names are translated":         {note: rst, before: Gone, after: Gone, asked: 1, accept: outcome.NotKnown, because: outcome.NotYet},
		"for the other end":                {note: faults.Note{Action: faults.SentRST, To: faults.Server}, accept: outcome.NotKnown, because: outcome.NotYet},
		"a drop, which nobody must accept": {note: dropped(), accept: outcome.Yes, because: outcome.ByVerdict},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(false, false)
			if !c.atOnce {
				b.open("")
			}
			b.kernel.sock.State = c.before
			if !b.sends(faults.Original, packet.ACK, "request", b.decide(faults.Drop, c.note)) {
				t.Fatal("was not struck")
			}
			b.kernel.sock.State = c.after
			if c.note.Action != faults.Dropped {
				dir := c.note.To.Other().Sends()
				b.Sent(b.conn, dir, true, b.segment(dir, packet.RST, "").Bytes(), nil)
			}
			b.end()
			if b.kernel.asked != c.asked {
				t.Errorf("the kernel was asked %d times for the socket, want %d", b.kernel.asked, c.asked)
			}
			if len(b.told) != 1 {
				t.Fatalf("%d outcomes", len(b.told))
			}
			if got := b.told[0].Accepted; got.Answer != c.accept || got.Evidence != c.because {
				t.Errorf("accepted: %v (%v), want %v (%v)", got.Answer, got.Evidence, c.accept, c.because)
			}
		})
	}
}

// TestWaitsForAFaultAtWork checks that no answer is called lost as long as the fault
// that holds it may let it pass.
func TestWaitsForAFaultAtWork(t *testing.T) {
	b := newBench(false, false)
	b.kernel.sock.State = Gone
	b.open("request")
	b.alarmed = true
	b.sends(faults.Reply, packet.ACK, "answer", b.decide(faults.Drop, faults.Note{Action: faults.Held, To: faults.Client}))
	for range 3 {
		b.after(SettleAfter)
	}
	if len(b.told) != 0 {
		t.Fatalf("settled while the fault is at work: %+v", b.told)
	}
	b.next[faults.Reply] -= 6
	b.pass(faults.Reply, packet.ACK, "answer")
	b.alarmed = false
	b.after(SettleAfter)
	if len(b.told) != 1 || b.told[0].AnswerLost {
		t.Errorf("told %+v, want one whose answer arrived", b.told)
	}
}

// TestSettles checks when an outcome is settled.
func TestSettles(t *testing.T) {
	drop := func(b *bench) { b.sends(faults.Original, packet.ACK, "request", b.decide(faults.Drop, dropped())) }
	rst := func(b *bench) { b.reset(nil) }
	asked := func(b *bench) {
		b.sends(faults.Original, packet.ACK, "request", b.decide(faults.Drop, faults.Note{Action: faults.SentRST, To: faults.Client}))
		b.now += time.Microsecond
		b.Sent(b.conn, faults.Reply, true, b.segment(faults.Reply, packet.RST, "").Bytes(), nil)
	}
	for name, c := range map[string]struct {
		judged bool
		strike func(*bench)
		later  time.Duration // looked at then
		want   uint64        // outcomes told by then
	}{
		"a verdict that was felt":              {false, drop, 0, 1},
		"a RST to an end that is silent":       {false, asked, SettleAfter - time.Millisecond, 0},
		"an end whose silence is evidence":     {false, asked, SettleAfter, 1},
		"the same in a run that judges":        {true, asked, SettleAfter, 1},
		"an idle end":                          {false, rst, SettleAfter + GiveUpAfter - 1, 0},
		"an idle end, given up":                {false, rst, SettleAfter + GiveUpAfter, 1},
		"an idle end in a run that judges one": {true, rst, SettleAfter + GiveUpAfter, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(c.judged, false)
			b.kernel.sock.State = Gone // its names are translated: packets alone tell
			b.open("")
			c.strike(b)
			for until := b.now + c.later; b.Next() <= until; {
				b.after(b.Next() - b.now)
			}
			if n := uint64(len(b.told)); n != c.want {
				t.Errorf("%d outcomes told, want %d", n, c.want)
			}
			if b.conn.Open() == (c.want == 1) {
				t.Errorf("open: %v", b.conn.Open())
			}
			if b.end(); len(b.told) != 1 {
				t.Errorf("%d outcomes told in the end, want 1", len(b.told))
			}
		})
	}
}

// TestLeft checks what is made of the kernel's answers about a segment of ours.
func TestLeft(t *testing.T) {
	for name, c := range map[string]struct {
		play  func(*bench)
		sent  outcome.Evidence
		count outcome.Tally
	}{
		"refused":      {func(b *bench) { b.reset(unix.EPERM) }, outcome.SendFailed, outcome.Tally{Struck: 1, Unsent: 1}},
		"a full queue": {func(b *bench) { b.reset(unix.ENOBUFS) }, outcome.SendFailed, outcome.Tally{Struck: 1, Unsent: 1}},
		"eaten by a later rule": {func(b *bench) {
			b.kernel.left = false
			b.reset(nil)
			b.after(AskAfter)
			b.after(SettleAfter)
		}, outcome.Eaten, outcome.Tally{Struck: 1, Unsent: 1}},
		"held by a run behind ours": {func(b *bench) {
			b.kernel.left = false
			b.reset(nil)
			b.after(AskAfter)
			b.kernel.left, b.kernel.sock.State = true, Gone
			b.after(SettleAfter)
		}, outcome.LeftHost, outcome.Tally{Struck: 1, Felt: 1}},
		"the socket is gone": {func(b *bench) {
			b.reset(nil)
			b.kernel.sock.State = Gone
			b.after(AskAfter)
		}, outcome.LeftHost, outcome.Tally{Struck: 1, Felt: 1}},
		"the socket lives on": {func(b *bench) {
			b.reset(nil)
			b.after(AskAfter)
		}, outcome.LeftHost, outcome.Tally{Struck: 1, Unaccepted: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(true, false)
			b.open("request")
			c.play(b)
			got := b.end()
			if got.Furthest.Sent.Evidence != c.sent {
				t.Errorf("sent: %s, want %s", got.Furthest.Sent.Evidence, c.sent)
			}
			check(t, got, c.count)
		})
	}
}

// TestReplaced checks that the kernel is asked about what goes on in place of a segment,
// if the verdict can mark it.
func TestReplaced(t *testing.T) {
	for _, mark := range []uint32{Mark, 0} {
		b := newBench(true, false)
		b.Watcher.Mark = mark
		b.open("request")
		d := b.decide(faults.Pass, faults.Note{Action: faults.SentRST, To: faults.Client})
		b.sends(faults.Reply, packet.ACK, "answer", d)
		if got := b.Replaced(b.conn, faults.Reply, b.segment(faults.Reply, packet.RST|packet.ACK, ""), b.now); got != mark {
			t.Errorf("mark %#x, want %#x", got, mark)
		}
		b.kernel.left = false
		b.after(AskAfter)
		b.after(SettleAfter)
		want := outcome.Eaten
		if mark == 0 {
			want = outcome.NotWatched
		}
		if got := b.end().Furthest.Sent.Evidence; got != want {
			t.Errorf("mark %#x: %s, want %s", mark, got, want)
		}
	}
}

// TestPreventedWait checks that what kept a fault's moment from coming is counted for the
// fault that waits for it, and only if every segment was seen.
func TestPreventedWait(t *testing.T) {
	for _, judged := range []bool{true, false} {
		b := newBench(judged, false)
		b.waits[1] = Wait{After: time.Second}
		b.open("request")
		b.now += 500 * time.Millisecond
		b.pass(faults.Original, packet.FIN|packet.ACK, "")
		first := b.end()
		second := b.sums[1].Sum().Prevented
		if first != (outcome.Tally{}) || (second.How == features.ByClient) != judged || judged && second.Needed != time.Second {
			t.Errorf("judged %v: %+v, %+v", judged, first, second)
		}
	}
}

// TestFinish checks that Finish is the end: nothing is counted twice or later.
func TestFinish(t *testing.T) {
	b := newBench(true, false)
	b.open("request")
	b.reset(nil)
	b.Finish(b.conn, b.now)
	b.Finish(b.conn, b.now)
	if !b.conn.Finished() || b.conn.Open() || len(b.told) != 1 {
		t.Errorf("finished %v, open %v, %d outcomes told", b.conn.Finished(), b.conn.Open(), len(b.told))
	}
	b.after(AskAfter)
	b.after(SettleAfter)
	b.pass(faults.Original, packet.ACK, "more")
	b.reset(nil)
	if b.end(); len(b.told) != 1 || b.sums[0].Sum().Struck != 1 {
		t.Errorf("%d outcomes told, %+v", len(b.told), b.sums[0].Sum())
	}
}

// TestKeeps checks for how long the kernel must go on to hand over a connection.
func TestKeeps(t *testing.T) {
	b := newBench(false, false)
	b.open("")
	if b.Keeps(b.conn, true, b.now) {
		t.Error("one that was not struck is kept")
	}
	b.reset(nil)
	if !b.Keeps(b.conn, false, b.now+SettleAfter-1) || b.Keeps(b.conn, false, b.now+SettleAfter) {
		t.Error("one that was struck is not kept until its outcome is due")
	}
	b = newBench(true, false)
	b.open("request")
	if !b.Keeps(b.conn, false, b.now) {
		t.Error("its first request is not answered, and it is not kept")
	}
	b.pass(faults.Reply, packet.ACK, "answer")
	b.pass(faults.Original, packet.ACK, "")
	if b.Keeps(b.conn, false, b.now) || !b.Keeps(b.conn, true, b.now) {
		t.Error("one whose first request is answered is kept if a fault waits for an alarm, and only then")
	}
}

// TestTracedSocket checks that tracepoints count for the struck connection's own socket.
func TestTracedSocket(t *testing.T) {
	reset := tracepoint.Event{Kind: tracepoint.ReceivedReset, Local: client, Remote: server, Cookie: 7, Sock: 1}
	failed := tracepoint.Event{Kind: tracepoint.CallFailed, Sock: 1, Errno: unix.ECONNRESET}
	other := reset
	other.Cookie = 8
	for name, c := range map[string]struct {
		events         []tracepoint.Event
		accepted, felt outcome.Evidence
	}{
		"its own":          {[]tracepoint.Event{reset, failed}, outcome.ReceivedReset, outcome.ToldByCall},
		"another socket":   {[]tracepoint.Event{other, failed}, outcome.NotYet, outcome.NothingAtStake},
		"its memory moved": {[]tracepoint.Event{reset, other, failed}, outcome.ReceivedReset, outcome.NothingAtStake},
	} {
		b := newBench(true, false)
		b.open("request")
		b.pass(faults.Reply, packet.ACK|packet.PSH, "answer")
		b.pass(faults.Original, packet.ACK, "")
		b.now += time.Second
		b.reset(nil)
		for _, ev := range c.events {
			b.Traced(ev)
		}
		b.Finish(b.conn, b.now)
		if o := b.told[0]; o.Accepted.Evidence != c.accepted || o.Felt.Evidence != c.felt {
			t.Errorf("%s: accepted: %s; felt: %s", name, o.Accepted.Evidence, o.Felt.Evidence)
		}
	}
}

// TestNobodyFollowed checks that a Watcher takes a nil Conn.
func TestNobodyFollowed(t *testing.T) {
	b := newBench(true, false)
	b.conn = nil
	b.open("request")
	if !b.reset(nil) || b.Keeps(nil, true, 0) || b.conn.Open() || b.conn.Finished() || b.conn.ClosedBefore(0) {
		t.Error("something is known of a connection that nobody follows")
	}
	b.Finish(nil, b.now)
	if b.Replaced(nil, faults.Reply, b.segment(faults.Reply, packet.ACK, ""), b.now) != 0 || b.Next() != faults.Never {
		t.Error("something is due for a connection that nobody follows")
	}
}

// TestNothingAllocates checks that no segment of a connection that is followed allocates.
func TestNothingAllocates(t *testing.T) {
	b := newBench(true, false)
	b.open("request")
	seg := b.segment(faults.Original, packet.ACK, "")
	d := b.decide(faults.Pass)
	if n := testing.AllocsPerRun(100, func() {
		b.Met(b.conn, unix.NF_INET_LOCAL_OUT, false, faults.Original)
		b.MayStrike(b.conn, d, false, b.now)
		b.Segment(b.conn, faults.Original, seg, d, b.now)
		b.Conclude(b.conn, false, b.now)
		b.Keeps(b.conn, true, b.now)
		b.Next()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
