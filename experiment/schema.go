package experiment

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/words"
)

// form is how documents write a value. Schema and SetTree both refuse a value
// of another form before it is read.
type form int

const (
	scalarForm   form = iota // a text or a number
	durationForm             // a text
	percentForm              // a number, or a text such as 10%
	switchForm               // true or false
	integerForm              // a number without a fraction
	enumForm                 // one of the knob's own
)

// ErrShape is wrapped by each error of SetTree about something that Schema
// refuses too. A caller that has checked the document against Schema can
// ignore these errors.
var ErrShape = errors.New("not of the form that a document has")

// shaped is an error that Is ErrShape.
type shaped struct{ error }

func (s shaped) Is(target error) bool { return target == ErrShape }
func (s shaped) Unwrap() error        { return s.error }

func shapeError(format string, args ...any) error { return shaped{fmt.Errorf(format, args...)} }

const (
	durationPattern = "^(0|([0-9]+([.][0-9]*)?(ns|us|µs|ms|s|m|h))+|[0-9]+([.][0-9]*)?d)$"
	percentPattern  = "^[0-9]+([.][0-9]*)?%?(/[0-9.]*[a-zµ]+)?$"
)

var (
	durationText = regexp.MustCompile(durationPattern)
	percentText  = regexp.MustCompile(percentPattern)
)

// fits says what is wrong with the form of a plain value of a document; nil if
// the form is right.
func (f form) fits(v any) error {
	text, isText := v.(string)
	number, isNumber := numeric(v)
	_, isBool := v.(bool)
	switch f {
	case switchForm:
		if !isBool {
			return shapeError("it must be true or false")
		}
	case durationForm:
		if _, err := words.ParseDuration(scalar(v)); err != nil && (isText || isNumber) {
			return shaped{err}
		}
		if !isText || !durationText.MatchString(text) {
			return shapeError("it must be a duration, such as 300s, 5m or 1h30m")
		}
	case percentForm:
		if isText && !percentText.MatchString(text) || !isText && !isNumber || isNumber && !(number >= 0 && number <= 100) {
			return shapeError("it must be from 0 to 100, with or without %%, or a share and a time, such as 5%%/1m")
		}
	case integerForm:
		if !isNumber || number != math.Trunc(number) {
			return shapeError("it must be a whole number")
		}
	case enumForm:
		if !isText {
			return shapeError("it must be a text")
		}
	default:
		if !isText && !isNumber {
			return shapeError("it must be a text or a number")
		}
	}
	return nil
}

// numeric is a number of a document, of whatever type its parser made it.
func numeric(v any) (float64, bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case float64:
		return v, true
	case json.Number:
		n, err := v.Float64()
		return n, err == nil
	}
	return 0, false
}

// formOf is the form of a knob's value.
func formOf(k faults.Knob) form {
	switch {
	case k.OneOf != nil:
		return enumForm
	case k.Type == "bool":
		return switchForm
	case k.Type == "int":
		return integerForm
	case k.Type == "duration":
		return durationForm
	}
	return scalarForm
}

type object = map[string]any

// Schema is the JSON Schema of what ParseSpec reads, as a tree of plain values.
// It is generated from Words and from the knobs of the faults. ParseSpec refuses
// everything that the schema refuses. It refuses some values in addition: an
// invalid port, or a fault without a required setting. The definitions fault and
// target are also used for scenario files. The caller may change the tree.
func Schema() map[string]any {
	kinds, target := object{}, object{}
	for _, k := range faults.Catalog {
		kinds[k.Name] = kindSchema(k)
	}
	properties := object{
		"fault": object{
			"if": object{"type": "array"}, "then": object{"items": object{"$ref": "#/$defs/fault"}}, "else": object{"$ref": "#/$defs/fault"},
			"description": "a SPEC as on the command line (idle-expire:after=30s; several on the same connections with a comma), the fault's name with its settings below it, or a list of these",
		},
		"target":  object{"$ref": "#/$defs/target", "description": "which connections are struck; without it, every one"},
		"command": object{"type": []any{"string", "number", "array"}, "minItems": 1, "items": object{"$ref": "#/$defs/scalar"}, "description": "a command and its arguments: only its connections are struck, for as long as it runs"},
	}
	for _, w := range Words {
		if w.Group == OfTarget {
			target[w.Name] = w.schema()
		} else {
			properties[w.Name] = w.schema()
		}
	}
	return object{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "faultctl run",
		"description": "Faults, the connections that they strike, and how long.",
		"type":        "object", "required": []any{"fault"}, "additionalProperties": false, "properties": properties,
		"$defs": object{
			"duration": object{"type": "string", "pattern": durationPattern, "description": "a duration with its unit, such as 500ms, 30s, 5m, 1h30m"},
			"percent":  object{"type": []any{"number", "string"}, "minimum": 0, "maximum": 100, "pattern": percentPattern, "description": "from 0 to 100, with or without %; 5%/1m: drawn anew every minute"},
			"scalar":   object{"type": []any{"string", "number"}},
			"fault": object{
				"type": []any{"string", "object"}, "minLength": 1, "minProperties": 1, "maxProperties": 1, "additionalProperties": false, "properties": kinds,
				"description": "a SPEC, or a fault's name with its settings below it",
			},
			"target": object{
				"title": "`target`", "description": "which connections are struck: the words of the target flags",
				"type": "object", "additionalProperties": false, "properties": target,
			},
		},
	}
}

// schema is the part of the schema that a word's values have.
func (w Word) schema() object {
	s := object{"description": w.Help}
	if w.Placeholder != "" {
		s["description"] = w.Placeholder + ": " + w.Help
	}
	switch {
	case w.Kind == Many:
		s["type"], s["items"] = []any{"string", "number", "array"}, object{"$ref": "#/$defs/scalar"}
	default:
		w.form.schema(s)
	}
	return s
}

// schema adds the schema of the form to s.
func (f form) schema(s object) {
	switch f {
	case switchForm:
		s["type"] = "boolean"
	case integerForm:
		s["type"] = "integer"
	case durationForm:
		s["$ref"] = "#/$defs/duration"
	case percentForm:
		s["$ref"] = "#/$defs/percent"
	default:
		s["type"] = []any{"string", "number"}
	}
}

// kindSchema is the schema of a fault's settings, which are below its name.
func kindSchema(k faults.Kind) object {
	knobs := object{}
	for _, knob := range faults.Knobs(k.New()) {
		s := object{"description": knob.Help, "default": knob.Default}
		switch f := formOf(knob); f {
		case enumForm:
			all := make([]any, len(knob.OneOf))
			for i, v := range knob.OneOf {
				all[i] = v
			}
			s["enum"] = all
		case scalarForm:
			s["$ref"] = "#/$defs/scalar"
		default:
			f.schema(s)
		}
		knobs[knob.Name] = s
		for _, old := range knob.Aliases {
			spelled := maps.Clone(s)
			spelled["description"], spelled["deprecated"] = "old spelling of "+knob.Name, true
			delete(spelled, "default")
			knobs[old] = spelled
		}
	}
	return object{"description": k.Cause, "type": []any{"object", "null"}, "additionalProperties": false, "properties": knobs}
}
