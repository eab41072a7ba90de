package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/experiment/scenario"
	"github.com/urfave/cli/v2"
)

// largestFile is how much of a scenario file is read.
const largestFile = 1 << 20

func (h *host) scenarioCommand() *cli.Command {
	return &cli.Command{
		Name: "scenario", Usage: "play faults on a timeline, with probes, from a file", ArgsUsage: "run|validate|schema",
		Description: "faultctl scenario run gameday.yaml\n" +
			"faultctl scenario validate gameday.yaml\n" +
			"faultctl scenario schema > scenario.schema.json",
		Action: func(c *cli.Context) error {
			var names []string
			for _, sub := range c.Command.Subcommands {
				names = append(names, sub.Name)
			}
			if !c.Args().Present() {
				return usageError("scenario: run, validate or schema?").hint("faultctl scenario --help says more.")
			}
			word := c.Args().First()
			e := usageError("scenario: unknown command %q%s", word, words.DidYouMean(word, names)).hint("There are run, validate and schema.")
			if _, err := os.Stat(word); err == nil {
				return e.hint("Did you mean faultctl scenario run " + quote(word) + "?")
			}
			return e
		},
		Subcommands: []*cli.Command{
			{
				Name: "run", Usage: "play a scenario: exit 3 if a probe failed, 4 if a fault never fired", ArgsUsage: "FILE [flags]",
				Description: "faultctl scenario run gameday.yaml\nfaultctl scenario run gameday.yaml --dry-run\nfaultctl scenario run gameday.yaml -o json > events.ndjson",
				Flags: append([]cli.Flag{
					text(runHeading, "seed", "`N` repeat a run: same seed, same choices; goes before the file's"),
					toggle(runHeading, "dry-run", "show the timeline, the rules and what they would hit; touch nothing"),
					toggle(runHeading, "allow-idle", "a fault that never fired is no failure"),
					outputFlag(runHeading),
				}, leavingFlags()...),
				Action: h.scenarioRun,
			},
			{
				Name: "validate", Usage: "check scenario files, touch nothing and ask nobody", ArgsUsage: "FILE… [flags]",
				Description: "faultctl scenario validate gameday.yaml\nfaultctl scenario validate -o json scenarios/*.yaml",
				Flags:       []cli.Flag{outputFlag(otherHeading)},
				Action:      h.scenarioValidate,
			},
			{
				Name: "schema", Usage: "print the JSON Schema of scenario files", ArgsUsage: " ",
				Description: "faultctl scenario schema > scenario.schema.json",
				Action: func(c *cli.Context) error {
					if err := noArguments(c); err != nil {
						return err
					}
					_, err := h.stdout.Write(scenarioLanguage().JSON())
					return err
				},
			},
		},
	}
}

// scenarioLanguage is what scenario files may say: of a target, what the target
// flags say.
var scenarioLanguage = sync.OnceValue(func() *scenario.Language {
	var words []scenario.Word
	for _, f := range targetFlags() {
		w := scenario.Word{Name: f.Names()[0]}
		left, help := flagHelp(f)
		w.Help = help
		if _, placeholder, ok := strings.Cut(strings.TrimSpace(left), " "); ok {
			w.Help = placeholder + ": " + help
		}
		switch f.(type) {
		case *cli.StringSliceFlag:
			w.Kind = scenario.Many
		case *cli.BoolFlag:
			w.Kind = scenario.Switch
		}
		words = append(words, w)
	}
	return scenario.NewLanguage(words)
})

// readScenario reads a file and checks all of it that can be checked without
// asking anybody. Problems are an error of the kind scenario.Problems.
func (h *host) readScenario(ctx context.Context, file string) (*scenario.Scenario, error) {
	content, err := readFile(file)
	if err != nil {
		return nil, err
	}
	s, err := scenarioLanguage().Parse(file, content)
	if err != nil {
		return nil, err
	}
	var ps scenario.Problems
	for i := range s.Faults {
		if p := h.checkFault(ctx, s, i); p != nil {
			ps = append(ps, *p)
		}
	}
	if ps != nil {
		return nil, ps
	}
	return s, nil
}

func readFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usageError("%s: there is no such file", file)
	}
	if err != nil {
		return nil, usageError("read %s: %w", file, aboutFile(err))
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, usageError("%s is a directory: name a file", file)
	}
	content, err := io.ReadAll(io.LimitReader(f, largestFile+1))
	switch {
	case err != nil:
		return nil, usageError("read %s: %w", file, aboutFile(err))
	case len(content) > largestFile:
		return nil, usageError("%s is larger than 1 MiB: that is no scenario", file)
	}
	return content, nil
}

// scenarioFiles reads the arguments of a command that takes files.
func scenarioFiles(c *cli.Context, most int) ([]string, error) {
	files := c.Args().Slice()
	switch {
	case len(files) == 0:
		return nil, usageError("scenario %s: which FILE?", c.Command.Name).hint("faultctl scenario " + c.Command.Name + " gameday.yaml")
	case len(files) > most:
		return nil, usageError("scenario %s: unexpected argument %q", c.Command.Name, files[most]).hint("It takes one FILE.")
	}
	return files, nil
}

// fileCheck is what scenario validate says of one file in JSON.
type fileCheck struct {
	File     string             `json:"file"`
	OK       bool               `json:"ok"`
	Problems []scenario.Problem `json:"problems"`
}

// scenarioValidate checks files.
func (h *host) scenarioValidate(c *cli.Context) error {
	files, err := scenarioFiles(c, 1<<20)
	if err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	bad := 0
	for _, file := range files {
		s, err := h.readScenario(c.Context, file)
		var ps scenario.Problems
		if err != nil && !errors.As(err, &ps) {
			return err
		}
		if ps != nil {
			bad++
		}
		switch {
		case asJSON:
			(&jsonTeller{w: h.stdout, host: h}).line(fileCheck{file, ps == nil, append([]scenario.Problem{}, ps...)})
		case ps == nil:
			fmt.Fprintf(h.stdout, "%s: fine: %s, %s, %s\n", file, plural(uint64(len(s.Faults)), "fault"), plural(uint64(len(s.Probes)), "probe"), shortly(s.Duration))
		default:
			h.printProblems(ps)
		}
	}
	if bad > 0 {
		return quietExit(exitUsage)
	}
	return nil
}

func (h *host) printProblems(ps scenario.Problems) {
	for _, p := range ps {
		fmt.Fprintln(h.stderr, p)
		if p.Advice != "" {
			fmt.Fprintln(h.stderr, wrap(p.Advice, "  ", h.columns()))
		}
	}
}

func shortly(d scenario.Duration) string { return words.ShortDuration(time.Duration(d)) }

// problemsError makes the problems of a file an error of a command.
func problemsError(err error) error {
	var ps scenario.Problems
	if !errors.As(err, &ps) {
		return err
	}
	e := usageError("%w", ps)
	for _, p := range ps {
		if p.Advice != "" {
			return e.hint(p.Advice)
		}
	}
	return e
}

// effectiveSeed is that of the flag, the file or chance.
func (h *host) effectiveSeed(c *cli.Context, s *scenario.Scenario) (uint64, error) {
	switch {
	case c.IsSet("seed"):
		n, err := strconv.ParseUint(c.String("seed"), 10, 64)
		if err != nil {
			return 0, usageError("--seed %s: not a whole number from 0 on", c.String("seed"))
		}
		return n, nil
	case s.Seed != nil:
		return *s.Seed, nil
	}
	return h.seed(), nil
}
