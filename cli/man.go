package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/version"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// manCommand writes the man pages into a directory: one for the program and one per
// command, by cobra, and the catalogue in section 7.
func (inv *invocation) manCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "__man DIR", Hidden: true}
	return inv.complete(cmd, nil, func(c *call) error {
		if len(c.words) != 1 {
			return usageError("__man: into which DIR?")
		}
		dir, source := c.first(), "faultctl "+version.String()
		root := inv.program(nil)
		forPages(root)
		if err := doc.GenManTreeFromOpts(root, doc.GenManTreeOptions{Path: dir, CommandSeparator: "-", Header: &doc.GenManHeader{Section: "1", Source: source, Manual: "faultctl"}}); err != nil {
			return fmt.Errorf("write man pages: %w", aboutFile(err))
		}
		if err := os.WriteFile(filepath.Join(dir, "faultctl-faults.7"), md2man.Render([]byte(manCatalogue(source))), 0o644); err != nil {
			return fmt.Errorf("write man page: %w", aboutFile(err))
		}
		return nil
	})
}

// forPages gives commands what their pages have and their help has not, as Markdown.
func forPages(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	cmd.InitDefaultHelpFlag()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.DefValue == "" { // the place of the default has the placeholder
			f.DefValue = markdown(f.Value.Type())
		}
		f.Usage = markdown(f.Usage)
	})
	if !cmd.HasParent() {
		cmd.Long = "**faultctl** makes TCP connections die as they do in production: its commands are below, under SEE ALSO.\n\n# EXIT STATUS\n"
		for _, e := range exitTexts {
			cmd.Long += e[0] + "\n: " + e[1] + "\n\n"
		}
		cmd.Long += "# ENVIRONMENT\nEach flag has an environment variable: **--max-connections** has FAULTCTL\\_MAX\\_CONNECTIONS. " +
			"FAULTCTL\\_REQUIRE\\_TARGET=1 refuses runs without a target. NO\\_COLOR turns colours off.\n\n" +
			"# FILES\n**faultctl-faults(7)** describes the faults and their settings."
	} else if cmd.Long != "" {
		cmd.Long = strings.ReplaceAll(markdown(cmd.Long), "\n", "\n\n")
	}
	for _, sub := range cmd.Commands() {
		forPages(sub)
	}
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

// markdown keeps a text from being read as Markdown.
func markdown(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, "`", "\\`", "|", `\|`).Replace(s)
}

// manCatalogue is the catalogue as a page, in Markdown.
func manCatalogue(source string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%% \"FAULTCTL-FAULTS\" \"7\" \"\" %q \"faultctl\"\n# NAME\nfaultctl-faults - the faults of faultctl\n\n", source)
	group := ""
	for _, k := range faults.Catalog {
		if k.Group != group {
			group = k.Group
			fmt.Fprintf(&b, "# %s\n\n", strings.ToUpper(groupTitle(group)))
		}
		fmt.Fprintf(&b, "### %s\n\n%s\n\nWhat the application sees: %s\n\nWhat helps: %s\n\n```\nsudo %s\n```\n\n", k.Name, markdown(k.Cause), markdown(k.Symptom), markdown(k.Remedy), k.Example)
		for _, f := range knobFlags(k) {
			fmt.Fprintf(&b, "**--%s** %s\n: %s\n\n", f.Name, markdown(f.Value.Type()), markdown(f.Usage))
		}
	}
	b.WriteString("# TRIGGERS\nA TRIGGER is the moment at which a fault fires, once per connection.\n\n")
	for _, t := range faults.Triggers {
		fmt.Fprintf(&b, "%s\n: %s.\n\n", markdown(t.Form), markdown(t.Moment))
	}
	b.WriteString("# SEE ALSO\n**faultctl(1)**, **nft(8)**, **tcp(7)**\n")
	return b.String()
}
