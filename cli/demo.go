package cli

import (
	"context"
	"fmt"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	urfave "github.com/urfave/cli/v2"
)

// demoCommand shows a fault in a lab of its own: two hosts and a router between
// them, a client and a server that talk.
func (inv *invocation) demoCommand() *urfave.Command {
	cmd := &urfave.Command{
		Name: "demo", Usage: "show a fault in a lab of two hosts; needs no root",
		ArgsUsage: "[FAULT] [fault flags]", Description: "faultctl demo\nfaultctl demo half-open --peer crashed",
		Action: func(c *urfave.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			return inv.demo(c.Context, flaggedSpec(c, "idle-expire"))
		},
	}
	for _, kind := range faults.Catalog {
		cmd.Subcommands = append(cmd.Subcommands, &urfave.Command{
			Name: kind.Name, Usage: kind.Cause, ArgsUsage: "[flags]", Flags: knobFlags(kind),
			Action: func(c *urfave.Context) error {
				if err := noArguments(c); err != nil {
					return err
				}
				return inv.demo(c.Context, flaggedSpec(c, kind.Name))
			},
		})
	}
	return cmd
}

func (inv *invocation) demo(ctx context.Context, spec faults.Spec) error {
	name := spec.Name
	spec = demoSpec(spec)
	if _, err := spec.Model(); err != nil {
		return usageError("demo: %w", err).WithAdvice("faultctl faults " + name + " explains every setting.")
	}
	if inv.mustEnter() {
		code, err := inv.enter()
		if err != nil {
			return event.Preflightf("", "demo: %w", err)
		}
		if code != exitOK {
			return quietExit(code)
		}
		return nil
	}
	kind, err := faults.Find(name)
	if err != nil {
		return usageError("demo: %w", err)
	}
	inv.demoPrologue(kind, spec)
	story, err := inv.play(ctx, spec)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	storyline(story).print(inv.stdout, inv.columns(), inv.paint())
	inv.demoEpilogue(kind, spec, story)
	if !story.Fired {
		return event.Errorf(event.CodeNeverFired, "", "demo: %s did not fire in this demo", name)
	}
	return nil
}

// demoSpec gives a fault the settings of the demo that no flag gave.
func demoSpec(s faults.Spec) faults.Spec {
	if kind, err := faults.Find(s.Name); err == nil && len(s.Knobs) == 0 {
		return kind.DemoSpec()
	}
	return s
}
