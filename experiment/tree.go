package experiment

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// What a Spec may hold as text. It keeps the time that reading takes in proportion to
// the length of the text.
const (
	mostSpecValues = 10_000
	mostSpecDepth  = 16
)

// readTree reads JSON or YAML into plain values: map[string]any, []any, string, int, uint64,
// float64, bool and nil.
func readTree(text []byte) (map[string]any, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return nil, errors.New("it is empty")
	}
	left := mostSpecValues
	v, err := plain(doc.Content[0], 0, &left)
	if err != nil {
		return nil, err
	}
	m, is := v.(map[string]any)
	if !is {
		return nil, errors.New("it is no mapping")
	}
	return m, nil
}

// plain is a node as a plain value.
func plain(n *yaml.Node, depth int, left *int) (any, error) {
	if *left--; *left < 0 {
		return nil, fmt.Errorf("line %d: it holds more than %d values", n.Line, mostSpecValues)
	}
	if depth > mostSpecDepth { // an anchor that contains itself too
		return nil, fmt.Errorf("line %d: more than %d lists and mappings are in each other", n.Line, mostSpecDepth)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return plain(n.Alias, depth+1, left)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			var err error
			if list[i], err = plain(c, depth+1, left); err != nil {
				return nil, err
			}
		}
		return list, nil
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			v, err := plain(n.Content[i+1], depth+1, left)
			switch _, twice := m[k.Value]; {
			case err != nil:
				return nil, err
			case k.Kind != yaml.ScalarNode:
				return nil, fmt.Errorf("line %d: a key must be a word", k.Line)
			case twice:
				return nil, fmt.Errorf("line %d: %q is here twice", k.Line, k.Value)
			}
			m[k.Value] = v
		}
		return m, nil
	}
	if tag := n.ShortTag(); tag == "!!str" || tag == "!!timestamp" {
		return n.Value, nil
	}
	var v any
	return v, errors.Join(n.Decode(&v), notAValue(v))
}

// notAValue refuses what a tag made of a scalar.
func notAValue(v any) error {
	switch v.(type) {
	case nil, string, bool, int, int64, uint64, float64:
		return nil
	}
	return fmt.Errorf("%T is no value here", v)
}
