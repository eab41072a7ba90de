package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Schema is a JSON Schema that documents are checked against. Its definitions of
// the name "duration" are durations as words.ParseDuration reads them.
type Schema struct {
	// OneOf says in words what a oneOf of the schema requires.
	OneOf string
	// Key returns what errors call a key of the mapping at a path. If it is nil,
	// they say "key".
	Key func(path []string) string

	tree     map[string]any
	compiled *jsonschema.Schema
}

const schemaURL = "mem://schema.json"

// Compile parses a schema that is part of this program. It panics if the text
// is not a schema.
func Compile(text []byte) *Schema {
	s := &Schema{}
	Decode(text, &s.tree)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	c := jsonschema.NewCompiler()
	if err == nil {
		err = c.AddResource(schemaURL, doc)
	}
	if err == nil {
		s.compiled, err = c.Compile(schemaURL)
	}
	if err != nil {
		panic(fmt.Sprintf("schema: %v", err)) // unreachable: a test compiles each
	}
	return s
}

// Decode parses JSON that is part of this program, and panics if it is not
// JSON. Numbers are json.Number.
func Decode(text []byte, into any) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		panic(fmt.Sprintf("schema: %v", err)) // unreachable: a test reads each
	}
}

// Encode writes a schema as it is published.
func Encode(tree map[string]any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(tree); err != nil {
		panic(err) // unreachable: it came from JSON
	}
	return b.Bytes()
}

// mostProblems is how many problems of a file are told: nobody reads more, and to find
// what each unknown key may have meant takes time.
const mostProblems = 100

// Check checks a document against the schema and returns what is wrong, in the
// order of the file.
func (s *Schema) Check(d *Document) Problems {
	err := s.compiled.Validate(d.Tree)
	var bad *jsonschema.ValidationError
	if !errors.As(err, &bad) {
		return nil
	}
	var ps Problems
	s.collect(d, bad, &ps)
	return ps.InOrder()
}

// collect gathers the errors that have no further causes. An error about a
// choice between forms is one error.
func (s *Schema) collect(d *Document, e *jsonschema.ValidationError, ps *Problems) {
	if len(*ps) >= mostProblems {
		return
	}
	if _, choice := e.ErrorKind.(*kind.OneOf); choice {
		*ps = append(*ps, d.problem(d.at(e.InstanceLocation), display(e.InstanceLocation), "%s", s.OneOf))
		return
	}
	for _, c := range e.Causes {
		s.collect(d, c, ps)
	}
	if len(e.Causes) == 0 {
		*ps = append(*ps, s.explain(d, e)...)
	}
}

// explain says one error of the schema in words.
func (s *Schema) explain(d *Document, e *jsonschema.ValidationError) Problems {
	path := e.InstanceLocation
	schema, name := s.find(e.SchemaURL)
	say := func(format string, args ...any) Problems {
		return Problems{d.problem(d.at(path), display(path), format, args...)}
	}
	got := d.Look(path)
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		return s.unknown(d, path, schema, k.Properties)
	case *kind.Required:
		names := make([]string, len(k.Missing))
		for i, m := range k.Missing {
			names[i] = fmt.Sprintf("%q", m)
		}
		return say("%s is missing", strings.Join(names, " and "))
	case *kind.Type, *kind.Pattern:
		if name == "duration" {
			if _, err := words.ParseDuration(text(got)); err != nil && isScalar(got) {
				return say("%v", err)
			}
			return say("%s; it must be a duration, such as 300s, 5m or 1h30m", describe(got))
		}
		if t, ok := k.(*kind.Type); ok {
			return say("%s; it must be %s", describe(got), wanted(t.Want))
		}
		return say("%s does not fit: %s", describe(got), schema["description"])
	case *kind.Enum:
		var names []string
		for _, w := range k.Want {
			if w != "" {
				names = append(names, fmt.Sprint(w))
			}
		}
		return say("%s is none of %s%s", describe(got), strings.Join(names, ", "), words.DidYouMean(text(got), names))
	case *kind.Minimum:
		return say("%s is less than %s", text(got), k.Want.RatString())
	case *kind.Maximum:
		return say("%s is more than %s", text(got), k.Want.RatString())
	case *kind.MinItems, *kind.MinLength, *kind.MinProperties:
		return say("it is empty")
	case *kind.MaxProperties:
		return say("it names %d faults; one entry has one, or a SPEC with several", k.Got)
	case *kind.UniqueItems:
		return say("something is here twice")
	}
	return say("%v", e)
}

// unknown reports unknown keys, each with the most similar known key.
func (s *Schema) unknown(d *Document, path []string, schema map[string]any, keys []string) Problems {
	properties, _ := schema["properties"].(map[string]any)
	names := make([]string, 0, len(properties))
	for n := range properties {
		names = append(names, n)
	}
	slices.Sort(names)
	var ps Problems
	slices.Sort(keys) // a map gave them
	for _, key := range keys[:min(len(keys), mostProblems)] {
		at := append(slices.Clone(path), key)
		what := "key"
		if s.Key != nil {
			what = s.Key(path)
		}
		p := d.problem(d.keyAt(at), display(path), "unknown %s %q%s", what, key, words.DidYouMean(key, names))
		if len(names) > 0 {
			p.Advice = "There are " + strings.Join(names, ", ") + "."
		} else {
			p.Advice = "It takes no settings."
		}
		ps = append(ps, p)
	}
	return ps
}

// find returns a part of the schema by its address, and its name if it is a
// definition.
func (s *Schema) find(address string) (schema map[string]any, name string) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, ""
	}
	parts := strings.Split(strings.TrimPrefix(u.Fragment, "/"), "/")
	at := s.tree
	for _, p := range parts {
		p = strings.NewReplacer("~1", "/", "~0", "~").Replace(p)
		below, ok := at[p].(map[string]any)
		if !ok {
			break
		}
		at = below
	}
	if len(parts) == 2 && parts[0] == "$defs" {
		name = parts[1]
	}
	return at, name
}

func isScalar(v any) bool {
	switch v.(type) {
	case map[string]any, []any, nil:
		return false
	}
	return true
}

// text writes a scalar as people type it.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}

// describe names a value in an error.
func describe(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return "this is a mapping"
	case []any:
		return "this is a list"
	case nil:
		return "there is no value"
	case string:
		const enough = 40 // the file may not be a scenario, but contain secrets
		if r := []rune(v); len(r) > enough {
			return fmt.Sprintf("%q…", string(r[:enough]))
		}
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprint(v)
}

// wanted names the types that a schema takes.
func wanted(types []string) string {
	var all []string
	for _, w := range [][2]string{
		{"string", "a text"}, {"number", "a number"}, {"integer", "a whole number"}, {"boolean", "true or false"},
		{"array", "a list"}, {"object", "a mapping"},
	} {
		if slices.Contains(types, w[0]) {
			all = append(all, w[1])
		}
	}
	return strings.Join(all, " or ")
}
