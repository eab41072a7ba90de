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

var language = sync.OnceValue(func() *grammar {
	g := &grammar{}
	document.Decode(outline, &g.tree)
	var spec map[string]any
	text, err := json.Marshal(experiment.Schema())
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
