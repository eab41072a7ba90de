package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/faults"
)

// catalogue writes the page docs/FAULTS.md: every fault, from the one list that
// the command line is made from too.
func catalogue(w io.Writer) {
	fmt.Fprint(w, "# The faults\n\n",
		"Generated from the catalogue in `faults/` by `make docs`; `faultctl faults NAME` says the same in a terminal.\n")
	group := ""
	for _, k := range faults.Catalog {
		if k.Group != group {
			group = k.Group
			fmt.Fprintf(w, "\n## %s\n", groupTitle(group))
		}
		fmt.Fprintf(w, "\n### `%s`\n\n%s\n\n", k.Name, k.Cause)
		fmt.Fprintf(w, "*What the application sees.* %s\n\n*What helps.* %s\n\n", k.Symptom, k.Remedy)
		for i, shown := range k.Shows {
			if i == 0 {
				fmt.Fprint(w, "*How to recognise it in a capture* ([EXPLAIN.md](EXPLAIN.md)):\n\n")
			}
			fmt.Fprintf(w, "- %s\n", shown.Says())
			if i == len(k.Shows)-1 {
				fmt.Fprintln(w)
			}
		}
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
		if ps := k.PresetValues(); ps != nil {
			fmt.Fprint(w, "\n| preset | idle time | then | keepalive probes | source |\n|---|---|---|---|---|\n")
			for _, p := range ps {
				fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s |\n", p.Name, p.After, p.Then, p.Keepalives, cell(p.Source))
			}
		}
	}
	fmt.Fprint(w, "\nA TRIGGER is the moment at which a fault fires, once per connection:\n\n| trigger | the moment |\n|---|---|\n")
	for _, t := range faults.Triggers {
		fmt.Fprintf(w, "| `%s` | %s |\n", t.Form, cell(t.Moment))
	}
}

// cell keeps a text inside its cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func (inv *invocation) listFaults(kinds []faults.Kind) error {
	if inv.json {
		return faultsJSON(inv.stdout, kinds)
	}
	group, longest := "", 0
	for _, k := range kinds {
		longest = max(longest, len(k.Name))
	}
	for _, k := range kinds {
		if k.Group != group {
			group = k.Group
			fmt.Fprintf(inv.stdout, "%s\n\n", inv.paint().Bold(groupTitle(group)))
		}
		fmt.Fprintf(inv.stdout, "%s\n\n", strings.Replace(text.Hanging(text.Pad("  "+k.Name, longest+4), k.Cause, inv.columns()), k.Name, inv.paint().Bold(k.Name), 1))
	}
	fmt.Fprintln(inv.stdout, "faultctl faults NAME shows the symptom, the settings and the remedy.")
	return nil
}

func groupTitle(group string) string {
	switch group {
	case "reset":
		return "Resets and hangs"
	case "control":
		return "Control: changes nothing"
	case "link":
		return "Link impairments"
	}
	return group
}

func faultsJSON(w io.Writer, kinds []faults.Kind) error {
	list := make([]faults.Listing, len(kinds))
	for i, k := range kinds {
		list[i] = k.Listing()
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(list)
}

// explainFault prints everything about a fault.
func (inv *invocation) explainFault(w io.Writer, k faults.Kind) {
	width, p := inv.columns(), inv.paint()
	fmt.Fprintf(w, "%s\n\n%s\n", p.Bold(k.Name), text.Wrap(k.Cause, "  ", width))
	section := func(title, body string) {
		fmt.Fprintf(w, "\n%s\n%s\n", p.Bold(title), body)
	}
	section("What the application sees", text.Wrap(k.Symptom, "  ", width))
	section("What helps", text.Wrap(k.Remedy, "  ", width))
	var b strings.Builder
	for _, shown := range k.Shows {
		fmt.Fprintln(&b, text.Hanging("  - ", shown.Says(), width))
	}
	if b.Len() > 0 {
		section("How to recognise it in a capture (faultctl explain)", strings.TrimRight(b.String(), "\n"))
		b.Reset()
	}
	for _, knob := range faults.Knobs(k.New()) {
		inv.explainKnob(&b, knob, width)
	}
	section("Settings", strings.TrimRight(b.String(), "\n"))
	if triggerHelp(knobFlags(k)) != "" {
		b.Reset()
		for _, t := range faults.Triggers {
			fmt.Fprintln(&b, text.Hanging("  "+text.Pad(t.Form, 18), t.Moment, width))
		}
		section("A TRIGGER is the moment at which the fault fires, once per connection", strings.TrimRight(b.String(), "\n"))
	}
	if ps := k.PresetValues(); ps != nil {
		b.Reset()
		for _, preset := range ps {
			label := "  " + text.Pad(preset.Name, 15) + text.Pad(preset.After, 6) + text.Pad(preset.Then, 12) + text.Pad(preset.Keepalives, 8)
			fmt.Fprintln(&b, text.Hanging(label, preset.Source, width))
		}
		section("Presets: name, idle timeout, what happens to an expired flow, whether keepalive probes count, source", strings.TrimRight(b.String(), "\n"))
	}
	section("Example", "  "+k.Example)
}

func (inv *invocation) explainKnob(w io.Writer, k faults.Knob, width int) {
	value := " " + placeholder(k)
	if k.Type == "bool" {
		value = ""
	}
	def := shownDefault(k)
	if def != "" {
		def = "  (default " + def + ")"
	}
	head := "  --" + k.Name + value
	fmt.Fprintf(w, "%s\n%s\n", head+def, text.Wrap(k.Help, "        ", width))
}
