package control

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/metrics"
	"github.com/faultctl/faultctl/internal/version"
)

type faultsAnswer struct {
	Body struct {
		Faults []faults.Listing `json:"faults" nullable:"false"`
	}
}

type healthAnswer struct {
	Body struct {
		Status string `json:"status" enum:"ok"`
	}
}

// catalogRoutes are the parts of the API that are about no run of its own.
func (g *Registry) catalogRoutes(api huma.API, mux *http.ServeMux) {
	huma.Register(api, huma.Operation{OperationID: "list-faults", Method: "GET", Path: "/v1/faults", Summary: "The catalogue: every fault with its settings, and what an application sees of it"},
		func(context.Context, *struct{}) (*faultsAnswer, error) {
			a := &faultsAnswer{}
			for _, k := range faults.Catalog {
				a.Body.Faults = append(a.Body.Faults, k.Listing())
			}
			return a, nil
		})
	huma.Register(api, huma.Operation{OperationID: "get-health", Method: "GET", Path: "/healthz", Summary: "Whether the process answers. Needs no token"},
		func(context.Context, *struct{}) (*healthAnswer, error) {
			a := &healthAnswer{}
			a.Body.Status = "ok"
			return a, nil
		})
	api.OpenAPI().AddOperation(&huma.Operation{OperationID: "get-metrics", Method: "GET", Path: "/metrics", Summary: "The counters of the runs that are going on, as Prometheus reads them, with the run as label experiment",
		Responses: map[string]*huma.Response{"200": {Description: "The text format of Prometheus.", Content: map[string]*huma.MediaType{"text/plain": {}}}}})
	mux.Handle("GET /metrics", metrics.Handler(version.String(), g.counters))
}

// counters are those of the runs that are going on, by their names.
func (g *Registry) counters() map[string]injector.Snapshot {
	all := map[string]injector.Snapshot{}
	for _, e := range g.all() {
		all[e.name] = e.run.Stats()
	}
	return all
}
