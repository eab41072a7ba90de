package control

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/injector"
)

// Struck says when a fault acts on a connection that somebody had it strike.
type Struck struct {
	ID   string `json:"id" doc:"The connection."`
	When string `json:"when" enum:"next packet,as set,already" doc:"next packet: its fault acts at its next packet, of either end, for nothing can be done to a connection between packets. as set: it is chosen, and its fault acts from its next packet on as its settings say. already: its fault has acted on it, and nothing has changed."`
}

type (
	connectionInput struct {
		ID string `path:"id" doc:"The id of the connection: the run, the client and the server, with commas between." example:"slow,10.0.0.1:43210,10.0.0.5:5432"`
	}
	struckAnswer     struct{ Body Struck }
	connectionAnswer struct {
		Body struct {
			ID string `json:"id" doc:"The connection."`
		}
	}
)

// singleRoutes are the parts of the API that are about one connection.
func (g *Registry) singleRoutes(api huma.API, op func(method, path, id, summary string) huma.Operation) {
	huma.Register(api, op("POST", "/v1/connections/{id}/strike", "strike-connection", "Have the faults of its run strike a connection, whether it was chosen or not"),
		func(ctx context.Context, in *connectionInput) (*struckAnswer, error) {
			e, client, server, err := g.findConnection(in.ID)
			if err != nil {
				return nil, problem(err)
			}
			when, err := e.run.StrikeBy(actorOf(ctx), client, server)
			if err != nil {
				return nil, problem(aboutConnection(err))
			}
			return &struckAnswer{Struck{in.ID, when.String()}}, nil
		})
	huma.Register(api, op("POST", "/v1/connections/{id}/spare", "spare-connection", "Have the faults of its run leave a connection alone until it ends. What was done to it stays done"),
		func(ctx context.Context, in *connectionInput) (*connectionAnswer, error) {
			e, client, server, err := g.findConnection(in.ID)
			if err != nil {
				return nil, problem(err)
			}
			if err := e.run.SpareBy(actorOf(ctx), client, server); err != nil {
				return nil, problem(aboutConnection(err))
			}
			a := &connectionAnswer{}
			a.Body.ID = in.ID
			return a, nil
		})
}

// findConnection reads the id of a connection. A run's name may have commas.
func (g *Registry) findConnection(id string) (e *entry, client, server netip.AddrPort, err error) {
	parts := strings.Split(id, ",")
	n := len(parts)
	if n >= 3 {
		client, err = netip.ParseAddrPort(parts[n-2])
		if err == nil {
			server, err = netip.ParseAddrPort(parts[n-1])
		}
	}
	if n < 3 || err != nil {
		return nil, client, server, event.Usagef("id", "%q is no id of a connection", id).WithAdvice("It is the run, the client and the server, such as slow,10.0.0.1:43210,10.0.0.5:5432; GET /v1/connections lists them.")
	}
	e, err = g.find(strings.Join(parts[:n-2], ","))
	return e, client, server, err
}

// aboutConnection is an error about a single connection, with advice.
func aboutConnection(err error) error {
	switch {
	case errors.Is(err, injector.ErrNoConnection):
		return event.Usagef("id", "%w", err).WithAdvice("It must belong to the run's target, and a packet of it must have come since the run began.")
	case errors.Is(err, injector.ErrNotJudging):
		return event.Usagef("", "%w", err).WithAdvice("Resume the run first.")
	}
	return err
}

// unchosen are rows for connections that the runs know and did not choose.
func (g *Registry) unchosen(run string, limit int) (rows []Connection) {
	for _, e := range g.all() {
		if run != "" && run != e.name {
			continue
		}
		for _, f := range e.run.Unchosen(limit - len(rows)) {
			rows = append(rows, Connection{ID: connectionID(e.name, f.Client, f.Server), Experiment: e.name, Client: f.Client, Server: f.Server, State: "not chosen"})
		}
	}
	return rows
}
