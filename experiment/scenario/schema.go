package scenario

import (
	_ "embed"
	"encoding/json"
	"sync"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/document"
)

//go:embed schema.json
var outline []byte

// grammar is what scenario files may say: the outline in schema.json, with the
// faults of the catalogue and the words of a target from the schema of a Spec.
type grammar struct {
	tree   map[string]any
	text   []byte
	schema *document.Schema
}

// NewLanguage completes the outline. words are those of a target.
func NewLanguage(words []Word) *Language {
	l := &Language{words: words}
	decode(outline, &l.tree)
	defs := l.tree["$defs"].(map[string]any)
	target := defs["target"].(map[string]any)["properties"].(map[string]any)
	for _, w := range words {
		target[w.Name] = w.schema()
	}
	step := defs["step"].(map[string]any)["properties"].(map[string]any)
	kinds := step["fault"].(map[string]any)["properties"].(map[string]any)
	for _, k := range faults.Catalog {
		kinds[k.Name] = kindSchema(k)
	}
	return l
}

func decode(text []byte, into any) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		panic(fmt.Sprintf("schema.json: %v", err)) // unreachable: a test reads it
	}
}

func (w Word) schema() map[string]any {
	s := map[string]any{"description": w.Help}
	scalar := map[string]any{"$ref": "#/$defs/scalar"}
	switch {
	case w.Kind == Switch:
		s["type"] = "boolean"
	case w.Kind == Many:
		s["type"], s["items"] = []any{"string", "number", "array"}, scalar
	case w.Name == "percent":
		s["$ref"] = "#/$defs/percent"
	default:
		s["type"] = []any{"string", "number"}
	}
	return s
}

// kindSchema is a fault's name with its settings below it.
func kindSchema(k faults.Kind) map[string]any {
	knobs := map[string]any{}
	for _, knob := range faults.Knobs(k.New()) {
		s := map[string]any{"description": knob.Help, "default": knob.Default}
		switch {
		case knob.OneOf != nil:
			all := make([]any, len(knob.OneOf))
			for i, v := range knob.OneOf {
				all[i] = v
			}
			s["enum"] = all
		case knob.Type == "bool":
			s["type"] = "boolean"
		case knob.Type == "int":
			s["type"] = "integer"
		case knob.Type == "duration":
			s["$ref"] = "#/$defs/duration"
		default:
			s["$ref"] = "#/$defs/scalar"
		}
		knobs[knob.Name] = s
		for _, old := range knob.Aliases {
			knobs[old] = map[string]any{"description": "old spelling of " + knob.Name, "deprecated": true, "$ref": "#/$defs/scalar"}
		}
	}
	return map[string]any{
		"description": k.Cause, "type": []any{"object", "null"}, "additionalProperties": false, "properties": knobs,
	}
}

// JSON is the schema as it is published.
func (l *Language) JSON() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(l.tree); err != nil {
		panic(err) // unreachable: it came from JSON
	}
	return b.Bytes()
}

const schemaURL = "mem://scenario.schema.json"

var compiling sync.Mutex

// compiled is the schema ready to check files with.
func (l *Language) compiled() *jsonschema.Schema {
	compiling.Lock()
	defer compiling.Unlock()
	if l.schema != nil {
		return l.schema
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(l.JSON()))
	c := jsonschema.NewCompiler()
	if err == nil {
		err = c.AddResource(schemaURL, doc)
	}
	if err == nil {
		l.schema, err = c.Compile(schemaURL)
	}
	if err != nil {
		panic(err) // unreachable: it is made of plain values
	}
	document.Decode(text, &spec)
	g.tree["$defs"].(map[string]any)["target"].(map[string]any)["properties"] = definition(spec, "target")["properties"]
	step := definition(g.tree, "step")["properties"].(map[string]any)
	step["fault"].(map[string]any)["properties"] = definition(spec, "fault")["properties"]
	g.text = document.Encode(g.tree)
	g.schema = document.Compile(g.text)
	g.schema.OneOf = "a probe is exactly one of http, tcp and command"
	g.schema.Key = func(path []string) string {
		if len(path) == 3 && path[0] == "faults" && path[2] == "fault" {
			return "fault"
		}
		return "key"
	}
	return g
})

func definition(schema map[string]any, name string) map[string]any {
	return schema["$defs"].(map[string]any)[name].(map[string]any)
}

// Schema is the JSON Schema of scenario files, as it is published.
func Schema() []byte { return language().text }
