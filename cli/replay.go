package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// replayCommand is faultctl replay EVENTS.
func (h *host) replayCommand() *cli.Command {
	return &cli.Command{
		Name: "replay", Usage: "make the decisions of a recorded command again", ArgsUsage: "EVENTS [flags]",
		Description: "faultctl inject reset --percent 10 --to :5432 -o json > events.ndjson\n" +
			"faultctl replay events.ndjson --duration 60s --pcap again.pcapng\n" +
			"faultctl replay verify.ndjson --case idle-expire",
		Flags:  replayFlags(),
		Action: h.replay,
	}
}

// replayFlags are those of a run that say how it goes, not what it does.
func replayFlags() []cli.Flag {
	return append(passedOn(), text(runHeading, "case", "`NAME` of what verify recorded, this case alone, as a run"))
}

// passedOn are the flags that the command which was recorded is given.
func passedOn() []cli.Flag {
	return slices.DeleteFunc(runFlags(), func(f cli.Flag) bool {
		return !slices.Contains([]string{"duration", "expect-fired", "allow-idle", "output", "pcap", "report", "metrics", "log-level"}, f.Names()[0])
	})
}

// replay runs what EVENTS recorded, on the connections of the same ordinals,
// and says where the decisions differ.
func (h *host) replay(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return usageError("replay: which EVENTS? It is a file that inject, run, verify or scenario run wrote with -o json, or - for standard input.")
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	rec, err := h.recording(c.Args().First())
	if err != nil {
		return usageError("replay %s: %w", c.Args().First(), err)
	}
	if name := c.String("case"); name != "" {
		if err := rec.only(name); err != nil {
			return usageError("replay %s: %w", c.Args().First(), err)
		}
	}
	args := rec.args
	has, what := h.app().Command(args[1]), args[1]
	if what == "scenario" {
		has, what = has.Subcommands[slices.IndexFunc(has.Subcommands, func(s *cli.Command) bool { return s.Name == "run" })], "scenario run"
	}
	var own []string
	for _, f := range passedOn() {
		switch name := f.Names()[0]; {
		case !c.IsSet(name):
		case !slices.ContainsFunc(has.Flags, func(f cli.Flag) bool { return f.Names()[0] == name }):
			return usageError("replay: --%s: %s is of faultctl %s, which has no such flag", name, c.Args().First(), what)
		case name == "report":
			for _, path := range c.StringSlice(name) {
				own = append(own, "--report", path)
			}
		case takesValue(f):
			own = append(own, "--"+name, c.String(name))
		default:
			own = append(own, fmt.Sprintf("--%s=%v", name, c.Bool(name)))
		}
	}
	if i := slices.Index(args, "--"); i >= 0 {
		args = slices.Concat(args[:i:i], own, args[i:])
	} else {
		args = slices.Concat(args, own)
	}
	h.replays = rec
	code := h.run(args)
	if !rec.seen {
		return quietExit(code) // it did not come to a run, or another process of ours tells of it
	}
	diffs := rec.compare()
	h.tellReplayed(rec, diffs, asJSON)
	if code == exitOK && len(diffs) > 0 {
		return quietExit(exitProbe)
	}
	if code == exitOK {
		return nil
	}
	return quietExit(code)
}

// recording reads a file of events, or standard input.
func (h *host) recording(path string) (*recording, error) {
	if path == "-" {
		rec, err := readRecording(h.stdin)
		if err == nil && (rec.args[1] == "run" || rec.args[1] == "verify") {
			return nil, fmt.Errorf("standard input belongs to the command that is run: name a file")
		}
		return rec, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, aboutFile(err)
	}
	defer f.Close()
	return readRecording(f)
}

// saidDifferences is how many differences are printed.
const saidDifferences = 20

// tellReplayed says how the decisions compare with the recorded ones.
func (h *host) tellReplayed(rec *recording, diffs []difference, asJSON bool) {
	if asJSON {
		(&jsonTeller{w: h.stdout, host: h}).line(struct {
			head
			Connections int          `json:"connections"` // chosen then
			Same        int          `json:"same"`        // of which the same was decided
			Differences []difference `json:"differences"`
			Lost        uint64       `json:"events_lost"`        // in the recording
			Restarts    int          `json:"restarts,omitempty"` // of the container then; what came after the first is left out
		}{h.head("replayed"), rec.chosen(), rec.chosen() - len(diffs), diffs, rec.lost, rec.restarts()})
		return
	}
	var w io.Writer = h.stdout
	if rec.args[1] == "run" {
		w = h.stderr // standard output is the command's
	}
	n := rec.chosen()
	if len(diffs) == 0 {
		fmt.Fprintf(w, "replayed %s: the same decisions as then\n", plural(uint64(n), "connection"))
	} else {
		fmt.Fprintf(w, "replayed %s, %d of them with the same decisions; otherwise:\n", plural(uint64(n), "connection"), n-len(diffs))
	}
	for i, d := range diffs {
		if i == saidDifferences {
			fmt.Fprintf(w, "  and %d more\n", len(diffs)-i)
			break
		}
		fmt.Fprintf(w, "  %s\n", strings.TrimSpace(d.String()))
	}
	if rec.restarts() > 0 {
		fmt.Fprintln(w, "the container was restarted when this was recorded: what came after that is left out")
	}
	if rec.lost > 0 {
		fmt.Fprintf(w, "%s had been lost when this was recorded: connections may be missing here\n", plural(rec.lost, "event"))
	}
}
