package control

import (
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/injector"
)

// Problem is an error as the API answers it: RFC 9457, with the code, the word of
// the run that it is about and the advice that the command line has.
type Problem struct {
	Status int          `json:"status" doc:"The HTTP status." example:"422"`
	Title  string       `json:"title" doc:"The status in words."`
	Detail string       `json:"detail,omitempty" doc:"What is wrong."`
	Code   int          `json:"code,omitempty" doc:"The exit code that the command line would have: 2 is wrong usage, 5 a missing permission, 6 a refusal."`
	Field  string       `json:"field,omitempty" doc:"The word that it is about." example:"percent"`
	Advice string       `json:"advice,omitempty" doc:"What to do about it."`
	Errors []FieldError `json:"errors,omitempty" doc:"All that is wrong, if it is more than one thing."`
}

// FieldError is one of several things that are wrong.
type FieldError struct {
	Detail string `json:"detail"`
	Field  string `json:"field,omitempty"`
	Advice string `json:"advice,omitempty"`
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

func init() {
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		p := &Problem{Status: status, Title: http.StatusText(status), Detail: msg, Code: int(event.CodeUsage)}
		for _, err := range errs {
			var d *huma.ErrorDetail
			switch {
			case errors.As(err, &d):
				p.Errors = append(p.Errors, FieldError{Detail: d.Message, Field: d.Location})
			case err != nil:
				p.Errors = append(p.Errors, FieldError{Detail: err.Error()})
			}
		}
		return p
	}
}

// problem is an error of a run as the API answers it; nil for nil.
func problem(err error) error {
	if err == nil {
		return nil
	}
	r := experiment.Report(err, nil)
	p := &Problem{Status: http.StatusInternalServerError, Detail: r.Message, Code: int(r.Code), Field: string(r.Field), Advice: r.Advice}
	switch {
	case errors.Is(err, ErrNoRun), errors.Is(err, injector.ErrNoConnection):
		p.Status = http.StatusNotFound
	case errors.Is(err, experiment.ErrEnded), errors.Is(err, injector.ErrNotJudging):
		p.Status = http.StatusConflict
	case r.Code == event.CodeUsage:
		p.Status = http.StatusUnprocessableEntity
	case r.Code == event.CodeRefused, r.Code == event.CodePreflight:
		p.Status = http.StatusForbidden
	}
	p.Title = http.StatusText(p.Status)
	var all event.Problems
	if errors.As(err, &all) && len(all) > 1 {
		for _, e := range all {
			p.Errors = append(p.Errors, FieldError{e.Render(nil), string(e.Field), e.Advice})
		}
	}
	return p
}
