package scenario

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/internal/words"
)

// Duration is a time.Duration that is written with its unit.
type Duration time.Duration

// UnmarshalJSON reads "30s".
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := words.ParseDuration(s)
	*d = Duration(v)
	return err
}

// Percent is a share of connections, 0 to 100.
type Percent float64

// UnmarshalJSON reads 10 or "10%".
func (p *Percent) UnmarshalJSON(b []byte) error {
	var s scalar
	if err := s.UnmarshalJSON(b); err != nil {
		return err
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(string(s), "%"), 64)
	if err == nil && !(v >= 0 && v <= 100) {
		err = fmt.Errorf("%s lies outside 0 to 100", s)
	}
	*p = Percent(v)
	return err
}

// scalar is a text or a number, as it was typed.
type scalar string

func (s *scalar) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] != '"' {
		*s = scalar(b)
		return nil
	}
	return json.Unmarshal(b, (*string)(s))
}

// Count is a number of connections.
type Count struct {
	N    uint64
	said bool
}

// UnmarshalJSON reads a number, true or false.
func (c *Count) UnmarshalJSON(b []byte) (err error) {
	c.said = true
	switch string(b) {
	case "true":
		c.N = 1
	case "false":
		c.N = 0
	default:
		err = json.Unmarshal(b, &c.N)
	}
	return err
}

// Tolerance is how many tries may fail: a share of them, or a number.
type Tolerance struct {
	Share float64 // 0 to 1
	Tries uint64
}

// UnmarshalJSON reads 3 or "5%".
func (t *Tolerance) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] != '"' {
		return json.Unmarshal(b, &t.Tries)
	}
	var p Percent
	err := p.UnmarshalJSON(b)
	t.Share = float64(p) / 100
	return err
}

// String writes it as in the file.
func (t Tolerance) String() string {
	if t.Share > 0 {
		return strconv.FormatFloat(t.Share*100, 'g', 10, 64) + "%"
	}
	return strconv.FormatUint(t.Tries, 10)
}

// Status is a range of statuses of HTTP.
type Status struct{ Low, High int }

// UnmarshalJSON reads 204 or "200-399".
func (s *Status) UnmarshalJSON(b []byte) error {
	var text scalar
	if err := text.UnmarshalJSON(b); err != nil {
		return err
	}
	low, high, ranged := strings.Cut(string(text), "-")
	if !ranged {
		high = low
	}
	var err1, err2 error
	s.Low, err1 = strconv.Atoi(low)
	s.High, err2 = strconv.Atoi(high)
	return errors.Join(err1, err2)
}

// String writes it as in the file.
func (s Status) String() string {
	if s.Low == s.High {
		return strconv.Itoa(s.Low)
	}
	return fmt.Sprintf("%d-%d", s.Low, s.High)
}

// Command is a program and its arguments.
type Command []string

// UnmarshalJSON reads a list of words, or a line for sh.
func (c *Command) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var line string
		err := json.Unmarshal(b, &line)
		*c = Command{"sh", "-c", line}
		return err
	}
	var words []scalar
	err := json.Unmarshal(b, &words)
	for _, w := range words {
		*c = append(*c, string(w))
	}
	return err
}

// UnmarshalJSON reads a URL, or a mapping.
func (h *HTTP) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &h.URL)
	}
	type plain HTTP
	return json.Unmarshal(b, (*plain)(h))
}

// UnmarshalJSON reads HOST:PORT, or a mapping.
func (t *TCP) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &t.Address)
	}
	type plain TCP
	return json.Unmarshal(b, (*plain)(t))
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a URL", s)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%q does not begin with http:// or https://", s)
	case u.Hostname() == "":
		return fmt.Errorf("%q names no host", s)
	}
	return nil
}

func checkAddress(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q is not a port from 1 to 65535", port)
	}
	return nil
}

// String writes the duration without units that are zero: 5m.
func (d Duration) String() string { return words.ShortDuration(time.Duration(d)) }
