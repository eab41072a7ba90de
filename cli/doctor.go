package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (inv *invocation) doctorCommand() *cobra.Command {
	return inv.complete(&cobra.Command{
		Use: "doctor [flags]", Short: "check what this kernel and user can do, and how to get the rest",
	}, []*pflag.Flag{outputFlag(otherHeading)}, inv.doctor)
}

// featureJSON is a feature as programs read it.
type featureJSON struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Needed bool   `json:"needed"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"` // only of a miss
}

// doctor tries everything and leaves nothing behind. It ends with 5 if
// something is missing without which nothing works.
func (inv *invocation) doctor(c *call) error {
	if err := noArguments(c); err != nil {
		return err
	}
	list := []featureJSON{}
	missing, denied := 0, 0
	for _, f := range inv.probe() {
		j := featureJSON{f.Name, f.OK, f.Needed, f.Detail, ""}
		if !f.OK {
			j.Remedy = f.Remedy
		}
		if f.Needed && !f.OK {
			missing++
			if f.Denied {
				denied++
			}
		}
		list = append(list, j)
	}
	if inv.json {
		enc := json.NewEncoder(inv.stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(list); err != nil {
			return err
		}
	} else {
		inv.printFeatures(list, missing, denied)
	}
	if missing > 0 {
		return quietExit(exitPreflight)
	}
	return nil
}

// printFeatures prints one line per feature, and below each missing one what to do.
// Missing privileges do not stop commands that create a user namespace.
func (inv *invocation) printFeatures(list []featureJSON, missing, denied int) {
	p, width := inv.paint(), inv.columns()
	told := map[string]bool{}
	for _, f := range list {
		mark := p.Green("ok     ")
		switch {
		case !f.OK && f.Needed:
			mark = p.Red("MISSING")
		case !f.OK:
			mark = p.Yellow("absent ")
		}
		fmt.Fprintf(inv.stdout, "%s  %s", mark, strings.TrimPrefix(text.Hanging(text.Pad("         "+f.Name, 27), f.Detail, width), "         "))
		fmt.Fprintln(inv.stdout)
		if f.Remedy != "" && !told[f.Remedy] {
			told[f.Remedy] = true
			fmt.Fprintln(inv.stdout, text.Hanging(strings.Repeat(" ", 24)+"-> ", f.Remedy, width))
		}
	}
	switch {
	case missing > 0 && missing == denied:
		fmt.Fprintln(inv.stdout, "\n"+text.Wrap("faultctl inject and scenario run need privileges that this user does not have; run, verify and demo create a namespace of their own, where users may do that.", "", width))
	case missing > 0:
		fmt.Fprintf(inv.stdout, "\nfaultctl cannot work here: %s missing\n", words.Plural(uint64(missing), "needed feature"))
	default:
		fmt.Fprintln(inv.stdout, "\nfaultctl works here")
	}
}
