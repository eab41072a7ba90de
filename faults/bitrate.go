package faults

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// BitRate is a rate in bits a second, written as tc writes it.
type BitRate float64

var rateUnits = []struct {
	suffix string
	bits   float64
}{ // the longer suffix first
	{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1},
	{"gbps", 8e9}, {"mbps", 8e6}, {"kbps", 8e3}, {"bps", 8},
}

// TypeName implements Typed.
func (BitRate) TypeName() string { return "rate" }

// MarshalText writes the rate with the largest unit that leaves no fraction, and
// nothing for zero, which no link has.
func (r BitRate) MarshalText() ([]byte, error) {
	if r == 0 {
		return nil, nil
	}
	for _, u := range rateUnits[:4] {
		if n := float64(r) / u.bits; n >= 1 && n == float64(int64(n)) {
			return []byte(strconv.FormatInt(int64(n), 10) + u.suffix), nil
		}
	}
	return []byte(strconv.FormatFloat(float64(r), 'g', -1, 64) + "bit"), nil
}

// UnmarshalText reads a number and a unit: bit, kbit, mbit, gbit for bits a
// second, bps, kbps, mbps, gbps for bytes a second.
func (r *BitRate) UnmarshalText(text []byte) error {
	s := strings.ToLower(string(text))
	for _, u := range rateUnits {
		num, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(num, 64)
		if err != nil || !(n > 0 && n*u.bits <= 1e12) {
			return fmt.Errorf("%q is not a rate between 0 and 1000gbit", text)
		}
		*r = BitRate(n * u.bits)
		return nil
	}
	return fmt.Errorf("%q has no unit: write 1mbit, 500kbit or 64kbps (bytes a second), as tc does", text)
}

// time returns how long the link needs for n bytes.
func (r BitRate) time(n int) time.Duration {
	return time.Duration(float64(n) * 8 / float64(r) * float64(time.Second))
}
