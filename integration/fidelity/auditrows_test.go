package fidelity

import (
	"cmp"
	"maps"
	"strings"
	"time"

	"github.com/faultctl/faultctl/faults/outcome"
)

// auditRow is a fault of the catalogue, or one of its forms, under each condition.
type auditRow struct {
	name  string // the fault's name, and which form of it
	cells map[condition]staged
}

func (r *auditRow) fault() string {
	name, _, _ := strings.Cut(r.name, ",")
	return name
}

// staged is a play, or the reason why there is none.
type staged struct {
	na    string               // why there is none
	notAt map[placement]string // the same of single vantages

	spec  string       // the fault, as people type it
	first func(*scene) // before faultctl starts; nil: nothing
	play  func(*scene)

	calls   bool            // only a call tells of it: where the kernel does not tell of calls it is unfelt
	also    outcome.Verdict // what may be said as well, at alsoAt
	alsoAt  []placement
	want    []outcome.Verdict    // if it is not that of the condition
	unknown map[placement]string // where it may be not known as well, and the words of VERDICTS.md for that
}

// notPlayed is why the play is not played from a vantage; empty if it is.
func (s *staged) notPlayed(at placement) string { return cmp.Or(s.na, s.notAt[at]) }

// What can never be known, in the words of VERDICTS.md.
const (
	unseen      = "What **passed unseen**"
	silence     = "Why an end is **silent**"
	unseenClose = "Whether a connection that passes **unwatched** was closed"
	givenUp     = "Whether a client that **closed its side with an answer outstanding**"
	greeting    = "Whether a client that has sent nothing **waits for a greeting**"
)

// unsure says where it may be not known what the fault came to.
func (s staged) unsure(why string, at ...placement) staged {
	known := s.unknown
	s.unknown = map[placement]string{}
	maps.Copy(s.unknown, known)
	for _, p := range at {
		s.unknown[p] = why
	}
	return s
}

// byCalls says that only a call of the program tells that it has felt anything.
func (s staged) byCalls() staged {
	s.calls = true
	return s
}

// or says what else may be said from some vantages.
func (s staged) or(v outcome.Verdict, at ...placement) staged {
	s.also, s.alsoAt = v, at
	return s
}

// passed says from where a connection passes unwatched, so that nobody sees it closed.
func (s staged) passed(at ...placement) staged {
	s = s.unsure(unseenClose, at...)
	s.want = []outcome.Verdict{outcome.NeverFired, outcome.Unfelt}
	return s
}

// not says why the cell is not played from a vantage.
func (s staged) not(why string, at ...placement) staged {
	known := s.notAt
	s.notAt = map[placement]string{}
	maps.Copy(s.notAt, known)
	for _, p := range at {
		s.notAt[p] = why
	}
	return s
}

// row puts a row together, in the order of the conditions.
func row(name string, felt_, unfelt_, ours, theirs, before, remedy staged) auditRow {
	return auditRow{name, map[condition]staged{
		felt: felt_, unfelt: unfelt_, wallOurs: ours, wallTheirs: theirs, shutBefore: before, remedied: remedy,
	}}
}

// Reasons why there is no such cell.
const goesOn = "what is held in forward goes on as its end sent it"

var (
	sendsNothing = staged{na: "it sends nothing that a firewall could drop"}
	endsOwn      = staged{na: "what arrives is what the end itself sent, which its peer's firewall lets in"}
	handshake    = staged{na: "it strikes the handshake: nothing is open yet"}
	awaited      = staged{na: "it strikes the handshake, and connect() waits for that"}
	everySegment = staged{na: "it strikes whatever is sent: a closed connection sends nothing"}
	noRemedy     = staged{na: "nothing keeps it from happening; what helps is to bear it"}
	harmless     = staged{na: "it is a control: nothing can be felt of it"}
)

// walled puts a firewall up, and has the play happen behind it.
func walled(spec string, wall func(*scene, blocked), what blocked, play func(*scene)) staged {
	return staged{spec: spec, play: play, first: func(s *scene) { wall(s, what) }}
}

func staging(spec string, play func(*scene)) staged { return staged{spec: spec, play: play} }

const ms = time.Millisecond

