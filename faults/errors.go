package faults

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/faultctl/faultctl/internal/words"
)

// SettingError says that a setting of a fault is wrong, or missing. [Set],
// [ParseSpecs], [Spec.Model] and [Model.Validate] report no other error about a
// setting.
type SettingError struct {
	Fault string // the fault's name; empty if its model is not one of the catalogue
	Knob  string // as the catalogue spells it, or as it was typed if there is no such knob
	Err   error  // what is wrong, about the knob's value: "it is negative"
}

// Error is the fault's name, the knob's if the fault has it, and what is wrong.
func (e *SettingError) Error() string {
	text := e.Err.Error()
	if unknown := (*UnknownKnobError)(nil); !errors.As(e.Err, &unknown) {
		text = e.Knob + ": " + text
	}
	if e.Fault != "" {
		text = e.Fault + ": " + text
	}
	return text
}

// Unwrap returns Err.
func (e *SettingError) Unwrap() error { return e.Err }

// UnknownFaultError says that there is no fault of that name.
type UnknownFaultError struct {
	Name    string
	Nearest string // the name that was probably meant, or empty
}

func (e *UnknownFaultError) Error() string {
	return fmt.Sprintf("unknown fault %q%s", e.Name, didYouMean(e.Nearest))
}

// UnknownKnobError says that a fault has no knob of that name. It is the Err of
// a [SettingError].
type UnknownKnobError struct {
	Name    string
	Nearest string // the name that was probably meant, or empty
}

func (e *UnknownKnobError) Error() string {
	return fmt.Sprintf("unknown setting %q%s", e.Name, didYouMean(e.Nearest))
}

func didYouMean(nearest string) string {
	if nearest == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", nearest)
}

// wrong is the error of a knob of m.
func wrong(m Model, knob, format string, args ...any) error {
	return &SettingError{Fault: nameOf(m), Knob: knob, Err: fmt.Errorf(format, args...)}
}

// nameOf is the name of the fault that m is the model of.
func nameOf(m Model) string {
	i := slices.IndexFunc(Catalog, func(k Kind) bool { return reflect.TypeOf(k.New()) == reflect.TypeOf(m) })
	if i < 0 {
		return ""
	}
	return Catalog[i].Name
}

// judge reports the first knob whose value is wrong whatever the others are: no
// word that it knows, negative, or no probability.
func judge(m Model) error {
	v := reflect.ValueOf(m).Elem()
	for _, k := range Knobs(m) {
		field := v.Field(k.field)
		switch x := field.Interface().(type) {
		case string:
			if k.OneOf != nil && x != "" && !slices.Contains(k.OneOf, x) {
				return wrong(m, k.Name, "%w", noneOf(x, k.OneOf))
			}
		case Side:
			if x > Both {
				return wrong(m, k.Name, "it is neither client, server nor both")
			}
		case Chance:
			if !valid(x.p) {
				return wrong(m, k.Name, "it lies outside 0%% to 100%%")
			}
		case time.Duration, int:
			if field.Int() < 0 {
				return wrong(m, k.Name, "it is negative")
			}
		case Bytes:
			if x < 0 {
				return wrong(m, k.Name, "it is negative")
			}
		case RTT:
			if x.d < 0 {
				return wrong(m, k.Name, "it is negative")
			}
		case Timeout:
			if x.d < 0 {
				return wrong(m, k.Name, "it is negative")
			}
		}
	}
	return nil
}

func noneOf(word string, known []string) error {
	return fmt.Errorf("%q is none of %s%s", word, strings.TrimPrefix(strings.Join(known, ", "), ", "), words.DidYouMean(word, known))
}
