package faults

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Chance is a probability, from 0 to 1. The zero value means that none is given,
// so that never can be said: ChanceOf(0).
type Chance struct {
	given bool
	p     float64
}

// ChanceOf is the probability p, from 0 (never) to 1 (always).
func ChanceOf(p float64) Chance { return Chance{given: true, p: p} }

// Given reports whether there is a probability at all.
func (c Chance) Given() bool { return c.given }

// P is the probability, 0 if none is given.
func (c Chance) P() float64 { return c.p }

// TypeName implements Typed.
func (Chance) TypeName() string { return "share" }

// MarshalText writes a percentage, the probability itself if ten digits of a
// percentage do not say it exactly, or nothing if no probability is given.
func (c Chance) MarshalText() ([]byte, error) {
	if !c.given {
		return nil, nil
	}
	percent := []byte(strconv.FormatFloat(c.p*100, 'g', 10, 64) + "%")
	var read Chance
	if read.UnmarshalText(percent) != nil || read != c {
		return strconv.AppendFloat(nil, c.p, 'g', -1, 64), nil
	}
	return percent, nil
}

// UnmarshalText reads 10% or 0.1. The result lies in 0 to 1.
func (c *Chance) UnmarshalText(text []byte) error {
	num, percent := strings.CutSuffix(string(text), "%")
	p, err := strconv.ParseFloat(num, 64)
	if err != nil {
		return fmt.Errorf("%q is not a share: write 10%% or 0.1", text)
	}
	if percent {
		p /= 100
	}
	if !valid(p) {
		return fmt.Errorf("%q lies outside 0%% to 100%%", text)
	}
	*c = ChanceOf(p)
	return nil
}

func valid(p float64) bool { return p >= 0 && p <= 1 } // false for NaN

// draw reports whether it happens this time.
func (c Chance) draw(r *rand.Rand) bool { return r.Float64() < c.p }

// required reports that the chance is not given. It is that knob of m, the share
// of the segments that are so.
func (c Chance) required(m Model, knob, so string) error {
	if !c.given {
		return wrong(m, knob, "how many segments are %s? Give a share, such as 10%%", so)
	}
	return nil
}
