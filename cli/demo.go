package cli

import (
	"context"
	"fmt"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// demoCommand shows a fault in a lab of its own: two hosts and a router between
// them, a client and a server that talk.
func (inv *invocation) demoCommand(fault *faults.Kind) *cobra.Command {
	cmd, flags := &cobra.Command{
		Use: "demo [FAULT] [fault flags]", Short: "show a fault in a lab of two hosts; needs no root",
		Example: "faultctl demo\nfaultctl demo half-open --peer crashed", ValidArgsFunction: completeFault,
	}, []*pflag.Flag(nil)
	if fault != nil {
		cmd.Use, cmd.Annotations, flags = "demo [FAULT] [flags]", map[string]string{faultNamed: fault.Name}, knobFlags(*fault)
	}
	return inv.complete(cmd, flags, func(c *call) error {
		name, spec, err := singleFault(c)
		if err != nil {
			return err
		}
		if name == "" {
			spec.Name = "idle-expire"
		}
		return inv.demo(c.Context(), spec)
	})
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
