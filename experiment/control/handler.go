package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/internal/version"
	"github.com/faultctl/faultctl/internal/words"
)

// Handler is the HTTP API on the runs of the process. It does not ask who calls:
// what serves it does. The caller is who [WithActor] says.
func (g *Registry) Handler() http.Handler {
	mux := http.NewServeMux()
	g.routes(mux)
	return http.MaxBytesHandler(mux, largestBody)
}

const largestBody = 1 << 20

// OpenAPI is the document of the API, in JSON. It is made from the handlers.
func OpenAPI() ([]byte, error) {
	g := NewRegistry("serve", nil)
	NewStarter(context.Background(), experiment.NewSystem(), g)
	return g.routes(http.NewServeMux()).OpenAPI().MarshalJSON()
}

// Answers of the API, as huma wants them.
type (
	processAnswer     struct{ Body Process }
	experimentAnswer  struct{ Body Experiment }
	experimentsAnswer struct {
		Body struct {
			Experiments []Experiment `json:"experiments" nullable:"false"`
		}
	}
	connectionsAnswer struct {
		Body Connections
	}
	nameInput struct {
		Name string `path:"name" doc:"The name of the run." example:"reset"`
	}
	connectionsInput struct {
		Experiment string `query:"experiment" doc:"Only those of this run."`
		Limit      int    `query:"limit" minimum:"1" maximum:"10000" default:"1000"`
	}
	eventsInput struct {
		After       uint64 `query:"after" doc:"Only events behind this ordinal: the id of an SSE event."`
		LastEventID string `header:"Last-Event-ID" doc:"Likewise, as an EventSource says it."`
		Accept      string `header:"Accept" doc:"text/event-stream for SSE; otherwise one JSON object a line."`
		Follow      bool   `query:"follow" default:"true" doc:"Wait for further events."`
	}
	putInput struct {
		Name  string   `path:"name" doc:"The name of the run: letters, digits, dots, dashes and underscores." example:"reset"`
		Lease string   `query:"lease" doc:"Stop the run when nobody has renewed it for so long; absent: never." example:"30s"`
		Body  specBody `doc:"The run as data: the words of flags and scenario files."`
	}
	putAnswer struct {
		Status int
		Body   Experiment
	}
	patchInput struct {
		Name string         `path:"name" doc:"The name of the run." example:"reset"`
		Body map[string]any `doc:"What changes: words of a run as data, such as {\"target\": {\"percent\": 20}}. Those that are absent stay as they are. The schema of a run says what there is; target.to, target.from, target.percent and the settings of its faults can change." example:"{\"target\":{\"percent\":20}}"`
	}
)

// specBody is a run as data. Its schema is the one of scenario files.
type specBody struct{ experiment.Spec }

// UnmarshalJSON implements json.Unmarshaler.
func (b *specBody) UnmarshalJSON(text []byte) error { return b.Spec.UnmarshalJSON(text) }

// Schema implements huma.SchemaProvider.
func (specBody) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: "object", Description: "fault, target and the other words of a run, as docs/CONTROL.md says.", AdditionalProperties: true,
		Examples: []any{map[string]any{"fault": "delay:by=50ms", "target": map[string]any{"to": ":5432"}}}}
}

// Connections are the rows of GET /v1/connections.
type Connections struct {
	Connections []Connection `json:"connections" nullable:"false" doc:"Those first to which something happened last."`
	Left        uint64       `json:"left" doc:"How many others there are or were that are not listed."`
}

