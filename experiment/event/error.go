package event

import (
	"fmt"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/internal/words"
)

// Code is an exit code of faultctl, and says of an error what kind it is.
type Code int

// The exit codes of every command but run. A command that a signal ended has 128
// more than the signal's number.
const (
	CodeOK         Code = 0
	CodeFailure    Code = 1 // a failure at run time
	CodeUsage      Code = 2 // wrong usage or configuration
	CodeProbe      Code = 3 // an assertion, a probe or a verified command failed
	CodeNeverFired Code = 4 // nothing was learnt of a fault: it never fired, or was not accepted or felt, or that is not known
	CodePreflight  Code = 5 // a permission or a feature of the kernel is missing
	CodeRefused    Code = 6 // a safety rail refused it
)

// The exit codes of run beside those of its command, as timeout(1) and env(1)
// have them.
const (
	CodeRunNeverFired Code = 124
	CodeRunFailed     Code = 125 // faultctl failed: CodeFailure, CodeUsage, CodePreflight or CodeRefused
	CodeNotExecutable Code = 126
	CodeNotFound      Code = 127
)

// Field is what an error is about, as the word that a run's Spec has for it: "to",
// "percent", "fault", "fault.after", "netns". How it is spelled (--to, target.to)
// is up to where it is read.
//
// A Field may be an argument of a message, with %s: it is then spelled there too.
type Field string

// Spelling is how a field is spelled where an error is read, such as --to on the
// command line. Nil spells every field as its own word. A field that it spells as
// nothing is left out, and the colon behind it.
type Spelling func(Field) string

func (s Spelling) of(f Field) string {
	if s == nil {
		return string(f)
	}
	return s(f)
}

// Error is what went wrong, as a value. It is made where that is known, and put
// into words where it is read.
type Error struct {
	Code   Code
	Field  Field  // what it is about; empty: nothing in particular
	Of     string // whose the field is, such as the fault of a setting; empty: the run's
	Value  string // what the field says, as typed; empty: it does not matter
	Err    error  // what went wrong, and its cause if there is one; never nil
	Advice string // what to do about it, in whole sentences; may be empty

	format string // of Err, if it is spelled anew each time
	args   []any
}

// Errorf returns an error of that code about a field, which may be empty. The
// format is that of fmt.Errorf, %w included.
//
// The message begins with the field (and the value, see WithValue) and a colon,
// which the format leaves out:
//
//	Usagef("percent", "lies outside 0 to 100").WithValue("101") // percent 101: lies outside 0 to 100
//
// A format that has the field among its arguments says the whole itself:
//
//	Usagef("to", "%s is empty", Field("to")) // to is empty
func Errorf(code Code, field Field, format string, args ...any) *Error {
	return &Error{Code: code, Field: field, Err: fmt.Errorf(format, args...), format: format, args: args}
}

// Failuref is Errorf with CodeFailure.
func Failuref(field Field, format string, args ...any) *Error {
	return Errorf(CodeFailure, field, format, args...)
}

// Usagef is Errorf with CodeUsage.
func Usagef(field Field, format string, args ...any) *Error {
	return Errorf(CodeUsage, field, format, args...)
}

// Preflightf is Errorf with CodePreflight.
func Preflightf(field Field, format string, args ...any) *Error {
	return Errorf(CodePreflight, field, format, args...)
}

// Refusedf is Errorf with CodeRefused.
func Refusedf(field Field, format string, args ...any) *Error {
	return Errorf(CodeRefused, field, format, args...)
}

// WithAdvice returns the error with that advice, in whole sentences.
func (e *Error) WithAdvice(advice string) *Error {
	with := *e
	with.Advice = advice
	return &with
}

// WithOf returns the error about a field of something, such as a fault.
func (e *Error) WithOf(of string) *Error {
	with := *e
	with.Of = of
	return &with
}

// WithValue returns the error with what the field says, as typed.
func (e *Error) WithValue(value string) *Error {
	with := *e
	with.Value = value
	return &with
}

