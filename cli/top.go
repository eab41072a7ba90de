package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/experiment/control"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (inv *invocation) topCommand() *cobra.Command {
	return inv.complete(&cobra.Command{
		Use: "top [ID] [flags]", Short: "watch runs and their connections live, and act on them", ValidArgsFunction: inv.completeRun,
		Long:    "ID is what faultctl ps says; without it all runs of this user are shown. Without a terminal, and with --output json, it prints the state once.",
		Example: "faultctl top\nsudo faultctl top 4242\nfaultctl top -o json",
	}, []*pflag.Flag{outputFlag(otherHeading)}, inv.top)
}

// mostConnections is how many connections of a process top shows: those to which
// something happened last.
const mostConnections = 5000

// topView is what top shows at a moment.
type topView struct {
	at    time.Time
	runs  []runRow
	conns []connRow
	left  uint64 // connections that are not listed
}

// connRow is a connection with the run that chose it.
type connRow struct {
	one
	control.Connection
}

// topJSON is topView as programs read it.
type topJSON struct {
	Processes   []processJSON        `json:"processes"`
	Connections []control.Connection `json:"connections"`
	Left        uint64               `json:"left"`
}

func (inv *invocation) top(c *call) error {
	if len(c.words) > 1 {
		return usageError("top: unexpected argument %q", c.words[1])
	}
	only := c.first()
	if only != "" { // a mistake is said before the screen is taken
		found, err := inv.findRuns(c.Context())
		if err == nil {
			_, err = pick(found, only)
		}
		if err != nil {
			return err
		}
	}
	if inv.terminal && !inv.json {
		return inv.topLive(c.Context(), only)
	}
	found, view, err := inv.look(c.Context(), only, false)
	if err != nil {
		return err
	}
	if inv.json {
		out := topJSON{Processes: []processJSON{}, Connections: []control.Connection{}, Left: view.left}
		for _, f := range found {
			out.Processes = append(out.Processes, processJSON{f.Process, f.UID, f.Pid})
		}
		for _, row := range view.conns {
			out.Connections = append(out.Connections, row.Connection)
		}
		return json.NewEncoder(inv.stdout).Encode(out)
	}
	if len(found) == 0 {
		fmt.Fprintln(inv.stdout, "no run is going on")
		return nil
	}
	inv.writeTable(runHead, cellsOf(view.runs))
	fmt.Fprintln(inv.stdout)
	columns := connColumns(1 << 10)
	var head []string
	for _, col := range columns {
		head = append(head, col.title)
	}
	var lines [][]string
	for _, row := range view.conns {
		var cells []string
		for _, col := range columns {
			cells = append(cells, col.of(row, view.at))
		}
		lines = append(lines, cells)
	}
	inv.writeTable(head, lines)
	if view.left > 0 {
		fmt.Fprintf(inv.stdout, "and %d others\n", view.left)
	}
	return nil
}

// look asks the processes what they do. only is an ID, or empty. all: connections that
// were not chosen too.
func (inv *invocation) look(ctx context.Context, only string, all bool) (found []*control.Found, v topView, err error) {
	v.at = inv.sys.Now()
	found, _, err = inv.find(ctx)
	if err != nil {
		return nil, v, err
	}
	if only != "" {
		o, err := pick(found, only)
		if err != nil {
			return nil, v, nil // it has ended
		}
		found = []*control.Found{o.Found}
	}
	v.runs = runRows(found, v.at)
	for _, f := range found {
		list, err := f.Client.Connections(ctx, mostConnections, all)
		if err != nil {
			continue // it has ended
		}
		v.left += list.Left
		for _, c := range list.Connections {
			v.conns = append(v.conns, connRow{one{f, c.Experiment}, c})
		}
	}
	slices.SortStableFunc(v.conns, func(a, b connRow) int { return b.Last.Compare(a.Last) })
	return found, v, nil
}

// connColumn is a column of the table of connections.
type connColumn struct {
	title string
	of    func(connRow, time.Time) string
	less  func(a, b connRow) int // nil: by its text
}

// connColumns are the columns for which a terminal has room.
func connColumns(width int) []connColumn {
	last := connColumn{"LAST", func(r connRow, now time.Time) string {
		if r.Last.IsZero() {
			return "-"
		}
		return lasted(r.Last, now)
	}, func(a, b connRow) int { return b.Last.Compare(a.Last) }}
	all := []connColumn{
		last,
		{"CLIENT", func(r connRow, _ time.Time) string { return words.Foreign(r.Client) }, nil},
		{"SERVER", func(r connRow, _ time.Time) string { return words.Foreign(r.Server) }, nil},
		{"FAULT", func(r connRow, _ time.Time) string { return words.Foreign(cmp.Or(r.Fault, "-")) }, nil},
		{"STATE", func(r connRow, _ time.Time) string { return words.Foreign(r.State) }, nil},
	}
	if width < 100 {
		return all
	}
	return append(all,
		connColumn{"FIRED", func(r connRow, _ time.Time) string { return fmt.Sprint(r.Fired) }, func(a, b connRow) int { return cmp.Compare(b.Fired, a.Fired) }},
		connColumn{"RUN", func(r connRow, _ time.Time) string { return r.label() + "/" + words.Foreign(r.Experiment) }, nil},
		connColumn{"WHAT HAPPENED", func(r connRow, _ time.Time) string {
			said := words.Foreign(r.Outcome)
			if said == "" && r.Action != "" {
				said = words.Foreign(r.Action) + ": " + words.Foreign(r.Reason)
			}
			return said
		}, nil},
	)
}

