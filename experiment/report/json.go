package report

import (
	"encoding/json"
	"io"
)

// JSON writes r as one object, with its durations in seconds.
func JSON(w io.Writer, r *Report) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// MarshalJSON implements json.Marshaler.
func (r *Report) MarshalJSON() ([]byte, error) {
	type plain Report
	return json.Marshal(struct {
		*plain
		Took    float64  `json:"took_seconds"`
		Passed  bool     `json:"passed"`
		Summary string   `json:"summary"`
		Cases   []Case   `json:"cases"`
		Flaws   []string `json:"flaws"`
	}{(*plain)(r), r.Took.Seconds(), r.Passed(), r.Summary(), list(r.Cases), list(r.Flaws)})
}

// MarshalJSON implements json.Marshaler.
func (c Case) MarshalJSON() ([]byte, error) {
	type plain Case
	c.Faults, c.Events, c.Packets = list(c.Faults), list(c.Events), list(c.Packets)
	return json.Marshal(struct {
		plain
		Took float64 `json:"took_seconds"`
	}{plain(c), c.Took.Seconds()})
}

// list is s, or an empty list instead of nil.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
