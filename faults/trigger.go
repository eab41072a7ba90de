package faults

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/faults/packet"
)

// Trigger says at which moment of a connection a fault fires: --at. It fires
// once a connection. The zero value means that none is given, and a knob then
// has its default.
type Trigger struct {
	kind triggerKind
	n    uint64        // request, response: which turn, 0 if not said; segment, bytes
	d    time.Duration // age, idle
	text string        // match, as typed
	re   *regexp.Regexp
	side Side // bytes: whose payload counts; segment: whose segments do
}

type triggerKind uint8

const (
	atNever triggerKind = iota
	atSYN
	atSYNACK
	atEstablished
	atRequest
	atResponse
	atSegment
	atBytes
	atFIN
	atAge
	atIdle
	atMatch
	atNow
	atTLSData
	atReady
)

var triggerNames = [...]string{
	atNever: "never", atSYN: "syn", atSYNACK: "synack", atEstablished: "established", atRequest: "request",
	atResponse: "response", atSegment: "segment", atBytes: "bytes", atFIN: "fin", atAge: "age", atIdle: "idle",
	atMatch: "match", atNow: "now", atTLSData: "tls-data", atReady: "ready",
}

// A TriggerForm is a way to write a Trigger, and the moment that it stands for.
type TriggerForm struct{ Form, Moment string }

// Triggers lists the ways to write a Trigger, in the order in which help shows
// them.
var Triggers = []TriggerForm{
	{"syn", "the client's SYN"},
	{"synack", "the server's SYN-ACK"},
	{"established", "the ACK that completes the handshake"},
	{"request", "the first payload of the client"},
	{"request=N", "the client's N-th request: payload of the client after payload of the server, or the first of all, begins one"},
	{"response", "the first payload of the server"},
	{"response=N", "the server's N-th response: payload of the server after payload of the client, or the first of all, begins one"},
	{"ready", "the first request on a connection that has been used and was then quiet: an exchange is over, 50ms have passed without payload, and the client sends again. A login or a TLS handshake is over by then"},
	{"tls-data", "the first application data of the client inside TLS, after the handshake, also after STARTTLS. With a client certificate in TLS 1.3 it may be the second"},
	{"segment=N", "the N-th segment, of both ends together, that carries something new"},
	{"segment=N@client", "the N-th such segment of the client, its SYN being the first"},
	{"segment=N@server", "the N-th such segment of the server, its SYN-ACK being the first"},
	{"bytes=N", "N bytes of payload have been carried, of both ends together or of the end that bytes-of names"},
	{"fin", "the first FIN"},
	{"age=D", "the connection has been open for so long; a duration alone means this too, such as 30s"},
	{"idle=D", "the first segment after the connection was silent for so long"},
	{"match=TEXT", "a segment with this text in its payload"},
	{"match=/RE2/", "a segment whose payload matches this regular expression"},
	{"now", "the first segment that is seen"},
}

// TriggerForms are the ways to write a Trigger.
var TriggerForms = func() (all []string) {
	for _, t := range Triggers {
		all = append(all, t.Form)
	}
	return all
}()

var triggerForms = strings.Join(TriggerForms, ", ")

// At returns the trigger written s, and panics if there is none: it serves the
// defaults of the catalogue.
func At(s string) Trigger {
	var t Trigger
	if err := t.UnmarshalText([]byte(s)); err != nil {
		panic(err)
	}
	return t
}

// TypeName implements Typed.
func (Trigger) TypeName() string { return "trigger" }

// MarshalText writes the trigger as people type it.
func (t Trigger) MarshalText() ([]byte, error) {
	name := triggerNames[t.kind]
	switch t.kind {
	case atSegment:
		name += "=" + strconv.FormatUint(t.n, 10)
		if t.side.one() {
			name += "@" + t.side.String()
		}
	case atRequest, atResponse:
		if t.n > 0 {
			name += "=" + strconv.FormatUint(t.n, 10)
		}
	case atBytes:
		name += "=" + strconv.FormatUint(t.n, 10)
	case atAge, atIdle:
		name += "=" + words.ShortDuration(t.d)
	case atMatch:
		name += "=" + t.text
	}
	return []byte(name), nil
}

func (t Trigger) String() string {
	text, _ := t.MarshalText()
	return string(text)
}

