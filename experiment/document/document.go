// Package document reads YAML files, and so JSON files too, into a tree of plain
// values with the position of each value, and checks them against a JSON Schema.
// Its errors say in words what is wrong, and where.
package document

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// place is a position in a file.
type place struct{ line, column int }

func placeOf(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{1, 1}
	}
	return place{max(1, t.Position.Line), max(1, t.Position.Column)}
}

// beginning is the position where a node begins; for a mapping, that of its
// first key.
func beginning(n ast.Node) place {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		return placeOf(m.Values[0].Key.GetToken())
	}
	return placeOf(n.GetToken())
}

// Document is a file as a tree of plain values, with the position of each. A
// path into it is a list of keys and, in lists, of numbers from 0 in decimal. A
// nil Document is empty.
type Document struct {
	File string // its name, as given to Read
	Tree any    // map[string]any, []any, string, int64, uint64, float64, bool or nil

	values map[string]place // by path, see join
	keys   map[string]place
	left   int // how many more values it may have
	anchor map[string]ast.Node
}

// mostValues limits the number of values in a file after its aliases are
// expanded.
const mostValues = 100_000

// Read parses YAML, and so JSON. kind is what one file holds, such as "scenario";
// file is what problems call it. The error is Problems.
func Read(kind, file string, text []byte) (*Document, error) {
	d := &Document{File: file, values: map[string]place{}, keys: map[string]place{}, left: mostValues, anchor: map[string]ast.Node{}}
	f, err := parser.ParseBytes(text, 0)
	if err != nil {
		at, message := place{1, 1}, err.Error()
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) {
			at, message = placeOf(syntax.GetToken()), syntax.GetMessage()
		}
		return nil, Problems{d.problem(at, "", "this is not YAML: %s", message)}
	}
	var body ast.Node
	for _, doc := range f.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			return nil, Problems{d.problem(beginning(doc.Body), "", "a second document; a file holds one %s", kind)}
		}
		body = doc.Body
	}
	if body == nil {
		return nil, Problems{d.problem(place{1, 1}, "", "the file is empty")}
	}
	var p Problem
	if d.Tree, p, err = d.value(body, nil); err != nil {
		return nil, Problems{p}
	}
	return d, nil
}

func (d *Document) problem(at place, path, format string, args ...any) Problem {
	return Problem{File: d.File, Line: at.line, Column: at.column, Path: path, Message: fmt.Sprintf(format, args...)}
}

var errBad = errors.New("bad document")

func (d *Document) bad(n ast.Node, path []string, format string, args ...any) (any, Problem, error) {
	return nil, d.problem(placeOf(n.GetToken()), display(path), format, args...), errBad
}

// value turns a node into a plain value and records its position.
func (d *Document) value(n ast.Node, path []string) (any, Problem, error) {
	if d.left--; d.left < 0 {
		return d.bad(n, path, "the file is too large once its aliases are written out")
	}
	if _, known := d.values[join(path)]; !known {
		d.values[join(path)] = beginning(n)
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return d.mapping(n.Values, path)
	case *ast.MappingValueNode:
		return d.mapping([]*ast.MappingValueNode{n}, path)
	case *ast.SequenceNode:
		list := make([]any, len(n.Values))
		for i, v := range n.Values {
			item, p, err := d.value(v, append(path[:len(path):len(path)], fmt.Sprint(i)))
			if err != nil {
				return nil, p, err
			}
			list[i] = item
		}
		return list, Problem{}, nil
	case *ast.AnchorNode:
		v, p, err := d.value(n.Value, path)
		d.anchor[n.Name.GetToken().Value] = n.Value // not before: it must not contain itself
		return v, p, err
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		if d.anchor[name] == nil {
			return d.bad(n, path, "no anchor &%s stands before this", name)
		}
		return d.value(d.anchor[name], path)
	case *ast.StringNode:
		return n.Value, Problem{}, nil
	case *ast.LiteralNode:
		return n.Value.Value, Problem{}, nil
	case *ast.IntegerNode:
		return number(n.Value), Problem{}, nil
	case *ast.FloatNode:
		return n.Value, Problem{}, nil
	case *ast.BoolNode:
		return n.Value, Problem{}, nil
	case *ast.NullNode:
		return nil, Problem{}, nil
	}
	return d.bad(n, path, "a %s has no meaning here", strings.ToLower(n.Type().String()))
}

