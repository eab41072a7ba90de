package cli

import (
	"encoding/json"
	"fmt"

	"github.com/faultctl/faultctl/internal/version"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (inv *invocation) versionCommand() *cobra.Command {
	return inv.complete(&cobra.Command{Use: "version [flags]", Short: "print the version"}, []*pflag.Flag{outputFlag(otherHeading)}, inv.version)
}

func (inv *invocation) version(c *call) error {
	if err := noArguments(c); err != nil {
		return err
	}
	b := version.Read()
	if inv.json {
		return json.NewEncoder(inv.stdout).Encode(b)
	}
	fmt.Fprintf(inv.stdout, "faultctl %s", b.Version)
	if b.Revision != "" {
		fmt.Fprintf(inv.stdout, " (%.12s)", b.Revision)
	}
	fmt.Fprintf(inv.stdout, " %s %s\n", b.Go, b.Platform)
	return nil
}
