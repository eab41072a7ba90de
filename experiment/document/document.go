// Package document reads YAML files, and so JSON files too, into a tree of plain
// values with the position of each value, and checks them against a JSON Schema.
// Its errors say in words what is wrong, and where.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// place is a position in a file.
type place struct{ line, column int }

func placeOf(n *yaml.Node) place { return place{max(1, n.Line), max(1, n.Column)} }

// Document is a file as a tree of plain values, with the position of each. A
// path into it is a list of keys and, in lists, of numbers from 0 in decimal. A
// nil Document is empty.
type Document struct {
	File string // its name, as given to Read
	Tree any    // map[string]any, []any, string, int64, uint64, float64, bool or nil

	values map[string]place // by path, see join
	keys   map[string]place
	left   int                 // how many more values it may have
	within map[*yaml.Node]bool // what is being read: it must not contain itself
}

// What a file may hold. It keeps the time and the memory that reading takes in
// proportion to its length, whatever it holds.
const (
	mostValues = 100_000 // after its aliases are expanded
	mostDepth  = 64      // of lists and mappings in each other
	longestKey = 1024    // bytes
)

// Read parses YAML, and so JSON. kind is what one file holds, such as "scenario";
// file is what problems call it. The error is Problems. The time that it takes is in
// proportion to the length of the text.
func Read(kind, file string, text []byte) (*Document, error) {
	d := &Document{File: file, values: map[string]place{}, keys: map[string]place{}, left: mostValues, within: map[*yaml.Node]bool{}}
	if json.Valid(text) {
		text = untabbed(text)
	}
	in := yaml.NewDecoder(bytes.NewReader(text))
	var body *yaml.Node
	for {
		var doc yaml.Node
		err := in.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, Problems{d.syntax(text, err)}
		}
		if len(doc.Content) == 0 || doc.Content[0].ShortTag() == "!!null" && doc.Content[0].Value == "" {
			continue
		}
		if body != nil {
			return nil, Problems{d.problem(placeOf(doc.Content[0]), "", "a second document; a file holds one %s", kind)}
		}
		body = doc.Content[0]
	}
	if body == nil {
		return nil, Problems{d.problem(place{1, 1}, "", "the file is empty")}
	}
	var p Problem
	var err error
	if d.Tree, p, err = d.value(body, nil); err != nil {
		return nil, Problems{p}
	}
	return d, nil
}

// yamlError matches the errors of the parser.
var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// noAnchor matches the error about an alias that nothing stands for.
var noAnchor = regexp.MustCompile(`^yaml: unknown anchor '(.*)' referenced$`)

// syntax is the problem of a text that is not YAML. The parser tells the line at most.
func (d *Document) syntax(text []byte, err error) Problem {
	at, message := place{1, 1}, err.Error()
	if m := noAnchor.FindStringSubmatch(message); m != nil {
		if before, _, found := bytes.Cut(text, []byte("*"+m[1])); found {
			at = place{1 + bytes.Count(before, []byte("\n")), len(before) - bytes.LastIndexByte(before, '\n')}
		}
		return d.problem(at, "", "no anchor &%s stands before this", m[1])
	}
	if m := yamlError.FindStringSubmatch(message); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil {
			at.line = max(1, line)
		}
		message = m[2]
	}
	return d.problem(at, "", "this is not YAML: %s", message)
}

// untabbed replaces the tabs outside of the strings of a JSON text by blanks: YAML
// does not indent with tabs.
func untabbed(text []byte) []byte {
	text = bytes.Clone(text)
	quoted, escaped := false, false
	for i, c := range text {
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case c == '\t' && !quoted:
			text[i] = ' '
		}
	}
	return text
}

func (d *Document) problem(at place, path, format string, args ...any) Problem {
	return Problem{File: d.File, Line: at.line, Column: at.column, Path: path, Message: fmt.Sprintf(format, args...)}
}

var errBad = errors.New("bad document")

func (d *Document) bad(n *yaml.Node, path []string, format string, args ...any) (any, Problem, error) {
	return nil, d.problem(placeOf(n), display(path), format, args...), errBad
}

// value turns a node into a plain value and records its position.
func (d *Document) value(n *yaml.Node, path []string) (any, Problem, error) {
	if d.left--; d.left < 0 {
		return d.bad(n, path, "the file is too large once its aliases are written out")
	}
	if len(path) > mostDepth {
		return d.bad(n, path[:1], "there are more than %d lists and mappings in each other", mostDepth)
	}
	if _, known := d.values[join(path)]; !known {
		d.values[join(path)] = placeOf(n)
	}
	if d.within[n] {
		return d.bad(n, path, "it contains itself")
	}
	switch n.Kind {
	case yaml.MappingNode:
		d.within[n] = true
		defer delete(d.within, n)
		return d.mapping(n, path)
	case yaml.SequenceNode:
		d.within[n] = true
		defer delete(d.within, n)
		list := make([]any, len(n.Content))
		for i, v := range n.Content {
			item, p, err := d.value(v, append(path[:len(path):len(path)], strconv.Itoa(i)))
			if err != nil {
				return nil, p, err
			}
			list[i] = item
		}
		return list, Problem{}, nil
	case yaml.AliasNode:
		if d.within[n.Alias] {
			return d.bad(n, path, "no anchor &%s stands before this", n.Value)
		}
		return d.value(n.Alias, path)
	case yaml.ScalarNode:
		return d.scalar(n, path)
	}
	return d.bad(n, path, "this has no meaning here")
}

// scalar turns a scalar into a string, int64, uint64, float64, bool or nil.
func (d *Document) scalar(n *yaml.Node, path []string) (any, Problem, error) {
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp":
		return n.Value, Problem{}, nil
	case "!!null":
		return nil, Problem{}, nil
	case "!!int", "!!float", "!!bool":
		var v any
		if err := n.Decode(&v); err != nil {
			return d.bad(n, path, "%q is no %s", n.Value, strings.TrimPrefix(tag, "!!"))
		}
		if i, is := v.(int); is {
			v = int64(i)
		}
		return v, Problem{}, nil
	default:
		return d.bad(n, path, "a tag (%s) has no meaning here", tag)
	}
}

// mapping turns keys and values into a map. A merge key (<<) adds the keys
// that the mapping itself does not have.
func (d *Document) mapping(n *yaml.Node, path []string) (any, Problem, error) {
	m := map[string]any{}
	var merged [][2]*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.ShortTag() == "!!merge" {
			merged = append(merged, [2]*yaml.Node{k, v})
			continue
		}
		key := k.Value
		below := append(path[:len(path):len(path)], key)
		switch _, twice := m[key]; {
		case k.Kind != yaml.ScalarNode:
			return d.bad(k, path, "a key must be a word")
		case len(key) > longestKey:
			return d.bad(k, path, "a key is longer than %d bytes", longestKey)
		case twice:
			return d.bad(k, path, "%q is here twice", key)
		}
		d.keys[join(below)] = placeOf(k)
		is, p, err := d.value(v, below)
		if err != nil {
			return nil, p, err
		}
		m[key] = is
	}
	for _, e := range merged {
		v, p, err := d.value(e[1], append(path[:len(path):len(path)], "<<"))
		if err != nil {
			return nil, p, err
		}
		more, ok := v.(map[string]any)
		if !ok {
			return d.bad(e[1], path, "<< takes a mapping")
		}
		for key, v := range more {
			if _, said := m[key]; !said {
				m[key] = v
				d.keys[join(append(path[:len(path):len(path)], key))] = placeOf(e[0])
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
