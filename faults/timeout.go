package faults

import (
	"time"

	"github.com/faultctl/faultctl/internal/words"
)

// Timeout is a time limit that may be zero. The zero value means that none is
// given, and a knob then has its default.
type Timeout struct {
	given bool
	d     time.Duration
}

// TimeoutOf is a time limit of d.
func TimeoutOf(d time.Duration) Timeout { return Timeout{given: true, d: d} }

// TypeName implements Typed.
func (Timeout) TypeName() string { return "duration" }

// MarshalText writes a duration, or nothing if none is given.
func (t Timeout) MarshalText() ([]byte, error) {
	if !t.given {
		return nil, nil
	}
	return []byte(words.ShortDuration(t.d)), nil
}

// UnmarshalText reads a duration, 0s included.
func (t *Timeout) UnmarshalText(text []byte) error {
	d, err := words.ParseDuration(string(text))
	if err == nil {
		*t = TimeoutOf(d)
	}
	return err
}
