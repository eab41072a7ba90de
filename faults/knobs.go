package faults

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/internal/words"
)

// A Knob is one setting of a fault. It is an exported field of the fault's
// Model with a `knob` tag, so that a fault's knobs live in its struct and
// nowhere else:
//
//	After   time.Duration `knob:"after" help:"idle time until the flow is forgotten"`
//	Refresh string        `knob:"refresh" oneof:"all|data" default:"all" help:"…"`
//
// A word means the same in every fault that has it. An `alias` tag names old
// spellings of the knob.
//
// A field that is zero means the default: that of its `default` tag, or what its
// zero value says. So a knob with such a tag cannot be set to a plain zero; one
// to which zero is a setting of its own has a type that can tell, such as
// [Chance] or [Timeout].
type Knob struct {
	Name    string   `json:"name"`
	Type    string   `json:"type"` // duration, int, number, share, bytes, bool, side, trigger, string, or a|b|c
	Default string   `json:"default"`
	Help    string   `json:"help"`
	OneOf   []string `json:"one_of,omitempty"`
	Aliases []string `json:"aliases,omitempty"` // old spellings, which still work; Help ends with them

	field int
}

// Typed is a knob's type that reads and names itself.
type Typed interface {
	encoding.TextMarshaler
	encoding.TextUnmarshaler
	TypeName() string
}

// Knobs lists the knobs of a model in the order of its fields, with the values
// that m has as defaults. m is a pointer to a struct.
func Knobs(m Model) []Knob {
	v := reflect.ValueOf(m).Elem()
	ks := []Knob{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, ok := f.Tag.Lookup("knob")
		if !ok {
			continue
		}
		k := Knob{Name: name, Help: f.Tag.Get("help"), Default: show(v.Field(i)), Type: typeName(v.Field(i)), field: i}
		if old, ok := f.Tag.Lookup("alias"); ok {
			k.Aliases = strings.Split(old, "|")
			k.Help += "; old spelling: " + strings.Join(k.Aliases, ", ")
		}
		if d, ok := f.Tag.Lookup("default"); ok && v.Field(i).IsZero() {
			k.Default = d
		}
		if one := f.Tag.Get("oneof"); one != "" {
			k.OneOf, k.Type = strings.Split(one, "|"), one
		}
		ks = append(ks, k)
	}
	return ks
}

// is reports whether name is the knob's, or an old spelling of it.
func (k Knob) is(name string) bool { return k.Name == name || slices.Contains(k.Aliases, name) }

// Set gives the knob of that name a value as people type it. The error is a
// [*SettingError], and m is then as it was.
func Set(m Model, name, value string) error {
	ks := Knobs(m)
	i := slices.IndexFunc(ks, func(k Knob) bool { return k.is(name) })
	if i < 0 {
		names := make([]string, len(ks))
		for j, k := range ks {
			names[j] = k.Name
		}
		return wrong(m, name, "%w", &UnknownKnobError{name, words.Nearest(name, names)})
	}
	k := ks[i]
	if k.OneOf != nil && !slices.Contains(k.OneOf, value) {
		return wrong(m, k.Name, "%w", noneOf(value, k.OneOf))
	}
	field := reflect.ValueOf(m).Elem().Field(k.field)
	read := reflect.New(field.Type()).Elem()
	if err := parse(read, value); err != nil {
		return wrong(m, k.Name, "%w", err)
	}
	if d, ok := reflect.TypeOf(m).Elem().Field(k.field).Tag.Lookup("default"); ok && read.IsZero() {
		return wrong(m, k.Name, "%q lies outside what it may be: leave it out for %s", value, d)
	}
	field.Set(read)
	return nil
}

// completed returns a copy of a model in which each field that is zero has the
// default of its tag.
func completed[M any](m *M) *M {
	c := *m
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		if d, ok := v.Type().Field(i).Tag.Lookup("default"); ok && v.Field(i).IsZero() {
			if err := parse(v.Field(i), d); err != nil {
				panic(err) // unreachable: a test reads each
			}
		}
	}
	return &c
}

// Get returns the value of the knob of that name as people type it, and false
// if m has no such knob.
func Get(m Model, name string) (string, bool) {
	for _, k := range Knobs(m) {
		if k.is(name) {
			return k.Default, true
		}
	}
	return "", false
}

func typeName(v reflect.Value) string {
	if t, ok := v.Addr().Interface().(Typed); ok {
		return t.TypeName()
	}
	switch v.Interface().(type) {
	case time.Duration:
		return "duration"
	case float64:
		return "number"
	}
	return v.Kind().String()
}

func show(v reflect.Value) string {
	if t, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, _ := t.MarshalText()
		return string(text)
	}
	if d, ok := v.Interface().(time.Duration); ok {
		return words.ShortDuration(d)
	}
	return fmt.Sprint(v.Interface())
}

func parse(v reflect.Value, value string) error {
	if t, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return t.UnmarshalText([]byte(value))
	}
	var x any
	var err error
	switch v.Interface().(type) {
	case time.Duration:
		x, err = words.ParseDuration(value)
	case string:
		x = value
	case bool:
		if x, err = strconv.ParseBool(value); err != nil {
			err = fmt.Errorf("%q is neither true nor false", value)
		}
	case int:
		if x, err = strconv.Atoi(value); err != nil {
			err = fmt.Errorf("%q is not a whole number", value)
		}
	case float64:
		if x, err = strconv.ParseFloat(value, 64); err != nil {
			err = fmt.Errorf("%q is not a number", value)
		}
	default:
		err = fmt.Errorf("a knob cannot have the type %s", v.Type())
	}
	if err != nil {
		return err
	}
	v.Set(reflect.ValueOf(x))
	return nil
}
