package cli

import (
	"encoding/json"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/experiment/control"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (inv *invocation) psCommand() *cobra.Command {
	return inv.complete(&cobra.Command{
		Use: "ps [flags]", Short: "list the runs of this user; as root, of all users",
		Example: "faultctl ps\nsudo faultctl ps -o json",
	}, []*pflag.Flag{outputFlag(otherHeading)}, inv.ps)
}

// processJSON is a process as programs read it.
type processJSON struct {
	control.Process
	User int `json:"uid"`
	Pid  int `json:"seen_pid"`
}

func (inv *invocation) ps(c *call) error {
	if err := noArguments(c); err != nil {
		return err
	}
	found, err := inv.findRuns(c.Context())
	if err != nil {
		return err
	}
	if inv.json {
		list := []processJSON{}
		for _, f := range found {
			list = append(list, processJSON{f.Process, f.UID, f.Pid})
		}
		enc := json.NewEncoder(inv.stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(list)
	}
	if len(found) == 0 {
		fmt.Fprintln(inv.stdout, "no run is going on")
		return nil
	}
	inv.writeTable(runHead, cellsOf(runRows(found, inv.sys.Now())))
	return nil
}

// runHead are the titles of runRows.
var runHead = []string{"ID", "USER", "COMMAND", "RUN", "STATE", "CHOSEN", "FIRED", "FELT", "TIME", "CONNECTIONS"}

// runRow is a line of ps, and of top.
type runRow struct {
	one
	state string
	cells []string
}

// runRows are the runs of processes, a line each; a process without any has one too.
func runRows(found []*control.Found, now time.Time) (rows []runRow) {
	for _, f := range found {
		o := one{f, ""}
		head := []string{o.label(), userName(f.UID), words.Foreign(f.Command)}
		if len(f.Experiments) == 0 {
			state := "between runs"
			if f.Paused {
				state = control.Paused
			}
			rows = append(rows, runRow{o, state, append(head, "", state, "", "", "", lasted(f.Started, now), "")})
		}
		for _, x := range f.Experiments {
			since := f.Started
			if x.Ready != nil {
				since = *x.Ready
			}
			time := lasted(since, now)
			if x.Ends != nil {
				time += " of " + lasted(since, *x.Ends)
			}
			rows = append(rows, runRow{one{f, x.Name}, x.State, append(head[:3:3], words.Foreign(x.Name), words.Foreign(x.State),
				fmt.Sprint(x.Counts.Chosen), fmt.Sprint(x.Counts.Fired), fmt.Sprint(x.Counts.Felt), time, words.Foreign(x.Scope))})
		}
	}
	return rows
}

func lasted(from, to time.Time) string { return max(0, to.Sub(from)).Round(time.Second).String() }

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

func cellsOf(rows []runRow) (lines [][]string) {
	for _, r := range rows {
		lines = append(lines, r.cells)
	}
	return lines
}

// writeTable writes rows in columns as wide as they need to be; the last column has
// what is left of a terminal.
func (inv *invocation) writeTable(head []string, rows [][]string) {
	width := 0 // all of it
	if inv.terminal {
		width = inv.screen()
	}
	lines := append([][]string{head}, rows...)
	wide := make([]int, len(head))
	for _, l := range lines {
		for i, cell := range l {
			wide[i] = max(wide[i], text.Width(cell))
		}
	}
	for _, l := range lines {
		var b strings.Builder
		for i, cell := range l {
			if i == len(l)-1 {
				b.WriteString(cell)
				break
			}
			b.WriteString(text.Pad(cell, wide[i]) + "  ")
		}
		fmt.Fprintln(inv.stdout, strings.TrimRight(text.Cut(b.String(), width), " "))
	}
}
