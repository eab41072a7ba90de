package scenario

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/experiment"
	"go.yaml.in/yaml/v3"
)

//go:embed page.md
var prose string

// Page writes the docs page: prose, an example, and every key of the schema.
func Page(w io.Writer, example string) {
	tree := language().tree
	fmt.Fprint(w, strings.Replace(prose, "EXAMPLE", example, 1))
	table(w, "The file", tree, keysInOrder())
	defs := tree["$defs"].(map[string]any)
	for _, def := range []string{"step", "target", "pulse", "ramp", "probe", "http", "tcp", "abort"} {
		schema := defs[def].(map[string]any)
		keys := keysInOrder("$defs", def)
		if def == "target" {
			for _, word := range experiment.Words {
				if word.Group == experiment.OfTarget {
					keys = append(keys, word.Name)
				}
			}
		}
		table(w, schema["title"].(string), schema, keys)
	}
}

func table(w io.Writer, title string, schema map[string]any, keys []string) {
	required, _ := schema["required"].([]any)
	fmt.Fprintf(w, "\n### %s\n\n| key | default | |\n|---|---|---|\n", title)
	for _, k := range keys {
		p := schema["properties"].(map[string]any)[k].(map[string]any)
		value := ""
		switch d := p["default"]; {
		case d != nil:
			value = fmt.Sprint(d)
		case slices.Contains(required, any(k)):
			value = "required"
		}
		fmt.Fprintf(w, "| `%s` | %s | %s |\n", k, cell(value), cell(fmt.Sprint(p["description"])))
	}
}

// cell keeps a text inside its cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// keysInOrder lists the properties of a part of the outline in the order of
// the file, which a Go map does not keep. It reads the JSON as YAML.
func keysInOrder(path ...string) []string {
	var doc yaml.Node
	if err := yaml.Unmarshal(outline, &doc); err != nil {
		panic(fmt.Sprintf("schema.json: %v", err)) // unreachable: a test reads it
	}
	at := doc.Content[0]
	for _, step := range append(path, "properties") {
		at = below(at, step)
	}
	var keys []string
	for i := 0; i < len(at.Content); i += 2 {
		keys = append(keys, at.Content[i].Value)
	}
	return keys
}

// below is the value of a key of a mapping.
func below(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	panic(fmt.Sprintf("schema.json: no %s", key)) // unreachable: a test reads it
}
