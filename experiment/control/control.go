// Package control lets runs be reached from outside the process that they are in: to
// list, watch, change, pause and stop them. A [Registry] knows the runs of a process,
// its [Registry.Handler] is an HTTP API on them, [Listen] gives it a unix socket that
// only the same user and root can use, and [Find] finds the sockets of others.
//
// The socket is abstract, so it vanishes with the process, however that ends, and it
// belongs to the network namespace of the process that made it.
package control

import (
	"encoding/json"
	"time"
)

// Process is a process of faultctl with its runs.
type Process struct {
	ID          string       `json:"id" doc:"Names the process among those of this host."`
	PID         int          `json:"pid" doc:"Its process ID in the PID namespace that it is in."`
	Command     string       `json:"command" doc:"What it does: inject, run, verify, scenario run or serve." example:"inject"`
	Line        string       `json:"line" doc:"Its command line."`
	Version     string       `json:"version"`
	Started     time.Time    `json:"started" doc:"When it began."`
	Paused      bool         `json:"paused" doc:"Whether it is paused as a whole: a run that starts meanwhile is paused from its beginning."`
	Experiments []Experiment `json:"experiments" nullable:"false" doc:"Its runs that are going on, the oldest first."`
}

// The states of an Experiment.
const (
	Waiting = "waiting" // its rules are not in yet
	Running = "running"
	Paused  = "paused"
	Ended   = "ended"
)

// Experiment is a run.
type Experiment struct {
	Name   string          `json:"name" doc:"Names the run within its process." example:"reset"`
	State  string          `json:"state" enum:"waiting,running,paused,ended" doc:"waiting: its rules are not in yet."`
	Faults []string        `json:"faults" nullable:"false" doc:"Its faults with their settings, as SPECs." example:"[\"reset:at=request\"]"`
	Scope  string          `json:"scope" doc:"Which connections it is about, in words."`
	NetNS  string          `json:"netns" doc:"Its network namespace: self (the process's own), isolated, or what its target names."`
	Spec   json.RawMessage `json:"spec" doc:"The run as data: the words of flags and scenario files, as they are now."`
	Seed   uint64          `json:"seed" doc:"Repeats the choice of connections."`
	Repeat string          `json:"repeat" doc:"The command line that repeats the run."`
	Ready  *time.Time      `json:"ready,omitempty" doc:"When its rules were in; absent: not yet."`
	Ends   *time.Time      `json:"ends,omitempty" doc:"When it ends by itself; absent: it does not."`
	Lease  *time.Time      `json:"lease,omitempty" doc:"When the run is stopped unless its owner renews it; absent: it has no lease."`
	Error  string          `json:"error,omitempty" doc:"Why it broke."`
	Counts Counts          `json:"counts"`
	End    string          `json:"end,omitempty" enum:"stopped,lease,duration,error" doc:"Why it ended, in the answer that waited for its end."`
	Judged []Judged        `json:"judged,omitempty" doc:"What is said of each of its faults, in the answer that waited for its end."`
}

// Counts are the counters of a run.
type Counts struct {
	Flows    uint64 `json:"flows" doc:"Connections that matched."`
	Chosen   uint64 `json:"chosen" doc:"Of those, connections that were chosen."`
	Fired    uint64 `json:"fired" doc:"Connections on which a fault fired."`
	Felt     uint64 `json:"felt" doc:"Connections on which that was sent, accepted and felt."`
	Diverted uint64 `json:"diverted" doc:"Packets that were judged."`
	Dropped  uint64 `json:"dropped" doc:"Packets that were dropped."`
	Forged   uint64 `json:"forged" doc:"Packets that were sent in the name of an end."`
}

// Connection is a connection that a run chose, and what became of it.
type Connection struct {
	ID         string    `json:"id" doc:"Names the connection in this API: the run, the client and the server, with commas between." example:"slow,10.0.0.1:43210,10.0.0.5:5432"`
	Experiment string    `json:"experiment" doc:"The run that chose it."`
	Ordinal    uint64    `json:"ordinal" doc:"Which of the run's connections it is, counted from 0."`
	Client     string    `json:"client" example:"10.0.0.1:43210"`
	Server     string    `json:"server" example:"10.0.0.5:5432"`
	OpenBefore bool      `json:"open_before" doc:"Whether it was open before the run."`
	Fault      string    `json:"fault,omitempty" doc:"The fault that acted last."`
	Action     string    `json:"action,omitempty" doc:"What it did, as in the event fired."`
	Reason     string    `json:"reason,omitempty" doc:"Why it acted."`
	Fired      uint64    `json:"fired" doc:"How often faults acted."`
	State      string    `json:"state" enum:"not chosen,chosen,spared,fired,sent,accepted,felt,unsent,not accepted,not felt,not struck" doc:"How far what was done to it got."`
	Outcome    string    `json:"outcome,omitempty" doc:"What became of it, in words."`
	Since      time.Time `json:"since,omitzero" required:"false" doc:"When it was chosen."`
	Last       time.Time `json:"last,omitzero" required:"false" doc:"When something happened to it last."`
}
