package experiment

import (
	"slices"
	"strings"
	"testing"
)

// TestMarshalYAML holds that a Spec is written as YAML that people read, and that no
// word of it is taken for something else when it is read again.
func TestMarshalYAML(t *testing.T) {
	s, err := ParseSpec([]byte(`{"fault": "delay:by=50ms", "target": {"to": ":5432"}}`))
	if err != nil {
		t.Fatal(err)
	}
	s.Command = []string{"sh", "-c", "a: b\n  c\n", "300", "true", "~", "- x", "a\tb", "#x", "x: y", "", "é\u2028"}
	text, err := s.MarshalYAML()
	if err != nil || strings.ContainsAny(string(text), "{}[]") {
		t.Errorf("%v\n%s", err, text)
	}
	again, err := ParseSpec(text)
	if err != nil || !slices.Equal(again.Command, s.Command) {
		t.Errorf("%v: %q\n%s", err, again.Command, text)
	}
}
