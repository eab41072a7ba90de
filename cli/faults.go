package cli

import (
	"github.com/faultctl/faultctl/faults"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (inv *invocation) faultsCommand(fault *faults.Kind) *cobra.Command {
	cmd := &cobra.Command{
		Use: "faults [FAULT] [flags]", Short: "list the faults, or explain one: cause, symptom, settings, remedy",
		Example: "faultctl faults idle-expire\nfaultctl faults -o json", ValidArgsFunction: completeFault,
	}
	if fault != nil {
		cmd.Annotations = map[string]string{faultNamed: fault.Name}
	}
	return inv.complete(cmd, []*pflag.Flag{outputFlag(otherHeading)}, func(c *call) error {
		name, _, err := singleFault(c)
		switch {
		case err != nil:
			return err
		case name == "" && inv.markdown:
			catalogue(inv.stdout)
			return nil
		case name == "":
			return inv.listFaults(faults.Catalog)
		case inv.json:
			return faultsJSON(inv.stdout, []faults.Kind{*fault})
		}
		inv.explainFault(inv.stdout, *fault)
		return nil
	})
}
