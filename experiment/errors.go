package experiment

import (
	"errors"
	"syscall"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/rights"
)

var errEmpty = errors.New("is empty")

// usage is an error about a word of the Spec.
func usage(word event.Field, format string, args ...any) *event.Error {
	return event.Usagef(word, format, args...)
}

// emptyWord is the error of a word with an empty value, such as that of an
// unset shell variable.
func emptyWord(word event.Field) *event.Error {
	return usage(word, "is empty").WithAdvice("Leave it out if you do not need it.")
}

// badValue says what is wrong with the value of a word.
func badValue(word event.Field, value string, err error) *event.Error {
	if errors.Is(err, errEmpty) {
		return usage(word, "is empty").WithAdvice("Leave it out if every connection is meant.")
	}
	return usage(word, "%w", err).WithValue(value)
}

// CodeOf is the code of an error of this package, of injector, or of one that
// wraps either; that of nil is event.CodeOK. Of several errors side by side it is
// the first's.
func CodeOf(err error) event.Code {
	var e *event.Error
	switch {
	case err == nil:
		return event.CodeOK
	case errors.As(err, &e) && e.Code != 0:
		return e.Code
	case errors.Is(err, injector.ErrConfig), errors.Is(err, injector.ErrNoNamespace):
		return event.CodeUsage
	case errors.Is(err, injector.ErrPermission), errors.Is(err, injector.ErrNotSupported):
		return event.CodePreflight
	}
	return event.CodeFailure
}

// AdviceOf says in whole sentences what to do about an error; empty if there
// is no advice.
func AdviceOf(err error) string {
	if advice := event.AdviceOf(err); advice != "" {
		return advice
	}
	switch {
	case errors.Is(err, syscall.EMFILE):
		return "This process has reached its limit of open files: raise it (ulimit -n 1024, LimitNOFILE= of a unit)."
	case errors.Is(err, injector.ErrPermission):
		return rights.Own().Advice()
	case errors.Is(err, injector.ErrNotSupported):
		return "faultctl doctor says what this kernel lacks and what to do about it."
	}
	return ""
}

// Report is the event of an error, whose words are spelled as a front end has them.
func Report(err error, spell event.Spelling) event.ErrorEvent {
	return event.ErrorEvent{Code: CodeOf(err), Message: event.Render(err, spell), Advice: AdviceOf(err), Field: event.FieldOf(err)}
}