// Error is the whole message, with fields as their own words, without the advice.
func (e *Error) Error() string { return e.Render(nil) }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Render is the whole message, without the advice.
func (e *Error) Render(spell Spelling) string {
	if e.whole() {
		return e.said(spell)
	}
	field := spell.of(e.Field)
	if field == "" {
		return e.Message(spell)
	}
	text := strings.TrimSuffix(field+" "+words.Foreign(e.Value), " ") + ": " + e.said(spell)
	if e.Of != "" {
		text = words.Foreign(e.Of) + ": " + text
	}
	return text
}

// Message is the message for where the field is shown already, such as behind a
// place in a file: the value, and what is wrong with it.
func (e *Error) Message(spell Spelling) string {
	if e.whole() || e.Value == "" {
		return e.said(spell)
	}
	return words.Foreign(e.Value) + ": " + e.said(spell)
}

// whole reports whether the format says all, the field too.
func (e *Error) whole() bool { return e.Field == "" || slices.Contains(e.args, any(e.Field)) }

// said is what is wrong.
func (e *Error) said(spell Spelling) string {
	if e.format == "" {
		return Render(e.Err, spell)
	}
	args := slices.Clone(e.args)
	if !slices.ContainsFunc(args, func(a any) bool { _, is := a.(error); return is }) {
		for i, a := range args {
			if f, is := a.(Field); is {
				args[i] = spell.of(f)
			}
		}
		return words.Foreign(fmt.Sprintf(e.format, args...))
	}
	for i, a := range args { // an error may have several lines
		switch a := a.(type) {
		case Field:
			args[i] = spell.of(a)
		case string:
			args[i] = words.Foreign(a)
		case error:
			args[i] = spelled{a, Render(a, spell)}
		}
	}
	return fmt.Errorf(e.format, args...).Error()
}

// spelled is an error in other words.
type spelled struct {
	error
	text string
}

func (s spelled) Error() string { return s.text }

// Render is the message of any error, in which the fields of each Error that it
// wraps are spelled so. That of nil is empty.
func Render(err error, spell Spelling) string {
	switch e := err.(type) {
	case nil:
		return ""
	case *Error:
		return e.Render(spell)
	}
	// err has the texts of what it wraps in its own, in their order. Several errors
	// stand on a line each; whatever else has a line break got it from a word of
	// somebody else.
	line := words.Foreign
	if _, several := err.(interface{ Unwrap() []error }); several {
		line = words.Escaped
	}
	var said strings.Builder
	rest := err.Error()
	for _, cause := range causes(err) {
		if cause == nil {
			continue
		}
		if before, after, has := strings.Cut(rest, cause.Error()); has {
			said.WriteString(line(before) + Render(cause, spell))
			rest = after
		}
	}
	return said.String() + line(rest)
}

// causes are the errors that err wraps directly.
func causes(err error) []error {
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	case interface{ Unwrap() error }:
		return []error{e.Unwrap()}
	}
	return nil
}

// each calls f with err and each Error below it that f was not true for, the
// outer ones first, and reports whether f was true for one.
func each(err error, f func(*Error) bool) bool {
	if err == nil {
		return false
	}
	if e, is := err.(*Error); is && f(e) {
		return true
	}
	return slices.ContainsFunc(causes(err), func(cause error) bool { return each(cause, f) })
}

// FieldOf is what err is about: the field of the outermost Error that has one.
func FieldOf(err error) (f Field) {
	each(err, func(e *Error) bool { f = e.Field; return f != "" })
	return f
}

// AdviceOf is what to do about err: the advice of the outermost Error that has
// some.
func AdviceOf(err error) (advice string) {
	each(err, func(e *Error) bool { advice = e.Advice; return advice != "" })
	return advice
}

// Problems are all that is wrong, such as with a Spec, where more than the first
// is worth knowing. It is an error if there is any: return Err.
type Problems []*Error

// Err is ps as an error, or nil if nothing is wrong.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Error has a line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the problems.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}
