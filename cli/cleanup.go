package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func (h *host) cleanupCommand() *cli.Command {
	return &cli.Command{
		Name: "cleanup", Usage: "remove what an instance on an old kernel may have left",
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			removed, err := h.cleanup()
			for _, t := range removed {
				fmt.Fprintf(h.stdout, "removed table %s\n", t)
			}
			if err != nil {
				return fmt.Errorf("cleanup: %w", err)
			}
			if len(removed) == 0 {
				fmt.Fprintln(h.stdout, "nothing to clean up: no table of an instance that is gone")
			}
			return nil
		},
	}
}
