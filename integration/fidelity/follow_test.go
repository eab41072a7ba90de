package fidelity

import (
	"fmt"
	"strings"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/lab"
)

// run plays the cause.
func (c *cause) run(p *play) {
	p.t.Helper()
	if c.script != nil {
		c.script(p)
		return
	}
	if c.before != nil {
		c.before(p)
	}
	if c.late {
		p.start()
	}
	p.do()
	p.follow(c.then)
}

// step is one of the steps after the act:
//
//	recv() = EOF            a call of the first watched end, and what was measured
//	recv() = EIO; IPv6: EOF the same, where the result differs over IPv6
//	server: recv() = EOF    a call of the server
//	within 700ms            sets how long its calls may block from here on
//	RST                     waits until a RST has crossed
//	S>C [F.] seq=5          waits until such a segment has crossed, at the same end
//	idle 1.4s               waits that long
//	ack                     the client sends its delayed acknowledgment
//	quiet                   waits until everything that was sent is acknowledged
//	accept                  the server accepts
//	struck                  in the injected lane, waits until faultctl has acted
type step struct {
	side side
	call string // with parentheses; or empty
	want string // what the call returns
	word string // of the other steps
	d    time.Duration
	line string // a segment that is awaited
}

func (c *cause) step(text string, v6 bool) (s step, err error) {
	s.side = pick(c.watch == faults.Server, faults.Server, faults.Client)
	for _, o := range []side{faults.Client, faults.Server} {
		if rest, ok := strings.CutPrefix(text, o.String()+": "); ok {
			s.side, text = o, rest
		}
	}
	var ok bool
	if s.call, s.want, ok = strings.Cut(text, " = "); ok {
		if other, own, differs := strings.Cut(s.want, "; IPv6: "); differs {
			s.want = pick(v6, own, other)
		}
		return s, nil
	}
	s.call = ""
	word, arg, _ := strings.Cut(text, " ")
	switch s.word = word; word {
	case "within", "idle":
		s.d, err = time.ParseDuration(arg)
	case "C>S", "S>C":
		s.line = text
	case "RST", "ack", "quiet", "accept", "struck":
	default:
		err = fmt.Errorf("unknown step %q", text)
	}
	return s, err
}

// calls returns the calls that an end makes after the act, with their results,
// followed by the totals.
func (c *cause) calls(of side, v6 bool) (out []string) {
	for _, text := range c.then {
		if s, err := c.step(text, v6); err == nil && s.call != "" && s.side == of {
			out = append(out, s.call+" = "+s.want)
		}
	}
	if c.watch.Includes(of) {
		out = append(out, c.measured...)
	}
	return out
}

// follow performs the steps, one after the other.
func (p *play) follow(steps []string) {
	p.t.Helper()
	for _, text := range steps {
		s, err := p.cause.step(text, p.v6)
		p.must(err)
		switch s.word {
		case "":
			p.call(s)
		case "within":
			p.app(s.side).Timeout(s.d)
		case "idle":
			p.idle(s.d)
		case "ack":
			p.acknowledge()
		case "quiet":
			p.quiet()
		case "accept":
			p.accept()
		case "RST":
			p.await(isRST)
		case "struck":
			p.acts()
		default:
			p.awaitAt(p.ends[s.side], func(l line) bool { return fits(l, s.line, p.v6) })
		}
	}
}

// call makes the call of a step.
func (p *play) call(s step) {
	p.t.Helper()
	var what string
	var n int
	switch {
	case s.call == "connect()":
		p.connect()
	case s.call == "shutdown(SHUT_WR)":
		p.app(s.side).CloseWrite()
	case s.call == "recv()":
		p.app(s.side).Recv()
	case scans(s.call, "send(%q)", &what):
		p.app(s.side).Send(what)
	case scans(s.call, "send(%d bytes)", &n):
		p.app(s.side).Send(strings.Repeat("x", n))
	default:
		p.t.Fatalf("no such call: %s", s.call)
	}
}

func scans(text, format string, into any) bool {
	_, err := fmt.Sscanf(text, format, into)
	return err == nil
}

// sums returns the totals of the cause, in the form of calls.
func (p *play) sums() (out []lab.Call) {
	p.t.Helper()
	for _, s := range p.cause.sums(p) {
		what, result, _ := strings.Cut(s, " = ")
		out = append(out, lab.Call{Text: what, Result: result})
	}
	return out
}
