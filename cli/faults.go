package cli

import (
	"github.com/faultctl/faultctl/faults"
	urfave "github.com/urfave/cli/v2"
)

func (inv *invocation) faultsCommand() *urfave.Command {
	cmd := &urfave.Command{
		Name: "faults", Usage: "list the faults, or explain one: cause, symptom, settings, remedy",
		ArgsUsage: "[FAULT] [flags]", Description: "faultctl faults idle-expire\nfaultctl faults -o json",
		Flags: []urfave.Flag{outputFlag(otherHeading)},
		Action: func(c *urfave.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			if inv.markdown {
				catalogue(inv.stdout)
				return nil
			}
			return inv.listFaults(faults.Catalog)
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
				if inv.json {
					return faultsJSON(inv.stdout, []faults.Kind{kind})
				}
				inv.explainFault(inv.stdout, kind)
				return nil
			},
		})
	}
	return cmd
}
