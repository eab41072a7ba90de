package toxics

import (
	"slices"
	"time"
)

// End is how a direction of a connection ends. What is more drastic is greater.
type End uint8

// The ends.
const (
	None   End = iota
	Finish     // no more data: the receiver is told so, and the other direction goes on
	Close      // the whole connection is closed
	Abort      // the whole connection is reset
)

// Setting is a toxic in force.
type Setting struct {
	ID       uint64 // the same ID is the same toxic, whose settings may have changed
	Toxic    Toxic
	Toxicity float32 // the share of connections that it strikes
}

// Pipe is one direction of a connection with its toxics. Data go in by Put and come
// out by Next, when Step has moved them. Its zero value has no toxics. It is not safe
// for several goroutines.
type Pipe struct {
	stages []*stage
	out    []chunk
	bytes  int // in out
	end    End // that came out
	in     End // that went in
}

// chunk is data that arrived together.
type chunk struct {
	data []byte
	at   time.Time // when it was read; a latency adds to it
	came time.Time // when it came to its stage
}

// stage is a toxic in one direction of one connection.
type stage struct {
	id     uint64
	toxic  Toxic
	struck bool // or the connection is spared, and all passes

	began      time.Time // when the toxic came into force here
	openBefore bool      // the connection was open already

	q     []chunk
	bytes int
	next  *stage // nil: the last one
	pipe  *Pipe

	end      End // that came in
	endCame  time.Time
	holdsEnd bool // the end does not pass yet
	told     bool // the end has passed

	due      time.Time // of the head, or of the next piece
	free     time.Time // when all data before have passed at the rate
	cuts     []int     // sizes of pieces of the head
	passed   int64     // bytes
	struckAt time.Time // when a reset was called for
}

var spared Toxic = new(NoopToxic)

// acts is the toxic, or one that does nothing where the connection is spared.
func (s *stage) acts() Toxic {
	if s.struck {
		return s.toxic
	}
	return spared
}

func (s *stage) keep(c chunk) {
	s.q, s.bytes = append(s.q, c), s.bytes+len(c.data)
}

// mayPass reports whether there is data, and room for it further on.
func (s *stage) mayPass() bool {
	if len(s.q) == 0 {
		return false
	}
	if s.next == nil {
		return s.pipe.bytes < fewBytes
	}
	return !s.next.full()
}

// manyChunks is how many chunks a stage keeps: the smallest have few bytes each.
const manyChunks = 8192

func (s *stage) full() bool { return s.bytes >= s.acts().room() || len(s.q) >= manyChunks }

func (s *stage) take() chunk {
	c := s.q[0]
	s.q[0] = chunk{}
	if s.q = s.q[1:]; len(s.q) == 0 {
		s.q = nil
	}
	s.bytes -= len(c.data)
	return c
}

// takeBytes takes the first n bytes of the head.
func (s *stage) takeBytes(n int) chunk {
	if n >= len(s.q[0].data) {
		return s.take()
	}
	c := s.q[0]
	c.data, s.q[0].data = c.data[:n], c.data[n:]
	s.bytes -= n
	return c
}

func (s *stage) endWith(e End, now time.Time) {
	if e > s.end {
		if s.end == None {
			s.endCame = now
		}
		s.end, s.told = e, false
	}
}

// strike notes when a reset was called for first.
func (s *stage) strike(at time.Time) {
	if s.struckAt.IsZero() {
		s.struckAt = at
	}
}

