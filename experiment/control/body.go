package control

import (
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/faultctl/faultctl/experiment"
)

// spec is a run as data, as PUT reads it. What is wrong with one is said by
// experiment.Spec, which knows the field and the advice; its schema is for the document.
type spec struct {
	experiment.Spec
	err error // what is wrong: the handler answers it, with its field and advice
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *spec) UnmarshalJSON(text []byte) error {
	b.err = b.Spec.UnmarshalJSON(text)
	return nil
}

// Schema implements huma.SchemaProvider.
func (spec) Schema(document huma.Registry) *huma.Schema {
	tree := experiment.Schema()
	delete(tree, "$schema")
	delete(tree, "type")
	whole := &huma.Schema{Type: "object", Extensions: referring(tree, "#/", schemaOfSpec+"/").(map[string]any),
		Examples: []any{map[string]any{"fault": "delay:by=50ms", "target": map[string]any{"to": ":5432"}}}}
	whole.PrecomputeMessages()
	document.Map()["Spec"] = whole
	return &huma.Schema{Ref: schemaOfSpec}
}

// schemaOfSpec is where the document has the schema of spec.
const schemaOfSpec = "#/components/schemas/Spec"

// referring is a schema whose references begin with another text.
func referring(v any, from, to string) any {
	switch v := v.(type) {
	case map[string]any:
		for k, each := range v {
			if ref, is := each.(string); is && k == "$ref" {
				v[k] = to + strings.TrimPrefix(ref, from)
			} else {
				v[k] = referring(each, from, to)
			}
		}
	case []any:
		for i := range v {
			v[i] = referring(v[i], from, to)
		}
	}
	return v
}

// change is what PATCH changes: words of a run as data.
type change map[string]any

// Schema implements huma.SchemaProvider.
func (change) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type:        "object",
		Description: "Words of a run. What can change is target.to, target.from, target.percent and the settings of its faults, where the fault allows it; other words may be there if they say what is the case already.",
		Extensions: map[string]any{"properties": map[string]any{
			"fault":  map[string]any{"$ref": schemaOfSpec + "/properties/fault"},
			"target": map[string]any{"$ref": schemaOfSpec + "/$defs/target"},
		}},
		Examples: []any{map[string]any{"target": map[string]any{"percent": 20}}},
	}
}