func (g *Registry) routes(mux *http.ServeMux) huma.API {
	cfg := huma.DefaultConfig("faultctl", version.String())
	cfg.Info.Description = "Runs of faultctl: listed, watched, changed, paused and stopped while they go on."
	cfg.DocsPath, cfg.SchemasPath, cfg.CreateHooks = "", "", nil
	cfg.OpenAPIPath = "/openapi"
	api := humago.New(mux, cfg)
	op := func(method, path, id, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary, Errors: []int{http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity}}
	}
	huma.Register(api, op("GET", "/v1/process", "get-process", "The process, with its runs"), func(context.Context, *struct{}) (*processAnswer, error) {
		return &processAnswer{g.Process()}, nil
	})
	huma.Register(api, op("DELETE", "/v1/process", "stop-process", "Stop the process, as Ctrl-C does: it ends cleanly"), func(ctx context.Context, _ *struct{}) (*processAnswer, error) {
		defer g.StopAll(actorOf(ctx))
		return &processAnswer{g.Process()}, nil
	})
	huma.Register(api, op("POST", "/v1/process/pause", "pause-process", "Pause all runs, and those that begin later"), func(ctx context.Context, _ *struct{}) (*processAnswer, error) {
		err := g.Pause(actorOf(ctx))
		return &processAnswer{g.Process()}, problem(err)
	})
	huma.Register(api, op("POST", "/v1/process/resume", "resume-process", "Resume all runs"), func(ctx context.Context, _ *struct{}) (*processAnswer, error) {
		err := g.Resume(actorOf(ctx))
		return &processAnswer{g.Process()}, problem(err)
	})
	huma.Register(api, op("GET", "/v1/experiments", "list-experiments", "The runs that are going on"), func(context.Context, *struct{}) (*experimentsAnswer, error) {
		a := &experimentsAnswer{}
		a.Body.Experiments = g.Experiments()
		return a, nil
	})
	one := func(do func(context.Context, *entry) error) func(context.Context, *nameInput) (*experimentAnswer, error) {
		return func(ctx context.Context, in *nameInput) (*experimentAnswer, error) {
			e, err := g.find(in.Name)
			if err == nil {
				err = do(ctx, e)
			}
			if err != nil {
				return nil, problem(err)
			}
			return &experimentAnswer{e.describe(g)}, nil
		}
	}
	huma.Register(api, op("GET", "/v1/experiments/{name}", "get-experiment", "A run"), one(func(context.Context, *entry) error { return nil }))
	huma.Register(api, op("DELETE", "/v1/experiments/{name}", "stop-experiment", "Stop a run: everything is as it was before when it has ended. The answer does not wait for that"),
		one(func(ctx context.Context, e *entry) error { e.run.StopBy(actorOf(ctx)); return nil }))
	huma.Register(api, op("POST", "/v1/experiments/{name}/pause", "pause-experiment", "Pause a run: no packet is judged"),
		one(func(ctx context.Context, e *entry) error { return e.run.PauseBy(actorOf(ctx)) }))
	huma.Register(api, op("POST", "/v1/experiments/{name}/resume", "resume-experiment", "Resume a run: the next matching packet is judged"),
		one(func(ctx context.Context, e *entry) error { return e.run.ResumeBy(actorOf(ctx)) }))
	if g.starter != nil {
		huma.Register(api, op("PUT", "/v1/experiments/{name}", "put-experiment", "Start a run, or have the one of that name do this. When it answers, the next matching packet is judged"), func(ctx context.Context, in *putInput) (*putAnswer, error) {
			lease := time.Duration(0)
			if in.Lease != "" {
				var err error
				if lease, err = words.ParseDuration(in.Lease); err != nil || lease <= 0 {
					return nil, problem(event.Usagef("lease", "%s: it is a duration above 0, such as 30s", in.Lease))
				}
			}
			created, err := g.starter.Put(ctx, in.Name, actorOf(ctx), in.Body.Spec, lease)
			if err != nil {
				return nil, problem(err)
			}
			e, err := g.find(in.Name)
			if err != nil {
				return nil, problem(err)
			}
			a := &putAnswer{Status: http.StatusOK, Body: e.describe(g)}
			if created {
				a.Status = http.StatusCreated
			}
			return a, nil
		})
		huma.Register(api, op("POST", "/v1/experiments/{name}/renew", "renew-experiment", "Begin the lease of a run anew"),
			one(func(_ context.Context, e *entry) error { return g.starter.Renew(e.name) }))
	}
	huma.Register(api, op("PATCH", "/v1/experiments/{name}", "change-experiment", "Change a run while it goes on, all or nothing"), func(ctx context.Context, in *patchInput) (*experimentAnswer, error) {
		if err := g.Update(ctx, in.Name, actorOf(ctx), in.Body); err != nil {
			return nil, problem(err)
		}
		return one(func(context.Context, *entry) error { return nil })(ctx, &nameInput{in.Name})
	})
	huma.Register(api, op("GET", "/v1/connections", "list-connections", "The connections that runs chose, and what became of them"), func(_ context.Context, in *connectionsInput) (*connectionsAnswer, error) {
		rows, left := g.table.list(in.Experiment, in.Limit)
		if rows == nil {
			rows = []Connection{}
		}
		return &connectionsAnswer{Connections{rows, left}}, nil
	})
	events := op("GET", "/v1/events", "events", "The events of all runs, as docs/EVENTS.md describes them, with the run as experiment")
	events.Responses = map[string]*huma.Response{"200": {Description: "One JSON object a line, or SSE.", Content: map[string]*huma.MediaType{"application/x-ndjson": {}, "text/event-stream": {}}}}
	huma.Register(api, events, g.events)
	return api
}

// events streams the events of all runs.
func (g *Registry) events(_ context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	sse := in.Accept == "text/event-stream"
	after := in.After
	if n, err := strconv.ParseUint(in.LastEventID, 10, 64); err == nil {
		after = n
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		kind := "application/x-ndjson"
		if sse {
			kind = "text/event-stream"
		}
		hc.SetHeader("Content-Type", kind)
		hc.SetHeader("Cache-Control", "no-store")
		w := hc.BodyWriter()
		flush := func() {
			if rw, is := w.(http.ResponseWriter); is {
				http.NewResponseController(rw).Flush()
			}
		}
		hc.SetStatus(http.StatusOK)
		flush()
		ctx := hc.Context()
		if !in.Follow {
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(ctx)
			cancel()
		}
		for {
			lines, lost := g.ring.after(ctx, after)
			if lost > 0 {
				lines = append([]line{{after + lost, "", event.Stamp(time.Now(), event.Lost{Events: lost})}}, lines...)
			}
			for _, l := range lines {
				var err error
				if sse {
					_, err = fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", l.ordinal, l.event.Name(), l.text())
				} else {
					_, err = fmt.Fprintf(w, "%s\n", l.text())
				}
				if err != nil {
					return
				}
				after = l.ordinal
			}
			if flush(); ctx.Err() != nil || len(lines) == 0 {
				return
			}
		}
	}}, nil
}

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
	case errors.Is(err, ErrNoRun):
		p.Status = http.StatusNotFound
	case errors.Is(err, experiment.ErrEnded):
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

// actorKey is the key of the caller in a context.
type actorKey struct{}

// WithActor says who makes the requests of a context.
func WithActor(ctx context.Context, a event.Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, &a)
}

func actorOf(ctx context.Context) *event.Actor {
	a, _ := ctx.Value(actorKey{}).(*event.Actor)
	return a
}