// Set puts toxics in force, in their order, and says with lot how the lots of this
// connection fall: from 0 to 1, and below the toxicity it is struck. fresh says that
// the connection begins. What a toxic held that is gone passes on.
func (p *Pipe) Set(now time.Time, all []Setting, lot func(id uint64) float32, fresh bool) {
	was := p.stages
	p.stages = make([]*stage, len(all))
	keeps := map[uint64]*stage{}
	for _, s := range was {
		keeps[s.id] = s
	}
	for i, a := range all {
		s := keeps[a.ID]
		if delete(keeps, a.ID); s == nil {
			s = &stage{id: a.ID, pipe: p, began: now, openBefore: !fresh}
		}
		if struck := lot(a.ID) < a.Toxicity; s.toxic != a.Toxic || struck != s.struck {
			s.due, s.cuts, s.holdsEnd = time.Time{}, nil, false
			if s.toxic != nil { // it has changed: its time begins again
				s.began = now
			}
			s.toxic, s.struck = a.Toxic, struck
		}
		p.stages[i] = s
	}
	// Those that are gone hand what they have to the next that stays. An end that has
	// passed need not pass again.
	for i, s := range slices.Backward(was) { // the last ones have the oldest data
		if keeps[s.id] == nil {
			continue
		}
		to := (*stage)(nil)
		for _, later := range was[i+1:] {
			if keeps[later.id] == nil {
				to = later
				break
			}
		}
		for _, c := range s.q {
			p.give(to, now, c)
		}
		if _, cut := s.toxic.(*TimeoutToxic); cut && s.struck {
			s.endWith(Close, now)
		}
		p.giveEnd(s, to, now)
	}
	for i, s := range p.stages {
		s.next = nil
		if i+1 < len(p.stages) {
			s.next = p.stages[i+1]
		}
	}
	for i := range p.stages { // a stage behind one whose end has passed ends too
		if i > 0 && p.stages[i-1].told {
			p.stages[i].endWith(p.stages[i-1].end, now)
		}
	}
	if len(p.stages) > 0 && p.in != None {
		p.stages[0].endWith(p.in, now)
	}
}

// give hands data to a stage, or to what comes out.
func (p *Pipe) give(to *stage, now time.Time, c chunk) {
	switch {
	case len(c.data) == 0:
	case to != nil:
		c.came = now
		to.acts().put(to, now, c)
	case p.end == None:
		p.out, p.bytes = append(p.out, c), p.bytes+len(c.data)
	}
}

// giveEnd hands the end of s to the next stage, or to what comes out.
func (p *Pipe) giveEnd(s, to *stage, now time.Time) {
	if s.end == None || s.told {
		return
	}
	s.told = true
	if to != nil {
		to.endWith(s.end, now)
	} else {
		p.end = max(p.end, s.end)
	}
}

// Empty reports whether data pass at once and untouched: there are no toxics, and
// nothing is held.
func (p *Pipe) Empty() bool { return len(p.stages) == 0 && len(p.out) == 0 && p.end == None }

// Room reports whether more data should be read.
func (p *Pipe) Room() bool {
	if len(p.stages) == 0 {
		return p.bytes < fewBytes
	}
	return !p.stages[0].full()
}

// Put hands over data that was read at now. They belong to the Pipe from then on.
func (p *Pipe) Put(now time.Time, data []byte) { p.give(p.first(), now, chunk{data: data, at: now}) }

// End says how the source has ended.
func (p *Pipe) End(now time.Time, e End) {
	if p.in = max(p.in, e); len(p.stages) > 0 {
		p.stages[0].endWith(p.in, now)
	} else {
		p.end = max(p.end, p.in)
	}
}

func (p *Pipe) first() *stage {
	if len(p.stages) == 0 {
		return nil
	}
	return p.stages[0]
}

// Step moves what is due at now, and says when it must be called again; the zero time:
// when something has changed.
func (p *Pipe) Step(now time.Time) (next time.Time) {
	for moved := true; moved; {
		moved, next = false, time.Time{}
		for _, s := range p.stages {
			due := s.acts().step(s, now, func(c chunk) { moved = true; p.give(s.next, now, c) })
			if !due.IsZero() && (next.IsZero() || due.Before(next)) {
				next = due
			}
			if s.end != None && !s.told && !s.holdsEnd && len(s.q) == 0 {
				moved = true
				p.giveEnd(s, s.next, now)
			}
		}
	}
	return next
}

// Next is data to be written, as it is to be written together; nil: there is none now.
func (p *Pipe) Next() []byte {
	if len(p.out) == 0 {
		return nil
	}
	return p.out[0].data
}

// Wrote says that the first n bytes of Next were written.
func (p *Pipe) Wrote(n int) {
	p.bytes -= n
	if p.out[0].data = p.out[0].data[n:]; len(p.out[0].data) > 0 {
		return
	}
	p.out[0] = chunk{}
	if p.out = p.out[1:]; len(p.out) == 0 {
		p.out = nil
	}
}

// Ended is how the direction has ended, behind what Next still has.
func (p *Pipe) Ended() End { return p.end }
