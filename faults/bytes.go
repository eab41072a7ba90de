package faults

import (
	"fmt"
	"strconv"
	"strings"
)

// Bytes is a number of bytes, written as 4096, 64k or 1m (of 1024).
type Bytes int64

// TypeName implements Typed.
func (Bytes) TypeName() string { return "bytes" }

// MarshalText writes the number.
func (b Bytes) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(b), 10), nil }

// UnmarshalText reads a whole number that is not negative, with k or m behind
// it for 1024 and 1024².
func (b *Bytes) UnmarshalText(text []byte) error {
	s, unit := strings.ToLower(string(text)), int64(1)
	for suffix, u := range map[string]int64{"k": 1 << 10, "m": 1 << 20} {
		if num, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = num, u
		}
	}
	n, err := strconv.ParseInt(s, 10, 42)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a number of bytes: write 4096, 64k or 1m", text)
	}
	*b = Bytes(n * unit)
	return nil
}