// number converts an integer to a type that the schema package knows.
func number(v any) any {
	if u, ok := v.(uint64); ok && u <= 1<<63-1 {
		return int64(u)
	}
	return v
}

// mapping turns keys and values into a map. A merge key (<<) adds the keys
// that the mapping itself does not have.
func (d *Document) mapping(entries []*ast.MappingValueNode, path []string) (any, Problem, error) {
	m := map[string]any{}
	var merged []*ast.MappingValueNode
	for _, e := range entries {
		if e.Key.IsMergeKey() {
			merged = append(merged, e)
			continue
		}
		key := e.Key.GetToken().Value
		below := append(path[:len(path):len(path)], key)
		if _, twice := m[key]; twice {
			return d.bad(e.Key, path, "%q is here twice", key)
		}
		d.keys[join(below)] = placeOf(e.Key.GetToken())
		v, p, err := d.value(e.Value, below)
		if err != nil {
			return nil, p, err
		}
		m[key] = v
	}
	for _, e := range merged {
		v, p, err := d.value(e.Value, append(path[:len(path):len(path)], "<<"))
		if err != nil {
			return nil, p, err
		}
		more, ok := v.(map[string]any)
		if !ok {
			return d.bad(e.Value, path, "<< takes a mapping")
		}
		for key, v := range more {
			if _, said := m[key]; !said {
				m[key] = v
				d.keys[join(append(path[:len(path):len(path)], key))] = placeOf(e.Key.GetToken())
			}
		}
	}
	return m, Problem{}, nil
}

// Has reports whether the file has a value at a path.
func (d *Document) Has(path []string) bool {
	if d == nil {
		return false
	}
	_, value := d.values[join(path)]
	_, key := d.keys[join(path)] // a merge key brought it in
	return value || key
}

// Problem reports something wrong with the value at a path. If the file has no
// such value, its position is that of the nearest enclosing value.
func (d *Document) Problem(path []string, format string, args ...any) Problem {
	if d == nil {
		return Problem{Path: display(path), Message: fmt.Sprintf(format, args...)}
	}
	return d.problem(d.at(path), display(path), format, args...)
}

// at is the position of a value, or that of the nearest enclosing value with
// a position.
func (d *Document) at(path []string) place {
	for ; len(path) > 0; path = path[:len(path)-1] {
		if p, ok := d.values[join(path)]; ok {
			return p
		}
		if p, ok := d.keys[join(path)]; ok {
			return p
		}
	}
	if p, ok := d.values[""]; ok {
		return p
	}
	return place{1, 1}
}

// keyAt is the position of a key.
func (d *Document) keyAt(path []string) place {
	if p, ok := d.keys[join(path)]; ok {
		return p
	}
	return d.at(path)
}

// Look finds the value at a path; nil if there is none.
func (d *Document) Look(path []string) any {
	if d == nil {
		return nil
	}
	v := d.Tree
	for _, p := range path {
		switch at := v.(type) {
		case map[string]any:
			v = at[p]
		case []any:
			i := -1
			if _, err := fmt.Sscan(p, &i); err != nil || i < 0 || i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}

// join makes a path a key of a map.
func join(path []string) string { return strings.Join(path, "\x00") }

// display writes a path for people: faults[0].target.to.
func display(path []string) string {
	var b strings.Builder
	for _, p := range path {
		switch {
		case p != "" && strings.Trim(p, "0123456789") == "":
			b.WriteString("[" + p + "]")
		case b.Len() > 0:
			b.WriteString("." + p)
		default:
			b.WriteString(p)
		}
	}
	return b.String()
}
