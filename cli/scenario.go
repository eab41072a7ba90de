package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/experiment/document"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/scenario"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (inv *invocation) scenarioCommand() *cobra.Command {
	yaml := completeFiles("yaml", "yml", "json")
	cmd := &cobra.Command{
		Use: "scenario run|validate|init|schema", Short: "run a timeline of faults and probes from a file",
		Example: "faultctl scenario init gameday.yaml --to :6379\n" +
			"faultctl scenario run gameday.yaml\n" +
			"faultctl scenario validate gameday.yaml\n" +
			"faultctl scenario schema > scenario.schema.json",
	}
	cmd.AddCommand(inv.complete(&cobra.Command{
		Use: "run FILE [flags]", Short: "run a scenario: exit 3 if a probe failed, 4 if a fault never fired", ValidArgsFunction: yaml,
		Example: "faultctl scenario run gameday.yaml\nfaultctl scenario run gameday.yaml --dry-run\nfaultctl scenario run gameday.yaml -o json > events.ndjson",
	}, scenarioFlags(), inv.scenarioRun), inv.complete(&cobra.Command{
		Use: "validate FILE… [flags]", Short: "check scenario files; run nothing and look nothing up", ValidArgsFunction: yaml,
		Example: "faultctl scenario validate gameday.yaml\nfaultctl scenario validate -o json scenarios/*.yaml",
	}, []*pflag.Flag{outputFlag(otherHeading)}, inv.scenarioValidate), inv.complete(&cobra.Command{
		Use: "init [FILE] [flags]", Short: "write a scenario to begin with", Example: "faultctl scenario init gameday.yaml --to :6379",
	}, []*pflag.Flag{valueFlag(otherHeading, "to", "`[HOST]:PORT` the service that the faults come between (default :5432)")}, inv.scenarioInit), inv.complete(&cobra.Command{
		Use: "schema", Short: "print the JSON Schema of scenario files", Example: "faultctl scenario schema > scenario.schema.json",
	}, nil, func(c *call) error {
		if err := noArguments(c); err != nil {
			return err
		}
		_, err := inv.stdout.Write(scenario.Schema())
		return err
	}))
	return inv.complete(cmd, nil, func(c *call) error {
		word := c.first()
		if word == "" {
			return usageError("scenario: run, validate, init or schema?").WithAdvice("faultctl scenario --help says more.")
		}
		e := usageError("scenario: unknown command %q%s", word, words.DidYouMean(word, []string{"run", "validate", "init", "schema"})).WithAdvice("There are run, validate, init and schema.")
		if _, err := os.Stat(word); err == nil {
			return e.WithAdvice("Did you mean faultctl scenario run " + place.Quote(word) + "?")
		}
		return e
	})
}

func scenarioFlags() []*pflag.Flag {
	return append([]*pflag.Flag{
		valueFlag(runHeading, "seed", "`N` repeat a run: same seed, same choices; overrides the file's"),
		toggleFlag(runHeading, "dry-run", "show the timeline, the rules and the connections that they match now; change nothing"),
		toggleFlag(runHeading, "allow-idle", "do not fail if a fault never fired"),
		outputFlag(runHeading), quietFlag(),
	}, leavingFlags()...)
}

// checkOf is what scenario validate says of one file in JSON.
func checkOf(file string, ps, warnings document.Problems) event.FileCheck {
	c := event.FileCheck{File: file, OK: ps == nil}
	for _, p := range warnings {
		c.Warnings = append(c.Warnings, event.FileProblem(p))
	}
	for _, p := range ps {
		c.Problems = append(c.Problems, event.FileProblem(p))
	}
	return c
}

// scenarioValidate checks files.
func (inv *invocation) scenarioValidate(c *call) error {
	files, err := scenarioFiles(c, 1<<20)
	if err != nil {
		return err
	}
	bad := 0
	for _, file := range files {
		s, ps, err := readScenario(file)
		if err != nil {
			return err
		}
		var warnings document.Problems
		if ps != nil {
			bad++
		} else {
			warnings = s.Warnings()
		}
		switch {
		case inv.json:
			inv.events.WriteCheck(checkOf(file, ps, warnings))
		case ps == nil:
			fmt.Fprintf(inv.stdout, "%s: fine: %s, %s, %s\n", file, words.Plural(uint64(len(s.Faults)), "fault"), words.Plural(uint64(len(s.Probes)), "probe"), s.Duration)
			inv.printWarnings(warnings)
		default:
			inv.printProblems(ps)
		}
	}
	if bad > 0 {
		return quietExit(exitUsage)
	}
	return nil
}

// printWarnings says what cannot happen in a scenario that is valid.
func (inv *invocation) printWarnings(ps document.Problems) {
	for _, p := range ps {
		p.Message = "warning: " + p.Message
		fmt.Fprintln(inv.stderr, p)
		fmt.Fprintln(inv.stderr, text.Wrap(p.Advice, "  ", inv.columns()))
	}
}

// scenarioInit writes a scenario to begin with.
func (inv *invocation) scenarioInit(c *call) error {
	if len(c.words) > 1 {
		return usageError("scenario init: one FILE, or none for standard output")
	}
	to := c.String("to")
	if c.IsSet("to") && to == "" {
		return emptyFlag("to")
	}
	content := scenario.Template(to)
	if _, err := scenario.Parse("day.yaml", []byte(content)); err != nil {
		return event.Usagef("to", "this is no service with a port").WithValue(to).WithAdvice("Write a host and a port, or only a port: db.internal:5432, [fd00::5]:5432, :6379.")
	}
	if len(c.words) == 0 {
		_, err := fmt.Fprint(inv.stdout, content)
		return err
	}
	file := c.first()
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	switch {
	case errors.Is(err, fs.ErrExist):
		return usageError("scenario init: %s is there already", file).WithAdvice("Name another file, or remove it.")
	case err != nil:
		return usageError("scenario init: write %s: %w", file, aboutFile(err))
	}
	_, err = f.WriteString(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", file, aboutFile(err))
	}
	fmt.Fprintf(inv.stdout, "%s is written: say in it what your service is, then faultctl scenario validate %s\n", file, place.Quote(file))
	return nil
}

func (inv *invocation) printProblems(ps document.Problems) {
	for _, p := range ps {
		fmt.Fprintln(inv.stderr, p)
		if p.Advice != "" {
			fmt.Fprintln(inv.stderr, text.Wrap(p.Advice, "  ", inv.columns()))
		}
	}
}
