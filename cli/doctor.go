package cli

import (
	"encoding/json"
	"fmt"

	"github.com/faultctl/faultctl/injector"
	"github.com/urfave/cli/v2"
)

func doctorCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:            "doctor",
		Usage:           "say what this kernel and user can do, and what to do about each miss",
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Flags:           []cli.Flag{&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "text or json"}},
		Action: func(c *cli.Context) error {
			features := injector.Probe()
			if c.String("output") == "json" {
				if err := json.NewEncoder(e.stdout).Encode(features); err != nil {
					return err
				}
			}
			missing := false
			for _, f := range features {
				missing = missing || f.Needed && !f.OK
				if c.String("output") == "json" {
					continue
				}
				mark := "ok     "
				switch {
				case !f.OK && f.Needed:
					mark = "MISSING"
				case !f.OK:
					mark = "absent "
				}
				fmt.Fprintf(e.stdout, "%s  %-16s  %s\n", mark, f.Name, f.Detail)
				if !f.OK {
					fmt.Fprintf(e.stdout, "%s\n", wrap(f.Remedy, "                           ", 100))
				}
			}
			if missing {
				return quietExit(exitPreflight)
			}
			return nil
		},
	}
}

func cleanupCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:            "cleanup",
		Usage:           "remove what an instance on an old kernel may have left",
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(*cli.Context) error {
			removed, err := injector.Cleanup()
			for _, t := range removed {
				fmt.Fprintf(e.stdout, "removed table %s\n", t)
			}
			if err == nil && len(removed) == 0 {
				fmt.Fprintln(e.stdout, "there is nothing to remove")
			}
			return err
		},
	}
}