// auditRows are the faults of the catalogue, in its order.
var auditRows = []auditRow{
	row("reset",
		staging("reset", asks),
		staging("reset:at=age=1500ms", leavesIdle(1500*ms)),
		walled("reset", (*scene).ours, rstBlocked, asks),
		walled("reset", (*scene).theirs, rstBlocked, asks).unsure(silence, atRouter),
		staging("reset:at=age=1500ms", shuts(1500*ms)),
		staging("reset:at=idle=1500ms", beats(1500*ms))),
	row("syn-drop",
		staging("syn-drop:attempts=1", asks).or(outcome.Unfelt, atServer), awaited, sendsNothing, sendsNothing, handshake, noRemedy),
	row("idle-expire",
		staging("idle-expire:after=1s", asksLater(1300*ms)),
		staging("idle-expire:after=1s", leavesIdle(1500*ms)),
		walled("idle-expire:after=1s", (*scene).ours, rstBlocked, asksLater(1300*ms)),
		walled("idle-expire:after=1s", (*scene).theirs, rstBlocked, asksLater(1300*ms)),
		staging("idle-expire:after=1s", shutByServer(1000*ms)),
		staging("idle-expire:after=1500ms", beats(1500*ms))),
	row("idle-expire, rst-both",
		staging("idle-expire:after=1s,then=rst-both", waits).unsure(unseen, atRouter).byCalls(),
		staging("idle-expire:after=1s,then=rst-both", leavesIdle(1500*ms)),
		walled("idle-expire:after=1s,then=rst-both", (*scene).ours, rstBlocked, asksLater(1300*ms)),
		walled("idle-expire:after=1s,then=rst-both", (*scene).theirs, rstBlocked, asksLater(1300*ms)).unsure(silence, atRouter),
		staging("idle-expire:after=1s,then=rst-both", shutByServer(1000*ms)),
		staging("idle-expire:after=1800ms,then=rst-both", probes(2500*ms))),
	row("idle-expire, fin-both",
		staging("idle-expire:after=1s,then=fin-both", asksLater(1300*ms)).or(outcome.Unfelt, atServer),
		staging("idle-expire:after=1s,then=fin-both", leavesIdle(1500*ms)),
		walled("idle-expire:after=1s,then=fin-both", (*scene).ours, oursBlocked, asksLater(1300*ms)),
		walled("idle-expire:after=1s,then=fin-both", (*scene).theirs, endBlocked, asksLater(1300*ms)).unsure(silence, atRouter),
		staging("idle-expire:after=1s,then=fin-both", shutByServer(1000*ms)),
		staging("idle-expire:after=1500ms,then=fin-both", shuts(1500*ms))),
	row("idle-expire, silent",
		staging("idle-expire:after=1s,then=silent", asksLater(1300*ms)),
		staging("idle-expire:after=1s,then=silent", leavesIdle(1500*ms)),
		sendsNothing, sendsNothing,
		staging("idle-expire:after=1s,then=silent", shutByServer(1000*ms)),
		staging("idle-expire:after=1500ms,then=silent", shuts(1500*ms))),
	row("half-open",
		staging("half-open", asks),
		staging("half-open:at=age=1500ms", leavesIdle(1500*ms)),
		walled("half-open", (*scene).ours, rstBlocked, asks),
		walled("half-open", (*scene).theirs, rstBlocked, asks),
		staging("half-open:at=age=1500ms", shuts(1500*ms)).passed(atRouter),
		noRemedy),
	row("half-open, crashed",
		staging("half-open:peer=crashed", asks),
		staging("half-open:peer=crashed,at=age=1500ms", leavesIdle(1500*ms)),
		sendsNothing, sendsNothing,
		staging("half-open:peer=crashed,at=age=1500ms", shuts(1500*ms)).passed(atRouter),
		noRemedy),
	row("closed-socket",
		staging("closed-socket", asks),
		staging("closed-socket:at=age=1500ms", leavesIdle(1500*ms)),
		walled("closed-socket", (*scene).ours, oursBlocked, asks),
		walled("closed-socket", (*scene).theirs, endBlocked, asks),
		staging("closed-socket:at=age=1500ms", shuts(1500*ms)),
		noRemedy),
	row("linger-reset",
		staging("linger-reset", abandoned).unsure(silence, atServer, atRouter),
		staging("linger-reset", leavesIdle(1500*ms)),
		walled("linger-reset", (*scene).ours, rstBlocked, abandoned),
		walled("linger-reset", (*scene).theirs, rstBlocked, abandoned),
		staging("linger-reset", aborted),
		noRemedy),
	row("unread-close",
		staging("unread-close", twice),
		staging("unread-close", leavesIdle(1500*ms)),
		walled("unread-close", (*scene).ours, rstBlocked, twice),
		walled("unread-close", (*scene).theirs, rstBlocked, twice),
		staged{na: "it strikes when an answer is over, or at the server's close: before the end of any connection"},
		noRemedy),
	row("rst-close",
		staging("rst-close", abandoned).unsure(silence, atServer, atRouter),
		staging("rst-close", leavesIdle(1500*ms)),
		walled("rst-close", (*scene).ours, rstBlocked, abandoned),
		walled("rst-close", (*scene).theirs, rstBlocked, abandoned),
		staging("rst-close", aborted),
		noRemedy),
	row("accept-overflow",
		staging("accept-overflow:room-after=800ms", asks),
		staging("accept-overflow:room-after=400ms", spare).unsure(greeting, placements...),
		sendsNothing, sendsNothing, handshake, noRemedy),
	row("accept-overflow, abort",
		staging("accept-overflow:abort=true", asks).unsure(silence, atServer, atRouter).unsure(greeting, atClient, loopback), // it may come before connect() has returned
		staging("accept-overflow:abort=true", spare).unsure(greeting, placements...),
		walled("accept-overflow:abort=true", (*scene).ours, rstBlocked, asks),
		walled("accept-overflow:abort=true", (*scene).theirs, rstBlocked, asks),
		handshake, noRemedy),
	row("refuse",
		staging("refuse", asks), awaited,
		walled("refuse", (*scene).ours, rstBlocked, asks),
		walled("refuse", (*scene).theirs, rstBlocked, asks),
		handshake, noRemedy),
	row("unreachable",
		staging("unreachable", asks), awaited,
		walled("unreachable", (*scene).ours, icmpBlocked, asks),
		walled("unreachable", (*scene).theirs, icmpBlocked, asks),
		handshake, noRemedy),
	row("connect-stall",
		staging("connect-stall:for=500ms", asks).or(outcome.Unfelt, atServer), awaited,
		walled("connect-stall:for=500ms", (*scene).ours, oursBlocked, asks).not(goesOn, atRouter),
		endsOwn, handshake, noRemedy),
	row("half-close-intolerant",
		staging("half-close-intolerant", halfCloses).unsure(givenUp, atServer, atRouter),
		staged{na: "it strikes only a client that awaits an answer"},
		walled("half-close-intolerant", (*scene).ours, oursBlocked, halfCloses),
		walled("half-close-intolerant:abort=true", (*scene).theirs, rstBlocked, halfCloses).unsure(silence, atServer, atRouter),
		staging("half-close-intolerant", shuts(300*ms)),
		staged{spec: "half-close-intolerant", play: exchangesWell, want: []outcome.Verdict{outcome.NeverFired}}),
	row("syn-challenge",
		staging("syn-challenge:rst-lost=true", asks).or(outcome.Unfelt, atServer), awaited,
		walled("syn-challenge:rst-lost=true", (*scene).ours, oursBlocked, asks),
		staged{na: "what arrives is an ACK, which firewalls let in"},
		handshake, noRemedy),
	row("nat-leak",
		staging("nat-leak:at=request", asksOnce),
		staging("nat-leak:at=age=1500ms", leavesIdle(1500*ms)),
		walled("nat-leak:at=request", (*scene).ours, rstBlocked, asks),
		walled("nat-leak:at=request", (*scene).theirs, rstBlocked, asks).unsure(silence, atClient, atRouter),
		staging("nat-leak:at=age=1500ms", shuts(1500*ms)),
		noRemedy),
	row("hang",
		staging("hang:at=request,for=600ms", asks),
		staging("hang:at=age=1500ms", leavesIdle(1500*ms)),
		walled("hang:at=request,for=5s", (*scene).ours, oursBlocked, asks),
		endsOwn,
		staging("hang:at=age=1500ms", shuts(1500*ms)),
		noRemedy),
	row("paws-reject",
		staging("paws-reject:regress=900ms", asks).or(outcome.Unfelt, atServer), awaited, sendsNothing, sendsNothing, handshake, noRemedy),
	row("paws-reject, rst",
		staging("paws-reject:regress=900ms,answer=rst", asks), awaited,
		walled("paws-reject:regress=5s,answer=rst", (*scene).ours, rstBlocked, asks),
		walled("paws-reject:regress=5s,answer=rst", (*scene).theirs, rstBlocked, asks),
		handshake, noRemedy),
	row("keepalive-drop",
		staging("keepalive-drop", givesUp).unsure(unseen, atRouter),
		staging("keepalive-drop", probes(1400*ms)),
		sendsNothing, sendsNothing,
		staging("keepalive-drop", shutsProbing),
		staged{spec: "keepalive-drop", play: beatsProbing, want: []outcome.Verdict{outcome.NeverFired}}),
	row("bad-seq", harmless, harmless,
		walled("bad-seq", (*scene).ours, rstBlocked, exchangesWell),
		staged{spec: "bad-seq", play: exchangesWell, first: func(s *scene) { s.theirs(rstBlocked) },
			want: []outcome.Verdict{outcome.Prevented, outcome.Unaccepted}}, // the end's silence says neither
		staged{na: "it strikes the first data, on a connection that is open"},
		staging("bad-seq", exchangesWell)),
	row("stall",
		staging("stall:for=600ms", asks),
		staging("stall:at=age=1500ms", leavesIdle(1500*ms)),
		walled("stall:for=5s", (*scene).ours, oursBlocked, asks),
		endsOwn,
		staging("stall:at=age=1500ms", shuts(1500*ms)),
		noRemedy),
	row("observe", harmless,
		staged{spec: "observe", play: exchangesWell, want: []outcome.Verdict{outcome.Fired}},
		sendsNothing, sendsNothing, harmless, harmless),
	row("loss",
		staging("loss:chance=50%", exchanges),
		staged{spec: "loss:chance=100%", first: openBefore, play: onlyCloses}.unsure(unseen, atServer),
		sendsNothing, sendsNothing, everySegment, noRemedy),
	row("delay",
		staging("delay:by=500ms", asks),
		staged{spec: "delay:by=500ms", first: openBefore, play: onlyCloses}.unsure(unseen, atServer),
		walled("delay:by=100ms", (*scene).ours, oursBlocked, asks).not(goesOn, atRouter),
		endsOwn, everySegment, noRemedy),
	row("duplicate",
		staging("duplicate:chance=100%", exchanges),
		staged{spec: "duplicate:chance=100%", first: openBefore, play: onlyCloses}.unsure(unseen, atServer),
		walled("duplicate:chance=100%", (*scene).ours, oursBlocked, asks),
		endsOwn, everySegment, noRemedy),
	row("reorder",
		staging("reorder:chance=100%,by=500ms", asks),
		staged{spec: "reorder:chance=100%,by=500ms", first: openBefore, play: onlyCloses}.unsure(unseen, atServer),
		walled("reorder:chance=100%,by=500ms", (*scene).ours, oursBlocked, asks).not(goesOn, atRouter),
		endsOwn, everySegment, noRemedy),
	row("corrupt",
		staging("corrupt:what=payload,chance=100%", asks),
		staged{spec: "corrupt:what=header,chance=100%", first: openBefore, play: onlyCloses}.unsure(unseen, atServer),
		walled("corrupt:what=payload,chance=100%", (*scene).ours, oursBlocked, asks),
		endsOwn, everySegment, noRemedy),
	row("throttle",
		staging("throttle:rate=2kbit", asks),
		staged{spec: "throttle:rate=2kbit", first: openBefore, play: onlyCloses}.or(outcome.NeverFired, placements...).unsure(unseen, atServer),
		walled("throttle:rate=2kbit", (*scene).ours, oursBlocked, asks).not(goesOn, atServer, atRouter, loopback),
		endsOwn, everySegment, noRemedy),
	row("mtu-hole",
		staging("mtu-hole:above=1000", fetches),
		staged{na: "what it loses is always data"},
		sendsNothing, sendsNothing, everySegment, noRemedy),
	row("partition",
		staging("partition:at=request", asks),
		staging("partition:at=age=1500ms", leavesIdle(1500*ms)),
		sendsNothing, sendsNothing,
		staging("partition:at=age=1500ms", shuts(1500*ms)),
		noRemedy),
	row("slice",
		staging("slice:size=3,gap=10ms", asks),
		staged{na: "what it cuts is always data"},
		walled("slice:size=3,gap=10ms", (*scene).ours, oursBlocked, asks),
		endsOwn, everySegment, noRemedy),
}
