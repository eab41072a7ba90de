package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func (inv *invocation) cleanupCommand() *cobra.Command {
	return inv.complete(&cobra.Command{Use: "cleanup", Short: "remove what a killed faultctl may have left on an old kernel"}, nil,
		func(c *call) error {
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
		})
}
