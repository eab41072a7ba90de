package words

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads a duration as Go writes it, and days as well: 300s, 5m,
// 1h30m, 5d. A bare number is refused with the unit that was probably meant.
// The result is not negative.
func ParseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseFloat(days, 64); err == nil && n >= 0 && n < 100_000 {
			return time.Duration(n * 24 * float64(time.Hour)), nil
		}
	}
	d, err := time.ParseDuration(s)
	if s != "0" && strings.Trim(s, "0123456789.") == "" && s != "" {
		return 0, fmt.Errorf("%q has no unit: did you mean %ss?", s, s)
	}
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration: write 300s, 5m or 1h30m", s)
	}
	if d < 0 {
		return 0, fmt.Errorf("%q is negative", s)
	}
	return d, nil
}

// ShortDuration writes d without units that are zero: 5m, not 5m0s.
func ShortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
