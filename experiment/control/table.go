package control

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
)

// mostRows is how many connections a table keeps. The oldest ones leave first.
const mostRows = 10_000

// table has the connections that the runs of a process chose.
type table struct {
	mu      sync.Mutex
	rows    map[rowKey]*Connection
	order   []rowKey // by the time they came
	dropped uint64   // rows that had to leave
}

type rowKey struct {
	run            int
	client, server string
	ordinal        uint64
}

// add takes an event of a run into account.
func (t *table) add(run int, name string, e event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := e.(type) {
	case event.Flow:
		row := t.row(rowKey{run, e.Flow.Client, e.Flow.Server, e.Ordinal}, name, e.When())
		row.OpenBefore = e.OpenBefore
	case event.Fired:
		row := t.row(rowKey{run, e.Flow.Client, e.Flow.Server, e.Ordinal}, name, e.When())
		row.Fault, row.Action, row.Reason = e.Fault, e.Action, e.Reason
		row.Fired++
		if row.State == "chosen" {
			row.State = "fired"
		}
	case event.Picked:
		t.mark(run, e.Flow, e.When(), "spared", "chosen")
	case event.Spared:
		t.mark(run, e.Flow, e.When(), "", "spared")
	case event.Outcome:
		row := t.row(rowKey{run, e.Flow.Client, e.Flow.Server, e.Ordinal}, name, e.When())
		row.Fault, row.Outcome, row.State = e.Fault, e.Text(), stateOf(e)
	}
}

// connectionID names a connection of a run.
func connectionID(run, client, server string) string { return run + "," + client + "," + server }

// stateOf is how far a strike got.
func stateOf(e event.Outcome) string {
	switch {
	case !e.Struck:
		return "not struck"
	case e.Sent.Answer == "no":
		return "unsent"
	case e.Accepted.Answer == "no":
		return "not accepted"
	case e.Sent.Answer != "yes":
		return "fired"
	case e.Accepted.Answer != "yes":
		return "sent"
	case e.Felt.Answer == "no":
		return "not felt"
	case e.Felt.Answer != "yes":
		return "accepted"
	}
	return "felt"
}

// mark gives the rows of a connection another state if they have the one that is
// named; empty: whatever they have. The caller holds mu.
func (t *table) mark(run int, ends event.Ends, at time.Time, from, to string) {
	for key, row := range t.rows {
		if key.run == run && key.client == ends.Client && key.server == ends.Server && (from == "" || row.State == from) {
			row.State, row.Last = to, at
		}
	}
}

// row is the row of a connection, to which something happened now. The caller
// holds mu.
func (t *table) row(key rowKey, name string, at time.Time) *Connection {
	if t.rows == nil {
		t.rows = map[rowKey]*Connection{}
	}
	row := t.rows[key]
	if row == nil {
		if len(t.order) >= mostRows { // rarely, and not one by one
			for _, old := range t.order[:mostRows/10] {
				delete(t.rows, old)
			}
			t.order = append(t.order[:0], t.order[mostRows/10:]...)
			t.dropped += mostRows / 10
		}
		row = &Connection{ID: connectionID(name, key.client, key.server), Experiment: name, Ordinal: key.ordinal, Client: key.client, Server: key.server, State: "chosen", Since: at}
		t.rows[key] = row
		t.order = append(t.order, key)
	}
	row.Last = at
	return row
}

// list returns the rows of a run, or of all if name is empty, to which something has
// happened after that time: those first to which it happened last. left is how many are not among them.
func (t *table) list(name string, after time.Time, limit int) (rows []Connection, left uint64) {
	t.mu.Lock()
	left = t.dropped
	for _, row := range t.rows {
		if (name == "" || row.Experiment == name) && row.Last.After(after) {
			rows = append(rows, *row)
		}
	}
	t.mu.Unlock()
	slices.SortFunc(rows, func(a, b Connection) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Experiment, b.Experiment), cmp.Compare(b.Ordinal, a.Ordinal), cmp.Compare(a.Client, b.Client))
	})
	if len(rows) > limit {
		left += uint64(len(rows) - limit)
		rows = rows[:limit]
	}
	return rows, left
}
