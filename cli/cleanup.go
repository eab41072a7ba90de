package cli

import (
	"errors"
	"fmt"

	urfave "github.com/urfave/cli/v2"
)

func (inv *invocation) cleanupCommand() *urfave.Command {
	return &urfave.Command{
		Name: "cleanup", Usage: "remove what a killed faultctl may have left on an old kernel",
		Action: func(c *urfave.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			removed, err := inv.cleanup()
			for _, t := range removed {
				fmt.Fprintf(inv.stdout, "removed table %s\n", t)
			}
			cages, err2 := inv.cleanupCages()
			for _, path := range cages {
				fmt.Fprintf(inv.stdout, "removed cgroup %s\n", path)
			}
			if err = errors.Join(err, err2); err != nil {
				return fmt.Errorf("cleanup: %w", err)
			}
			if len(removed)+len(cages) == 0 {
				fmt.Fprintln(inv.stdout, "nothing to clean up: no table or cgroup of a process that is gone")
			}
			return nil
		},
	}
}