// UnmarshalText reads a trigger as people type it. A duration alone, such as
// 30s, is short for age=30s, and a number of bytes, such as 64k, for bytes=64k.
// What may be either, such as 5m, is refused.
func (t *Trigger) UnmarshalText(text []byte) error {
	if len(text) > 0 && text[0] >= '0' && text[0] <= '9' {
		return t.short(string(text))
	}
	name, arg, has := strings.Cut(string(text), "=")
	kind := atNever
	for k, n := range triggerNames {
		if n == name && triggerKind(k) != atNever {
			kind = triggerKind(k)
		}
	}
	wants := kind == atSegment || kind == atBytes || kind == atAge || kind == atIdle || kind == atMatch
	may := kind == atRequest || kind == atResponse
	switch {
	case kind == atNever:
		return fmt.Errorf("unknown trigger %q%s: write one of %s", name, words.DidYouMean(name, triggerNames[1:]), triggerForms)
	case may && !has:
		*t = Trigger{kind: kind}
		return nil
	case (wants || may) && arg == "":
		return fmt.Errorf("trigger %q needs a value: write one of %s", name, triggerForms)
	case !wants && !may && has:
		return fmt.Errorf("trigger %q takes no value", name)
	}
	*t = Trigger{kind: kind}
	return t.argument(arg)
}

// short reads a trigger without its name.
func (t *Trigger) short(text string) error {
	d, err := words.ParseDuration(text)
	isAge := err == nil && d > 0
	var b Bytes
	isBytes := b.UnmarshalText([]byte(text)) == nil && b > 0
	switch {
	case isAge && isBytes:
		return fmt.Errorf("%q may be %d minutes or %d MiB: write age=%[1]s or bytes=%[1]s", text, d/time.Minute, b>>20)
	case isAge:
		*t = Trigger{kind: atAge, d: d}
	case isBytes:
		*t = Trigger{kind: atBytes, n: uint64(b)}
	default:
		return fmt.Errorf("%q is neither a duration nor a number of bytes: write 30s, 4096 or 64k", text)
	}
	return nil
}

func (t *Trigger) argument(arg string) (err error) {
	switch t.kind {
	case atBytes:
		var b Bytes
		if n, _, has := strings.Cut(arg, "@"); has {
			return fmt.Errorf("bytes=%s: whose payload counts is a setting of its own: write bytes=%s and bytes-of", arg, n)
		}
		if err := b.UnmarshalText([]byte(arg)); err != nil || b == 0 {
			return fmt.Errorf("bytes=%s: not a number of bytes above 0: write "+bytesForms, arg)
		}
		t.n = uint64(b)
	case atSegment, atRequest, atResponse:
		name := triggerNames[t.kind]
		count, side, has := strings.Cut(arg, "@")
		switch {
		case has && t.kind != atSegment:
			return fmt.Errorf("%s=%s: it is of one end by itself: write %s=%s", name, arg, name, count)
		case has && (t.side.UnmarshalText([]byte(side)) != nil || !t.side.one()):
			return fmt.Errorf("%s=%s: %q is neither client nor server%s", name, arg, side, words.DidYouMean(side, []string{"client", "server"}))
		}
		if t.n, err = strconv.ParseUint(count, 10, 63); err != nil || t.n == 0 {
			return fmt.Errorf("%s=%s: not a whole number above 0", name, arg)
		}
	case atAge, atIdle:
		if t.d, err = words.ParseDuration(arg); err == nil && t.d == 0 {
			err = fmt.Errorf("the duration is zero")
		}
		if err != nil {
			return fmt.Errorf("%s=%s: %w", triggerNames[t.kind], arg, err)
		}
	case atMatch:
		t.text = arg
		if len(arg) > 2 && arg[0] == '/' && arg[len(arg)-1] == '/' {
			if t.re, err = regexp.Compile(arg[1 : len(arg)-1]); err != nil {
				return fmt.Errorf("match=%s: %w", arg, err)
			}
		}
	}
	return nil
}

// diverts says which segments decide whether the trigger fires. A trigger that
// counts or reads needs them all until it has fired.
func (t Trigger) diverts() Diversion {
	switch t.kind {
	case atSYN:
		return Diversion{SYN: true}
	case atSYNACK:
		return Diversion{SYN: true, SYNACK: true}
	case atFIN:
		return Diversion{SYN: true, SYNACK: true, FIN: true} // the SYN-ACK for the round trip time
	case atIdle:
		return Diversion{SYN: true, Idle: t.d}
	}
	return Diversion{SYN: true, All: true, Whole: t.kind == atMatch || t.kind == atTLSData}
}

