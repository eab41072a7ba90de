package cli

import (
	"github.com/faultctl/faultctl/faults"
	"github.com/urfave/cli/v2"
)

// demoCommand shows a fault in a lab of its own: two hosts, a client, a
// server. What they saw and what crossed the wire is printed by timeline.
func (h *host) demoCommand() *cli.Command {
	cmd := &cli.Command{
		Name: "demo", Usage: "show a fault on two hosts of its own, no root needed",
		ArgsUsage: "[FAULT] [fault flags]", Description: "faultctl demo\nfaultctl demo half-open --peer crashed",
		Action: func(c *cli.Context) error { return h.demo(c, "idle-expire") },
	}
	for _, kind := range faults.Catalog {
		cmd.Subcommands = append(cmd.Subcommands, &cli.Command{
			Name: kind.Name, Usage: kind.Cause, ArgsUsage: "[flags]", Flags: knobFlags(kind),
			Action: func(c *cli.Context) error { return h.demo(c, kind.Name) },
		})
	}
	return cmd
}

func (h *host) demo(*cli.Context, string) error {
	return &exitError{code: exitFailure, err: errNoLab}
}
