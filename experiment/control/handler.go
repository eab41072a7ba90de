package control

import (
	"context"
	"net/http"
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
	h := http.MaxBytesHandler(mux, largestBody)
	if g.starter == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.starter.Touch()
		h.ServeHTTP(w, r)
		g.starter.Touch()
	})
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
	deleteInput struct {
		Name string `path:"name" doc:"The name of the run." example:"reset"`
		Wait bool   `query:"wait" doc:"Answer when the run has ended, and say how, also of one that was over before: its faults are judged."`
	}
	connectionsInput struct {
		Experiment string    `query:"experiment" doc:"Only those of this run."`
		After      time.Time `query:"after" doc:"Only those to which something happened after this time: what is new since the newest last of an earlier answer."`
		All        bool      `query:"all" doc:"Those too that belong to the target of a run and were not chosen, behind the others. Some of them may have ended: nothing is seen of them. They have no ordinal and no times."`
		Limit      int       `query:"limit" minimum:"1" maximum:"10000" default:"1000"`
	}
	putInput struct {
		Name  string `path:"name" doc:"The name of the run: letters, digits, dots, dashes and underscores." example:"reset"`
		Lease string `query:"lease" doc:"Stop the run when nobody has renewed it for so long; absent: never." example:"30s"`
		Body  spec   `doc:"The run as data: the words of flags and scenario files."`
	}
	putAnswer struct {
		Status int
		Body   Experiment
	}
	patchInput struct {
		Name string `path:"name" doc:"The name of the run." example:"reset"`
		Body change `doc:"What changes. Words that are absent stay as they are."`
	}
)

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
	huma.Register(api, op("DELETE", "/v1/experiments", "stop-experiments", "Stop all runs that are going on: the red button. The answer has the runs, and does not wait for their ends"), func(ctx context.Context, _ *struct{}) (*experimentsAnswer, error) {
		a := &experimentsAnswer{}
		a.Body.Experiments = g.Experiments()
		for _, e := range g.all() {
			e.run.StopBy(actorOf(ctx))
		}
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
	huma.Register(api, op("DELETE", "/v1/experiments/{name}", "stop-experiment", "Stop a run: everything is as it was before when it has ended. The answer waits for that if it is asked to"), func(ctx context.Context, in *deleteInput) (*experimentAnswer, error) {
		if !in.Wait {
			return one(func(ctx context.Context, e *entry) error { e.run.StopBy(actorOf(ctx)); return nil })(ctx, &nameInput{in.Name})
		}
		x, err := g.finish(ctx, in.Name, actorOf(ctx))
		return &experimentAnswer{x}, problem(err)
	})
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
			if in.Body.err != nil {
				return nil, problem(in.Body.err)
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
		rows, left := g.table.list(in.Experiment, in.After, in.Limit)
		if rows == nil {
			rows = []Connection{}
		}
		if in.All {
			rows = append(rows, g.unchosen(in.Experiment, in.Limit-len(rows))...)
		}
		return &connectionsAnswer{Connections{rows, left}}, nil
	})
	events := op("GET", "/v1/events", "events", "The events of all runs, as docs/EVENTS.md describes them, with the run as experiment")
	events.Responses = map[string]*huma.Response{"200": {Description: "One JSON object a line, or SSE.", Content: map[string]*huma.MediaType{"application/x-ndjson": {}, "text/event-stream": {}}}}
	huma.Register(api, events, g.events)
	g.catalogRoutes(api, mux)
	g.singleRoutes(api, op)
	return api
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
