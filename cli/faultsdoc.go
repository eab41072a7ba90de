package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/faultctl/faultctl/faults"
)

// catalogue writes the page docs/FAULTS.md: every fault, from the one list that
// the command line is made from too.
func catalogue(w io.Writer) {
	fmt.Fprint(w, "# The faults\n\n",
		"Made from the catalogue in `faults/` by `make docs`; `faultctl faults NAME` says the same in a terminal.\n")
	group := ""
	for _, k := range faults.Catalog {
		if k.Group != group {
			group = k.Group
			fmt.Fprintf(w, "\n## %s\n", groupTitle(group))
		}
		fmt.Fprintf(w, "\n### `%s`\n\n%s\n\n", k.Name, k.Cause)
		fmt.Fprintf(w, "*What the application sees.* %s\n\n*What helps.* %s\n\n", k.Symptom, k.Remedy)
		fmt.Fprintf(w, "```\nsudo %s\n```\n", k.Example)
		knobs := faults.Knobs(k.New())
		if len(knobs) > 0 {
			fmt.Fprint(w, "\n| setting | default | |\n|---|---|---|\n")
		}
		for _, knob := range knobs {
			value := " " + placeholder(knob)
			if knob.Type == "bool" {
				value = ""
			}
			fmt.Fprintf(w, "| `--%s%s` | %s | %s |\n", knob.Name, cell(value), cell(shownDefault(knob)), cell(knob.Help))
		}
		if ps := presets(k); ps != nil {
			fmt.Fprint(w, "\n| preset | idle time | then | source |\n|---|---|---|---|\n")
			for _, p := range ps {
				fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", p.Name, p.After, p.Then, cell(p.Source))
			}
		}
	}
	fmt.Fprintf(w, "\nA TRIGGER is the moment at which a fault strikes, once a connection: `%s`.\n", strings.Join(faults.TriggerForms, "`, `"))
}

// cell keeps a text inside its cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
