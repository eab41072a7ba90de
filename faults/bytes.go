package faults

import (
	"fmt"
	"strconv"
	"strings"
)

// Bytes is a number of bytes, written as 4096, 64k, 5m or 1g: of 1024, whether or
// not b or ib follows, in either case.
type Bytes int64

const bytesForms = "4096, 64k, 5m or 1g (64kB and 64KiB are the same as 64k)"

// TypeName implements Typed.
func (Bytes) TypeName() string { return "bytes" }

// MarshalText writes the number.
func (b Bytes) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(b), 10), nil }

// UnmarshalText reads a whole number that is not negative. k, m and g behind it
// stand for 1024, 1024² and 1024³; b and ib may follow them, and b the number.
func (b *Bytes) UnmarshalText(text []byte) error {
	num := strings.ToLower(string(text))
	long, binary := strings.CutSuffix(num, "ib")
	if !binary {
		long = strings.TrimSuffix(num, "b")
	}
	num = strings.TrimRight(long, "kmg")
	shift, known := map[string]uint{"": 0, "k": 10, "m": 20, "g": 30}[long[len(num):]]
	n, err := strconv.ParseInt(num, 10, 42)
	if err != nil || n < 0 || !known || binary && shift == 0 || n > maxBytes>>shift {
		return fmt.Errorf("%q is not a number of bytes: write "+bytesForms, text)
	}
	*b = Bytes(n << shift)
	return nil
}

// maxBytes is far above what a connection carries, and leaves room to add.
const maxBytes = 1<<62 - 1
