package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/faults"
	urfave "github.com/urfave/cli/v2"
)

func (h *host) faultsCommand() *urfave.Command {
	cmd := &urfave.Command{
		Name: "faults", Usage: "list the faults; with a name: cause, symptom, settings, remedy",
		ArgsUsage: "[FAULT] [flags]", Description: "faultctl faults idle-expire\nfaultctl faults -o json",
		Flags: []urfave.Flag{outputFlag(otherHeading)},
		Action: func(c *urfave.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			if c.String("output") == "markdown" {
				catalogue(h.stdout)
				return nil
			}
			return h.listFaults(c, faults.Catalog)
		},
	}
	for _, kind := range faults.Catalog {
		cmd.Subcommands = append(cmd.Subcommands, &urfave.Command{
			Name: kind.Name, Usage: kind.Cause, ArgsUsage: "[flags]",
			Flags: []urfave.Flag{outputFlag(otherHeading)},
			Action: func(c *urfave.Context) error {
				if err := noArguments(c); err != nil {
					return err
				}
				asJSON, err := wantsJSON(c)
				switch {
				case err != nil:
					return err
				case asJSON:
					return faultsJSON(h.stdout, []faults.Kind{kind})
				}
				h.teach(h.stdout, kind)
				return nil
			},
		})
	}
	return cmd
}

func (h *host) listFaults(c *urfave.Context, kinds []faults.Kind) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	if asJSON {
		return faultsJSON(h.stdout, kinds)
	}
	group := ""
	for _, k := range kinds {
		if k.Group != group {
			group = k.Group
			fmt.Fprintf(h.stdout, "%s\n\n", h.paint().bold(groupTitle(group)))
		}
		fmt.Fprintf(h.stdout, "%s\n\n", h.paint().boldFirst(hanging(pad("  "+k.Name, 18), k.Cause, h.columns()), k.Name))
	}
	fmt.Fprintln(h.stdout, "faultctl faults NAME says what the application sees, every setting, and what helps.")
	return nil
}

func groupTitle(group string) string {
	switch group {
	case "reset":
		return "Why connections are reset, or hang"
	case "control":
		return "What changes nothing: the control of an experiment"
	case "link":
		return "What links do to packets"
	}
	return group
}

// boldFirst makes the first occurrence of a word in a text bold.
func (p paint) boldFirst(text, word string) string {
	return strings.Replace(text, word, p.bold(word), 1)
}

// faultJSON is a fault as programs read it.
type faultJSON struct {
	Name    string         `json:"name"`
	Group   string         `json:"group"`
	Cause   string         `json:"cause"`
	Symptom string         `json:"symptom"`
	Remedy  string         `json:"remedy"`
	Example string         `json:"example"`
	Knobs   []faults.Knob  `json:"knobs"`
	Presets []presetValues `json:"presets,omitempty"`
}

type presetValues struct {
	Name   string `json:"name"`
	After  string `json:"after"`
	Then   string `json:"then"`
	Source string `json:"source"`
}

func faultsJSON(w io.Writer, kinds []faults.Kind) error {
	list := make([]faultJSON, len(kinds))
	for i, k := range kinds {
		list[i] = faultJSON{k.Name, k.Group, k.Cause, k.Symptom, k.Remedy, k.Example, faults.Knobs(k.New()), presets(k)}
		for j := range list[i].Knobs {
			knob := &list[i].Knobs[j]
			knob.Type = strings.TrimPrefix(knob.Type, "|")
			if len(knob.OneOf) > 0 && knob.OneOf[0] == "" {
				knob.OneOf = knob.OneOf[1:]
			}
		}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(list)
}

// presets lists the devices that a fault knows by name.
func presets(k faults.Kind) []presetValues {
	if _, has := faults.Get(k.New(), "preset"); !has {
		return nil
	}
	var ps []presetValues
	for _, p := range faults.Presets {
		ps = append(ps, presetValues{p.Name, words.ShortDuration(p.After), p.Then, p.Source})
	}
	return ps
}

// teach writes all there is to know about a fault.
func (h *host) teach(w io.Writer, k faults.Kind) {
	width, p := h.columns(), h.paint()
	fmt.Fprintf(w, "%s\n\n%s\n", p.bold(k.Name), wrap(k.Cause, "  ", width))
	section := func(title, text string) {
		fmt.Fprintf(w, "\n%s\n%s\n", p.bold(title), text)
	}
	section("What the application sees", wrap(k.Symptom, "  ", width))
	section("What helps", wrap(k.Remedy, "  ", width))
	var b strings.Builder
	for _, knob := range faults.Knobs(k.New()) {
		h.teachKnob(&b, knob, width)
	}
	if text := triggerHelp(knobFlags(k)); text != "" {
		b.WriteString(wrap(text, "  ", width))
	}
	section("Settings", strings.TrimRight(b.String(), "\n"))
	if ps := presets(k); ps != nil {
		b.Reset()
		for _, preset := range ps {
			label := "  " + pad(preset.Name, 15) + pad(preset.After, 6) + pad(preset.Then, 12)
			fmt.Fprintln(&b, hanging(label, preset.Source, width))
		}
		section("Presets: name, idle time, what becomes of the flow, source", strings.TrimRight(b.String(), "\n"))
	}
	section("Example", "  "+k.Example)
}

func (h *host) teachKnob(w io.Writer, k faults.Knob, width int) {
	value := " " + placeholder(k)
	if k.Type == "bool" {
		value = ""
	}
	def := shownDefault(k)
	if def != "" {
		def = "  (default " + def + ")"
	}
	head := "  --" + k.Name + value
	fmt.Fprintf(w, "%s\n%s\n", head+def, wrap(k.Help, "        ", width))
}
