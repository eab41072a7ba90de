package cli

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults"
)

// TestEventsPage holds that docs/EVENTS.md has the fields of each event, and no
// others, and the words that fired may have.
func TestEventsPage(t *testing.T) {
	text, err := os.ReadFile("../docs/EVENTS.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, s := range strings.Split(string(text), "\n## ")[1:] {
		name, rest, _ := strings.Cut(s, "\n")
		sections[name] = rest
	}
	events := map[string]reflect.Type{
		"started": reflect.TypeFor[startedEvent](), "ready": reflect.TypeFor[readyEvent](), "flow": reflect.TypeFor[flowEvent](),
		"fired": reflect.TypeFor[firedEvent](), "target": reflect.TypeFor[targetEvent](), "ended": reflect.TypeFor[endedEvent](),
		"error": reflect.TypeFor[errorEvent](),
	}
	if len(sections) != len(events) {
		t.Errorf("the page has %d events, of %d", len(sections), len(events))
	}
	for name, kind := range events {
		want, got := fieldsOf(kind), tableFields(sections[name])
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Errorf("%s has %q on the page, not %q", name, got, want)
		}
	}
	for field, most := range map[string]int{"action": int(faults.Held) + 1, "to": int(faults.Server) + 1} {
		var words []string
		for n := range most {
			if field == "to" {
				words = append(words, faults.Side(n).String())
			} else {
				words = append(words, faults.Action(n).String())
			}
		}
		row := regexp.MustCompile("(?m)^\\| `" + field + "` \\| (.*)$").FindString(sections["fired"])
		for _, w := range words {
			if !strings.Contains(row, "`"+w+"`") {
				t.Errorf("fired: %s may be %q, which the page does not say", field, w)
			}
		}
	}
}

// fieldsOf lists the names of an event's fields in JSON, without those that all
// events have.
func fieldsOf(kind reflect.Type) (names []string) {
	for i := range kind.NumField() {
		switch f := kind.Field(i); {
		case f.Type == reflect.TypeFor[head]():
		case f.Anonymous:
			names = append(names, fieldsOf(f.Type)...)
		default:
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
}

// tableFields lists what stands in the first column of tables.
func tableFields(section string) (names []string) {
	for _, line := range strings.Split(section, "\n") {
		if cell, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " | "); ok && strings.HasPrefix(line, "| `") {
			for _, n := range strings.Split(cell, ", ") {
				names = append(names, strings.Trim(n, "`"))
			}
		}
	}
	return names
}
