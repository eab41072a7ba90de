package scenario

import (
	"bytes"
	"os"
	"testing"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/internal/goldentest"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestPages holds that what is published is what the code goes by. With -update
// it is written anew.
func TestPages(t *testing.T) {
	goldentest.Compare(t, "../../../docs/scenario.schema.json", string(Schema()))
	example, err := os.ReadFile("../../examples/scenarios/redis-cache.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	Page(&b, string(example))
	goldentest.Compare(t, "../../../docs/SCENARIOS.md", b.String())
}

// The published schema is a schema, by the standard's own, and has each word of a
// target.
func TestSchemaIsOne(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := jsonschema.NewCompiler().MustCompile("https://json-schema.org/draft/2020-12/schema").Validate(doc); err != nil {
		t.Error(err)
	}
	words := doc.(map[string]any)["$defs"].(map[string]any)["target"].(map[string]any)["properties"].(map[string]any)
	for _, w := range experiment.Words {
		if s, ok := words[w.Name].(map[string]any); ok != (w.Group == experiment.OfTarget) || ok && s["description"] == "" {
			t.Errorf("%s is a word of a target: %v", w.Name, ok)
		}
	}
}

// The examples are right.
func TestExamples(t *testing.T) {
	files, _ := os.ReadDir("../../examples/scenarios")
	n := 0
	for _, f := range files {
		text, err := os.ReadFile("../../examples/scenarios/" + f.Name())
		if err != nil || f.IsDir() {
			continue
		}
		n++
		if _, err := Parse(f.Name(), text); err != nil {
			t.Error(err)
		}
	}
	if n < 5 {
		t.Errorf("%d examples", n)
	}
}
