package event_test

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/goldentest"
)

// TestEventsPage holds that docs/EVENTS.md is what the types say. With -update it
// is written anew, which is what make docs does.
func TestEventsPage(t *testing.T) {
	goldentest.Compare(t, "../../../docs/EVENTS.md", event.Page())
}

// TestEventsPageLines holds that the lines that the page shows are events: each
// one is decoded and encoded to the same bytes.
func TestEventsPageLines(t *testing.T) {
	seen := map[reflect.Type]bool{}
	for _, m := range regexp.MustCompile("(?m)^```json\n(.*\n)```$").FindAllStringSubmatch(event.Page(), -1) {
		e, err := event.Decode([]byte(m[1]))
		if err != nil {
			t.Fatalf("%s: %v", m[1], err)
		}
		seen[reflect.TypeOf(e)] = true
		if got := event.Encode(e.When(), e); string(got) != m[1] {
			t.Errorf("%sis written as\n%s", m[1], got)
		}
	}
	for _, kind := range all {
		if !seen[kind] {
			t.Errorf("the page has no line of a %v", kind)
		}
	}
}

// TestEventsPageWords holds that the page has every word that the fields of a
// fired event and the verdict of a case may have.
func TestEventsPageWords(t *testing.T) {
	words := map[string][]string{"verdict": {
		string(report.Passed), string(report.Survived), string(report.Failed), string(report.NeverFired), string(report.Broken), string(report.Skipped),
	}}
	for a := range faults.Held + 1 {
		words["action"] = append(words["action"], a.String())
	}
	for s := range faults.Server + 1 {
		words["to"] = append(words["to"], s.String())
	}
	for field, has := range words {
		rows := regexp.MustCompile("(?m)^\\| `"+field+"` \\| (.*)$").FindAllString(event.Page(), -1)
		for _, w := range has {
			if !slices.ContainsFunc(rows, func(row string) bool { return strings.Contains(row, "`"+w+"`") }) {
				t.Errorf("%s may be %q, which the page does not say", field, w)
			}
		}
	}
}

// TestDocTags holds that every field of an event says what it means, in a cell
// of a table.
func TestDocTags(t *testing.T) {
	for _, kind := range append(slices.Clone(all), reflect.TypeFor[event.FileCheck]()) {
		fieldsOf(kind, func(owner reflect.Type, f reflect.StructField) {
			if doc := f.Tag.Get("doc"); doc == "" || strings.ContainsAny(doc, "|\n") {
				t.Errorf("%v.%s says %q", owner, f.Name, doc)
			}
			if f.Tag.Get("json") == "" {
				t.Errorf("%v.%s has no name in JSON", owner, f.Name)
			}
		})
	}
}

// fieldsOf calls f with the fields of a type and of the structs in it, without
// those of Head.
func fieldsOf(kind reflect.Type, f func(owner reflect.Type, field reflect.StructField)) {
	for i := range kind.NumField() {
		field := kind.Field(i)
		if field.Type == reflect.TypeFor[event.Head]() {
			continue
		}
		if !field.Anonymous {
			f(kind, field)
		}
		inner := field.Type
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			fieldsOf(inner, f)
		}
	}
}
