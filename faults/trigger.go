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
	n    uint64        // segment, bytes
	d    time.Duration // age, idle
	text string        // match, as typed
	re   *regexp.Regexp
	side Side // bytes: whose payload counts
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
)

var triggerNames = [...]string{
	atNever: "never", atSYN: "syn", atSYNACK: "synack", atEstablished: "established", atRequest: "request",
	atResponse: "response", atSegment: "segment", atBytes: "bytes", atFIN: "fin", atAge: "age", atIdle: "idle",
	atMatch: "match", atNow: "now",
}

// TriggerForms are the ways to write a Trigger.
var TriggerForms = []string{
	"syn", "synack", "established", "request", "response", "segment=N", "bytes=N", "fin", "age=D", "idle=D",
	"match=TEXT", "match=/RE2/", "now",
}

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
	case atSegment, atBytes:
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
	switch {
	case kind == atNever:
		return fmt.Errorf("unknown trigger %q%s: write one of %s", name, words.DidYouMean(name, triggerNames[1:]), triggerForms)
	case wants && arg == "":
		return fmt.Errorf("trigger %q needs a value: write one of %s", name, triggerForms)
	case !wants && has:
		return fmt.Errorf("trigger %q takes no value", name)
	}
	*t = Trigger{kind: kind}
	return t.argument(arg)
}

// short reads a trigger without its name.
func (t *Trigger) short(text string) error {
	if d, err := words.ParseDuration(text); err == nil && d > 0 { // 5m are five minutes
		*t = Trigger{kind: atAge, d: d}
		return nil
	}
	var b Bytes
	if b.UnmarshalText([]byte(text)) != nil || b == 0 {
		return fmt.Errorf("%q is neither a duration nor a number of bytes: write 30s, 4096 or 64k", text)
	}
	*t = Trigger{kind: atBytes, n: uint64(b)}
	return nil
}

func (t *Trigger) argument(arg string) (err error) {
	switch t.kind {
	case atBytes:
		var b Bytes
		if err := b.UnmarshalText([]byte(arg)); err != nil || b == 0 {
			return fmt.Errorf("bytes=%s: not a number of bytes above 0: write 4096, 64k or 1m", arg)
		}
		t.n = uint64(b)
	case atSegment:
		if t.n, err = strconv.ParseUint(arg, 10, 63); err != nil || t.n == 0 {
			return fmt.Errorf("%s=%s: not a whole number above 0", triggerNames[t.kind], arg)
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
	return Diversion{SYN: true, All: true, Whole: t.kind == atMatch}
}

// trigger is the state of a Trigger on one flow.
type trigger struct {
	fired    bool
	started  bool
	begun    time.Duration // age: when it counts from
	admitted time.Duration // idle: when the flow last counted as busy
	segments uint64
	last     [2]packet.Seq // segment: the highest number counted so far
	counted  [2]bool
}

// onSegment reports whether the trigger fires at this segment. It asks out for
// what it needs to keep watching.
func (s *trigger) onSegment(t *Trigger, ev *Event, out *Effects) bool {
	if s.fired {
		return false
	}
	first := !s.started
	s.started = true
	s.fired = s.decide(t, ev, out, first)
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
	case atRequest:
		return ev.Dir == Original && seg.PayloadLen() > 0
	case atResponse:
		return ev.Dir == Reply && seg.PayloadLen() > 0
	case atBytes:
		return t.carried(f) >= t.n
	case atSegment:
		return s.count(ev) >= t.n
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
	if side.one() && t.kind != atBytes {
		return wrong(m, "bytes-of", "it is for at=bytes=N only: give that too")
	}
	return nil
}

// of is the trigger with only the payload of that side counted.
func (t Trigger) of(side Side) Trigger {
	t.side = side
	return t
}

// count counts the segments of both directions that carry something new.
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
