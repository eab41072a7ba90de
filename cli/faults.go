package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/faultctl/faultctl/faults"
	"github.com/urfave/cli/v2"
)

func faultsCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:            "faults",
		Usage:           "list the faults; with a name, teach one: cause, symptom, knobs, remedy",
		UsageText:       "faultctl faults [FAULT] [-o json]",
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Flags:           []cli.Flag{&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "text or json"}},
		Action: func(c *cli.Context) error {
			kinds := faults.Catalog
			name, format := c.Args().First(), c.String("output")
			// urfave stops reading flags at the first argument.
			if rest := c.Args().Tail(); len(rest) == 2 && (rest[0] == "-o" || rest[0] == "--output") {
				format = rest[1]
			} else if len(rest) > 0 {
				return usageError("faults takes one FAULT")
			}
			if name != "" {
				k, err := faults.Find(name)
				if err != nil {
					return usageError("%w; faultctl faults lists them", err)
				}
				kinds = []faults.Kind{k}
			}
			switch {
			case format == "json":
				return writeFaultsJSON(e.stdout, kinds)
			case format != "text":
				return usageError("--output %s: it is text or json", format)
			case name != "":
				teach(e.stdout, kinds[0])
			default:
				list(e.stdout, kinds)
			}
			return nil
		},
	}
}

// jsonKind is a fault as programs read it.
type jsonKind struct {
	Name    string        `json:"name"`
	Group   string        `json:"group"`
	Cause   string        `json:"cause"`
	Symptom string        `json:"symptom"`
	Remedy  string        `json:"remedy"`
	Example string        `json:"example"`
	Knobs   []faults.Knob `json:"knobs"`
}

func writeFaultsJSON(w io.Writer, kinds []faults.Kind) error {
	out := make([]jsonKind, len(kinds))
	for i, k := range kinds {
		out[i] = jsonKind{k.Name, k.Group, k.Cause, k.Symptom, k.Remedy, k.Example, faults.Knobs(k.New())}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(out)
}

func list(w io.Writer, kinds []faults.Kind) {
	for _, k := range kinds {
		fmt.Fprintf(w, "%s\n%s\n", k.Name, wrap(k.Cause, "    ", 92))
	}
	fmt.Fprintln(w, "faultctl faults NAME teaches one of them: what the application sees, every knob, the remedy.")
}

func teach(w io.Writer, k faults.Kind) {
	fmt.Fprintf(w, "%s\n\n", k.Name)
	for _, part := range [][2]string{{"In the real world", k.Cause}, {"What the application sees", k.Symptom}, {"What helps", k.Remedy}} {
		fmt.Fprintf(w, "%s\n%s\n\n", part[0], wrap(part[1], "    ", 92))
	}
	fmt.Fprintf(w, "Knobs\n")
	for _, knob := range faults.Knobs(k.New()) {
		def := knob.Default
		switch {
		case def == "" || def == "never" || def == "0s":
			def = "not set"
		}
		kind := strings.Trim(knob.Type, "|")
		fmt.Fprintf(w, "    --%s %s (%s)\n%s\n", knob.Name, kind, def, wrap(knob.Help, "        ", 92))
	}
	if k.Name == "idle-expire" {
		fmt.Fprintf(w, "\nPresets\n")
		for _, p := range faults.Presets {
			fmt.Fprintf(w, "    %-14s %6s  %-11s %s\n", p.Name, faults.ShortDuration(p.After), p.Then, p.Source)
		}
	}
	fmt.Fprintf(w, "\nExample\n    %s\n", k.Example)
}

// wrap breaks text into lines of at most width letters, each indented.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	line := indent
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > width && line != indent {
			b.WriteString(line + "\n")
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	return b.String() + line
}