// trigger is the state of a Trigger on one flow.
type trigger struct {
	fired    bool
	prompted bool // it fires at the next segment, see Prompter
	started  bool
	begun    time.Duration // age: when it counts from
	admitted time.Duration // idle: when the flow last counted as busy
	segments uint64
	last     [2]packet.Seq // segment: the highest number counted so far
	counted  [2]bool
	turns    turns       // request=N, response=N
	quiet    quietMoment // ready
	tls      tlsStream   // tls-data
}

// onSegment reports whether the trigger fires at this segment. It asks out for
// what it needs to keep watching.
func (s *trigger) onSegment(t *Trigger, ev *Event, out *Effects) bool {
	if s.fired {
		return false
	}
	first := !s.started
	s.started = true
	s.fired = s.prompted || s.decide(t, ev, out, first)
	return s.fired
}

func (s *trigger) decide(t *Trigger, ev *Event, out *Effects, first bool) bool {
	seg, flags := ev.Seg, ev.Seg.Flags()
	f := ev.Flow
	switch t.kind {
	case atNow:
		return true
	case atSYN:
		return flags.Has(packet.SYN) && !flags.Has(packet.ACK)
	case atSYNACK:
		return flags.Has(packet.SYN | packet.ACK)
	case atFIN:
		return flags.Has(packet.FIN)
	case atEstablished:
		return f.Midstream || ev.Dir == Original && flags.Has(packet.ACK) && !flags.Any(packet.SYN|packet.RST)
	case atRequest, atResponse:
		dir := Original
		if t.kind == atResponse {
			dir = Reply
		}
		if t.n > 0 {
			return s.turns.onSegment(ev) >= t.n && ev.Dir == dir
		}
		return ev.Dir == dir && seg.PayloadLen() > 0
	case atReady:
		return s.quiet.onSegment(ev, first)
	case atTLSData:
		return s.tls.onSegment(ev)
	case atBytes:
		return t.carried(f) >= t.n
	case atSegment:
		return t.side.Includes(ev.Dir.From()) && s.count(ev) >= t.n
	case atMatch:
		if t.re != nil {
			return t.re.Match(seg.Payload())
		}
		return bytes.Contains(seg.Payload(), []byte(t.text))
	case atAge:
		if first {
			s.begun = ev.At
		}
		out.Wake(max(0, s.begun+t.d-ev.At))
		if f.Midstream || f.Half[Reply].Seen {
			out.Release() // both ends were seen: nothing more is needed until its time has come
		}
		return false
	case atIdle:
		if first {
			s.admitted = f.Since
		}
		expired := !ev.Busy && ev.At-s.admitted >= t.d && (!first || f.Midstream)
		if !expired {
			s.admitted = ev.At
			out.Admit()
		}
		return expired
	}
	return false
}

// carried is how many bytes of payload that count the flow has carried.
func (t *Trigger) carried(f *Flow) (n uint64) {
	for d := range f.Half {
		if t.side.Includes(Direction(d).From()) {
			n += f.Half[d].Bytes
		}
	}
	return n
}

// mayCount reports that m has one side's payload count, for a trigger that does
// not count: only bytes=N does.
func (t Trigger) mayCount(m Model, side Side) error {
	if side.one() && t.kind == atSegment {
		return wrong(m, "bytes-of", "it is for at=bytes=N only: write at=segment=%d@%v", t.n, side)
	}
	if side.one() && t.kind != atBytes {
		return wrong(m, "bytes-of", "it is for at=bytes=N only: give that too")
	}
	return nil
}

// of is the trigger with only the payload of that side counted, if it counts
// payload.
func (t Trigger) of(side Side) Trigger {
	if t.kind == atBytes {
		t.side = side
	}
	return t
}

// count counts the segments that carry something new.
func (s *trigger) count(ev *Event) uint64 {
	end, d := ev.Seg.End(), ev.Dir
	if ev.Seg.SeqLen() > 0 && (!s.counted[d] || s.last[d].Less(end)) {
		s.segments++
		s.last[d], s.counted[d] = end, true
	}
	return s.segments
}

// onWake reports whether the trigger fires now that its alarm rang.
func (s *trigger) onWake(t *Trigger) bool {
	if s.fired || t.kind != atAge {
		return false
	}
	s.fired = true
	return true
}
