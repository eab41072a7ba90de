package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/replay"
	"github.com/faultctl/faultctl/internal/redact"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// replayCommand is faultctl replay EVENTS.
func (inv *invocation) replayCommand() *cobra.Command {
	return inv.complete(&cobra.Command{
		Use: "replay EVENTS [flags]", Short: "repeat a recorded run with the same decisions",
		Example: "faultctl inject reset --percent 10 --to :5432 -o json > events.ndjson\n" +
			"faultctl replay events.ndjson --duration 60s --pcap again.pcapng\n" +
			"faultctl replay verify.ndjson --case idle-expire -- go test ./storage/...",
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	}, replayFlags(), inv.replay)
}

// replayFlags are those of a run that say how it goes, not what it does.
func replayFlags() []*pflag.Flag {
	fs := slices.DeleteFunc(runFlags(), func(f *pflag.Flag) bool {
		return !slices.Contains([]string{"duration", "expect-fired", "allow-idle", "may-idle", "output", "quiet", "pcap", "report", "metrics", "log-level", "show-secrets"}, f.Name)
	})
	return append(fs,
		valueFlag(runHeading, "case", "`NAME` replay only this case of a recorded verify"),
		toggleFlag(runHeading, "recorded-command", "run the commands that EVENTS names, with your rights; without it none is run but what stands behind --"))
}

// replay runs what EVENTS recorded, on the connections of the same ordinals,
// and says where the decisions differ.
func (inv *invocation) replay(c *call) error {
	if len(c.words) != 1 {
		return usageError("replay: which EVENTS? It is a file that inject, run, verify or scenario run wrote with -o json, or - for standard input.")
	}
	if problems := emptyFlags(c); len(problems) > 0 {
		return problems
	}
	path := c.first()
	rec, err := inv.recording(path)
	if err != nil {
		return usageError("replay %s: %w", path, err)
	}
	if c.Bool("recorded-command") && redact.In(rec.Command) {
		return usageError("replay %s: secrets were left out of the recorded command, so it cannot be run again", path).
			WithAdvice("Record it with --show-secrets, and keep the recording to yourself.")
	}
	if name := c.String("case"); name != "" {
		if err := rec.Only(name); err != nil {
			return usageError("replay %s: %w", path, err)
		}
	}
	if (rec.Kind == replay.Verify || rec.Kind == replay.Scenario) && c.IsSet("duration") {
		return usageError("replay: --duration: %s was recorded by faultctl %s, which has no such flag", path, rec.Kind)
	}
	if problems := readWords(c, &rec.Spec); len(problems) > 0 {
		return problems
	}
	if err := inv.commandOf(c, rec); err != nil {
		return err
	}
	if path == "-" && len(rec.Spec.Command) > 0 {
		return usageError("replay -: the command needs standard input for itself: name a file")
	}
	err = inv.again(c.Context(), rec)
	if !rec.Seen() {
		return err // it did not come to a run, or another process of ours tells of it
	}
	diffs := rec.Compare()
	inv.printReplayed(rec, diffs)
	if err == nil && len(diffs) > 0 {
		return quietExit(exitProbe)
	}
	return err
}

