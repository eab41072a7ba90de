package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/version"
	urfave "github.com/urfave/cli/v2"
)

// manCommand writes the man pages into a directory: one for the program, one per
// command, and the catalogue in section 7. They have the same sources as help. See
// docs/design/command-line.md for why urfave/cli does not write them.
func (inv *invocation) manCommand() *urfave.Command {
	return &urfave.Command{
		Name: "__man", Hidden: true, HideHelp: true, ArgsUsage: "DIR",
		Action: func(c *urfave.Context) error {
			if c.Args().Len() != 1 {
				return usageError("__man: into which DIR?")
			}
			for name, page := range manPages(c.App) {
				if err := os.WriteFile(filepath.Join(c.Args().First(), name), []byte(page), 0o644); err != nil {
					return fmt.Errorf("write man page: %w", aboutFile(err))
				}
			}
			return nil
		},
	}
}

// manPages are the pages by their files' names.
func manPages(app *urfave.App) map[string]string {
	pages := map[string]string{"faultctl.1": manProgram(app), "faultctl-faults.7": manCatalogue()}
	for _, c := range visible(app) {
		pages["faultctl-"+c.Name+".1"] = manCommandPage(c)
	}
	return pages
}

func visible(app *urfave.App) []*urfave.Command {
	var cs []*urfave.Command
	for _, c := range app.Commands {
		if !c.Hidden {
			cs = append(cs, c)
		}
	}
	return cs
}

// roff writes a page in man(7)'s macros.
type roff struct{ strings.Builder }

func (r *roff) title(name, section, summary string) {
	fmt.Fprintf(r, ".TH %q %q \"\" %q \"faultctl\"\n", strings.ToUpper(name), section, "faultctl "+version.String())
	r.head("NAME")
	fmt.Fprintf(r, "%s \\- %s\n", roffText(name), roffText(summary))
}

func (r *roff) head(s string)      { fmt.Fprintf(r, ".SH %s\n", s) }
func (r *roff) paragraph(s string) { fmt.Fprintf(r, ".PP\n%s\n", roffText(s)) }

// item is a term with its text below it.
func (r *roff) item(term, text string) {
	fmt.Fprintf(r, ".TP\n.B %s\n%s\n", roffText(term), roffText(text))
}

func (r *roff) examples(s string) {
	r.head("EXAMPLES")
	fmt.Fprintf(r, ".nf\n%s\n.fi\n", roffText(s))
}

// roffText keeps a text from being read as macros and escapes.
func roffText(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

func manProgram(app *urfave.App) string {
	var r roff
	r.title("faultctl", "1", app.Usage)
	r.head("SYNOPSIS")
	fmt.Fprint(&r, ".B faultctl\n.I COMMAND\n[flags]\n")
	r.head("COMMANDS")
	for _, c := range visible(app) {
		r.item(c.Name, text.Sentence(c.Usage)+" See faultctl-"+c.Name+"(1).")
	}
	r.head("EXIT STATUS")
	for _, e := range exitTexts {
		r.item(e[0], e[1])
	}
	r.head("ENVIRONMENT")
	r.paragraph("Each flag has an environment variable: --max-connections has FAULTCTL_MAX_CONNECTIONS. FAULTCTL_REQUIRE_TARGET=1 refuses runs without a target. NO_COLOR turns colours off.")
	r.head("SEE ALSO")
	r.paragraph("faultctl-faults(7), nft(8), tcp(7)")
	return r.String()
}

// exitTexts are the exit codes in words.
var exitTexts = [][2]string{
	{"0", "Success."},
	{"1", "A runtime failure."},
	{"2", "Wrong usage or configuration."},
	{"3", "An assertion, a probe or a verified command failed."},
	{"4", "A fault never fired."},
	{"5", "A permission or a kernel feature is missing; the message names it, and what grants it."},
	{"6", "Refused by a safety rail."},
	{"124-127", "Of run only: 124 the fault never fired, 125 faultctl failed, 126 the command cannot be executed, 127 it was not found. Otherwise run exits as the command did."},
	{"130, 143", "Ended by SIGINT or SIGTERM, cleanly."},
}

func manCommandPage(c *urfave.Command) string {
	var r roff
	name := "faultctl-" + c.Name
	r.title(name, "1", c.Usage)
	r.head("SYNOPSIS")
	fmt.Fprintf(&r, ".B %s\n%s\n", roffText("faultctl "+c.Name), roffText(c.ArgsUsage))
	if takesFault(c) {
		r.head("FAULTS")
		r.paragraph("FAULT is one of the following, or a SPEC, which has settings too (NAME:knob=value,...): " + strings.Join(faults.Names(), ", ") +
			". faultctl-faults(7) describes them and their settings.")
	} else if len(c.Subcommands) > 0 {
		r.head("SUBCOMMANDS")
		for _, sub := range c.Subcommands {
			r.item(sub.Name+" "+sub.ArgsUsage, text.Sentence(sub.Usage))
		}
	}
	flags := c.Flags
	if !takesFault(c) {
		for _, sub := range c.Subcommands {
			flags = append(flags[:len(flags):len(flags)], sub.Flags...)
		}
	}
	seen := map[string]bool{}
	for _, heading := range []string{targetHeading, runHeading, otherHeading} {
		titled := false
		for _, f := range flags {
			if cat, ok := f.(urfave.CategorizableFlag); !ok || cat.GetCategory() != heading || seen[f.Names()[0]] {
				continue
			}
			if !titled {
				r.head(strings.ToUpper(heading) + " OPTIONS")
				titled = true
			}
			seen[f.Names()[0]] = true
			left, usage := flagHelp(f)
			r.item(strings.TrimSpace(left), text.Sentence(usage))
		}
	}
	if c.Description != "" {
		r.examples(c.Description)
	}
	r.head("SEE ALSO")
	r.paragraph("faultctl(1), faultctl-faults(7)")
	return r.String()
}

// manCatalogue is the catalogue as a page.
func manCatalogue() string {
	var r roff
	r.title("faultctl-faults", "7", "the faults of faultctl")
	group := ""
	for _, k := range faults.Catalog {
		if k.Group != group {
			group = k.Group
			r.head(strings.ToUpper(groupTitle(group)))
		}
		fmt.Fprintf(&r, ".SS %s\n", roffText(k.Name))
		r.paragraph(k.Cause)
		r.paragraph("What the application sees: " + k.Symptom)
		r.paragraph("What helps: " + k.Remedy)
		fmt.Fprintf(&r, ".PP\n.nf\n%s\n.fi\n", roffText("sudo "+k.Example))
		for _, knob := range faults.Knobs(k.New()) {
			term, text := "--"+knob.Name, text.Sentence(knob.Help)
			if knob.Type != "bool" {
				term += " " + placeholder(knob)
			}
			if d := shownDefault(knob); d != "" {
				text += " Default: " + d + "."
			}
			r.item(term, text)
		}
	}
	r.head("TRIGGERS")
	r.paragraph("A TRIGGER is the moment at which a fault fires, once per connection.")
	for _, t := range faults.Triggers {
		r.item(t.Form, t.Moment+".")
	}
	r.head("SEE ALSO")
	r.paragraph("faultctl(1)")
	return r.String()
}
