package faults

import (
	"time"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/faults/packet"
)

// RTT is how long a forged answer takes. The zero value is automatic: no
// sooner than the handshake took, if that was seen, so that an answer is never
// faster than the path allows. A fixed time, 0 included, overrides that.
type RTT struct {
	fixed bool
	d     time.Duration
}

// RTTOf is a fixed time.
func RTTOf(d time.Duration) RTT { return RTT{true, d} }

// TypeName implements Typed.
func (RTT) TypeName() string { return "duration|auto" }

// MarshalText writes "auto" or a duration.
func (r RTT) MarshalText() ([]byte, error) {
	if !r.fixed {
		return []byte("auto"), nil
	}
	return []byte(words.ShortDuration(r.d)), nil
}

// UnmarshalText reads what MarshalText writes.
func (r *RTT) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*r = RTT{}
		return nil
	}
	d, err := words.ParseDuration(string(text))
	*r = RTT{true, d}
	return err
}

// answer sends f as the answer of a host that far away.
func (r RTT) answer(out *Effects, f packet.Fields) {
	if r.fixed {
		out.ForgeAfter(r.d, f, nil)
		return
	}
	out.Answer(f)
}
