package faults

import (
	"strings"
	"testing"
)

func TestParseSpecs(t *testing.T) {
	for text, want := range map[string]string{
		"refuse":                           "refuse",
		"idle-expire:after=300s":           "idle-expire:after=300s",
		"idle-expire:after=1s,then=silent": "idle-expire:after=1s,then=silent",
		"reset,idle-expire:after=1s,then=silent,syn-drop:attempts=2": "reset | idle-expire:after=1s,then=silent | syn-drop:attempts=2",
		"half-open:unreachable,peer=crashed":                         "half-open:unreachable=true,peer=crashed",
		"reset:at=segment=3":                                         "reset:at=segment=3",
	} {
		specs, err := ParseSpecs(text)
		var got []string
		for _, s := range specs {
			got = append(got, s.String())
		}
		if err != nil || strings.Join(got, " | ") != want {
			t.Errorf("%s: %v, %v; want %s", text, got, err, want)
		}
		for _, s := range specs {
			again, err := ParseSpecs(s.String())
			if err != nil || len(again) != 1 || again[0].String() != s.String() {
				t.Errorf("%s is read back as %v, %v", s, again, err)
			}
		}
	}
	for text, says := range map[string]string{
		"":                          "unknown fault",
		"idle-expier":               `did you mean "idle-expire"?`,
		"after=1s":                  "no fault stands before it",
		"idle-expire:afetr=1s":      `did you mean "after"?`,
		"idle-expire:after=300":     "did you mean 300s?",
		"idle-expire:then=nonsense": "none of",
		"idle-expire:after":         "not knob=value",
	} {
		if _, err := ParseSpecs(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want something about %q", text, err, says)
		}
	}
	specs, err := ParseSpecs("idle-expire")
	if err == nil {
		_, err = specs[0].Model()
	}
	if err == nil {
		t.Error("idle-expire without a time is no fault, and no error says so")
	}
}
