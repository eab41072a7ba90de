package faults

import "fmt"

// Span is how far a connection has come: its age, or the payload that it has
// carried. The zero value is none.
type Span struct{ trigger Trigger }

// TypeName implements Typed.
func (Span) TypeName() string { return "duration|bytes" }

// MarshalText writes the span as people type it, and nothing for none.
func (s Span) MarshalText() ([]byte, error) {
	switch s.trigger.kind {
	case atAge:
		return []byte(ShortDuration(s.trigger.d)), nil
	case atBytes:
		return Bytes(s.trigger.n).MarshalText()
	}
	return nil, nil
}

// UnmarshalText reads a duration, such as 30s, or a number of bytes, such as 4096
// or 64k. 5m are five minutes.
func (s *Span) UnmarshalText(text []byte) error {
	d, err := ParseDuration(string(text))
	if err == nil && d > 0 {
		s.trigger = Trigger{kind: atAge, d: d}
		return nil
	}
	var b Bytes
	if b.UnmarshalText(text) != nil || b == 0 {
		return fmt.Errorf("%q is neither a duration nor a number of bytes: write 30s, 4096 or 64k", text)
	}
	s.trigger = Trigger{kind: atBytes, n: uint64(b)}
	return nil
}