// commandOf finds the command of what is replayed. A recording is data, perhaps
// somebody else's, so the command in it is run only if the user says so.
func (inv *invocation) commandOf(c *call, rec *replay.Recording) error {
	theirs := c.Bool("recorded-command")
	inv.trusted = theirs
	switch {
	case theirs && len(inv.command) > 0:
		return usageError("replay: --recorded-command and a command behind --: which one is to be run?")
	case rec.Kind == replay.Inject && (theirs || len(inv.command) > 0), rec.Kind == replay.Scenario && len(inv.command) > 0:
		return usageError("replay: faultctl %s was recorded, which runs no command", rec.Kind)
	case rec.Kind != replay.Command && rec.Kind != replay.Verify:
		return nil
	case theirs:
		fmt.Fprintf(inv.stderr, "faultctl: running the recorded command: %s\n", quoted(rec.Command))
		rec.Spec.Command = rec.Command
		return nil
	case len(inv.command) > 0:
		rec.Spec.Command = inv.command
		return nil
	}
	advice := fmt.Sprintf("The recorded command is: %s. To run it, add --recorded-command; to run another one, put it behind --.", quoted(rec.Command))
	t := &rec.Spec.Target
	switch {
	case rec.Kind == replay.Verify:
		return event.Errorf(event.CodeRefused, "", "replay: a verify runs a command, and the one that a recording names is not run unasked").WithAdvice(advice)
	case len(t.To)+len(t.From) == 0 && t.Cgroup == "" && t.UID == "":
		return event.Errorf(event.CodeRefused, "", "replay: the recorded command is not run unasked, and without it the decisions would be about every connection of this host").WithAdvice(advice)
	}
	fmt.Fprintf(inv.stderr, "faultctl: the decisions are made again without the command. %s\n", advice)
	rec.WithoutCommand()
	return nil
}

// quoted is a command as a shell reads it.
func quoted(command []string) string {
	all := make([]string, len(command))
	for i, w := range command {
		all[i] = place.Quote(w)
	}
	return strings.Join(all, " ")
}

// again does what was recorded.
func (inv *invocation) again(ctx context.Context, rec *replay.Recording) error {
	switch rec.Kind {
	case replay.Verify:
		return inv.verifyAgain(ctx, rec)
	case replay.Scenario:
		return inv.scenarioAgain(ctx, rec)
	case replay.Command:
		inv.asRun = true
		if err, done := inv.enterFor(&rec.Spec); done {
			return err
		}
	}
	sys := inv.system()
	p, err := sys.Plan(ctx, rec.Spec)
	if err != nil {
		return err
	}
	defer p.Close()
	defer inv.reachable(ctx, sys)()
	if rec.Kind == replay.Command {
		return inv.runPlan(ctx, p, rec)
	}
	return inv.strike(ctx, p, rec)
}

// recording reads a file of events, or standard input.
func (inv *invocation) recording(path string) (*replay.Recording, error) {
	if path == "-" {
		rec, err := replay.Read(inv.stdin)
		return rec, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, aboutFile(err)
	}
	defer f.Close()
	rec, err := replay.Read(f)
	if err != nil {
		return nil, aboutFile(err)
	}
	return rec, nil
}

// maxDifferences is how many differences are printed.
const maxDifferences = 20

// printReplayed says how the decisions compare with the recorded ones.
func (inv *invocation) printReplayed(rec *replay.Recording, diffs event.List[event.Difference]) {
	n := rec.Chosen()
	if inv.json {
		inv.events.Write(inv.sys.Now(), event.Replayed{
			Connections: n, Same: n - len(diffs), Differences: diffs, Lost: rec.Lost, Restarts: rec.Restarts(),
		})
		return
	}
	var w io.Writer = inv.stdout
	if rec.Kind == replay.Command {
		w = inv.stderr // standard output is the command's
	}
	if len(diffs) == 0 {
		fmt.Fprintf(w, "replayed %s: all decisions are the same\n", words.Plural(uint64(n), "connection"))
	} else {
		fmt.Fprintf(w, "replayed %s, %d of them with the same decisions; the others:\n", words.Plural(uint64(n), "connection"), n-len(diffs))
	}
	for i, d := range diffs {
		if i == maxDifferences {
			fmt.Fprintf(w, "  and %d more\n", len(diffs)-i)
			break
		}
		fmt.Fprintf(w, "  %s\n", words.Foreign(strings.TrimSpace(replay.Says(d))))
	}
	if rec.Restarts() > 0 {
		fmt.Fprintln(w, "the container was restarted during the recording: what came after that is left out")
	}
	if rec.Lost > 0 {
		fmt.Fprintf(w, "%s had been lost during the recording: connections may be missing\n", words.Plural(rec.Lost, "event"))
	}
}