// arrange sorts the rows by a column, and keeps those that have the filter in any
// column.
func arrange(rows []connRow, columns []connColumn, by int, reverse bool, filter string, now time.Time) []connRow {
	kept := slices.Clone(rows)
	if filter != "" {
		kept = slices.DeleteFunc(kept, func(r connRow) bool {
			return !slices.ContainsFunc(columns, func(col connColumn) bool {
				return strings.Contains(strings.ToLower(col.of(r, now)), strings.ToLower(filter))
			})
		})
	}
	col := columns[min(by, len(columns)-1)]
	slices.SortStableFunc(kept, func(a, b connRow) int {
		order := 0
		if col.less != nil {
			order = col.less(a, b)
		} else {
			order = strings.Compare(col.of(a, now), col.of(b, now))
		}
		if reverse {
			return -order
		}
		return order
	})
	return kept
}

// summary is the line above the tables.
func (v topView) summary() string {
	var chosen, fired, felt uint64
	for _, r := range v.runs {
		for _, x := range r.Experiments {
			if x.Name == r.run {
				chosen, fired, felt = chosen+x.Counts.Chosen, fired+x.Counts.Fired, felt+x.Counts.Felt
			}
		}
	}
	return fmt.Sprintf("%s  %s, %d chosen, %d fired, %d felt", v.at.Format("15:04:05"), words.Plural(uint64(len(v.runs)), "run"), chosen, fired, felt)
}

// strikes says when a fault acts on a connection that is struck by hand.
var strikes = map[string]string{
	"next packet": "struck at its next packet", "as set": "chosen: its fault acts as set", "already": "its fault has acted on it already",
}

// press does what a key means for a run, or for a connection of it, and says what it did.
func (inv *invocation) press(ctx context.Context, key rune, v topView, o one, row control.Connection) (string, error) {
	if key == 'X' {
		var errs []error
		seen := map[string]bool{}
		for _, r := range v.runs {
			if !seen[r.ID] {
				seen[r.ID] = true
				errs = append(errs, r.Client.Stop(ctx))
			}
		}
		return "stopped all", errors.Join(errs...)
	}
	if o.Found == nil {
		return "", errors.New("no run is chosen")
	}
	var x control.Experiment
	for _, each := range o.Experiments {
		if each.Name == o.run {
			x = each
		}
	}
	switch key {
	case 't', 'e':
		if row.ID == "" {
			return "", errors.New("choose a connection first: Tab changes the table")
		}
		name := words.Foreign(row.Client)
		if key == 'e' {
			return name + " is spared", o.Client.Spare(ctx, row.ID)
		}
		struck, err := o.Client.Strike(ctx, row.ID)
		return name + ": " + strikes[struck.When], err
	case 's':
		if o.run != "" && len(o.Experiments) > 1 {
			return "stopped " + o.String(), o.Client.StopRun(ctx, o.run)
		}
		return "stopped " + o.String(), o.Client.Stop(ctx)
	case 'p':
		do, done := o.Client.PauseRun, "paused "
		if x.State == control.Paused {
			do, done = o.Client.ResumeRun, "resumed "
		}
		if o.run == "" {
			return "", errors.New("this process has no run at this moment")
		}
		return done + o.String(), do(ctx, o.run)
	case '+', '-':
		percent, err := percentOf(x)
		if err != nil {
			return "", err
		}
		if percent += 10; key == '-' {
			percent -= 20
		}
		percent = min(max(percent, 0), 100)
		_, err = o.Client.Change(ctx, o.run, map[string]any{"target": map[string]any{"percent": percent}})
		return fmt.Sprintf("%s: percent=%g", o, percent), err
	}
	return "", nil
}

// percentOf is the share of a run.
func percentOf(x control.Experiment) (float64, error) {
	var spec struct {
		Target struct {
			Percent json.Number `json:"percent"`
		} `json:"target"`
	}
	if err := json.Unmarshal(x.Spec, &spec); err != nil {
		return 0, errors.New("this process has no run at this moment")
	}
	if spec.Target.Percent == "" {
		return 100, nil
	}
	return spec.Target.Percent.Float64()
}

// topKeys are the keys that the screen names, the most needed first.
func topKeys(width int) string {
	if width < 120 {
		return text.Cut("X stop all  s stop  p pause  t strike  e spare  +- %  Tab  o O sort  /  a all  q", width)
	}
	return text.Cut("X stop all  s stop  p pause/resume  t strike  e spare  +/- percent  Tab table  o/O sort  / filter  a all/chosen  q quit", width)
}
