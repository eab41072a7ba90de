package faults

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Share is a probability, written as 0.1 or 10%.
type Share float64

// TypeName implements Typed.
func (Share) TypeName() string { return "share" }

// MarshalText writes a percentage.
func (s Share) MarshalText() ([]byte, error) {
	return []byte(strconv.FormatFloat(float64(s)*100, 'g', 10, 64) + "%"), nil
}

// UnmarshalText reads 10% or 0.1. The result lies in 0 to 1.
func (s *Share) UnmarshalText(text []byte) error {
	num, percent := strings.CutSuffix(string(text), "%")
	v, err := strconv.ParseFloat(num, 64)
	if err != nil {
		return fmt.Errorf("%q is not a share: write 10%% or 0.1", text)
	}
	if percent {
		v /= 100
	}
	if !(v >= 0 && v <= 1) {
		return fmt.Errorf("%q lies outside 0%% to 100%%", text)
	}
	*s = Share(v)
	return nil
}

func needRate(r Share) error {
	if r == 0 {
		return errors.New("rate: how many? Give --rate, such as 1%")
	}
	return nil
}
