package cli

import (
	"encoding/json"
	"fmt"

	"github.com/faultctl/faultctl/internal/version"
	urfave "github.com/urfave/cli/v2"
)

func (inv *invocation) versionCommand() *urfave.Command {
	return &urfave.Command{
		Name: "version", Usage: "print the version", ArgsUsage: "[flags]",
		Flags:  []urfave.Flag{outputFlag(otherHeading)},
		Action: inv.version,
	}
}

func (inv *invocation) version(c *urfave.Context) error {
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
