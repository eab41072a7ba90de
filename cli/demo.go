package cli

import (
	"fmt"

	"github.com/faultctl/faultctl/experiment/demo"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	urfave "github.com/urfave/cli/v2"
)

// demoCommand shows a fault in a lab of its own: two hosts and a router between
// them, a client and a server that talk.
func (h *host) demoCommand() *urfave.Command {
	cmd := &urfave.Command{
		Name: "demo", Usage: "show a fault on two hosts of its own, no root needed",
		ArgsUsage: "[FAULT] [fault flags]", Description: "faultctl demo\nfaultctl demo half-open --peer crashed",
		Action: func(c *urfave.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			return h.demo(c, "idle-expire")
		},
	}
	for _, kind := range faults.Catalog {
		cmd.Subcommands = append(cmd.Subcommands, &urfave.Command{
			Name: kind.Name, Usage: kind.Cause, ArgsUsage: "[flags]", Flags: knobFlags(kind),
			Action: func(c *urfave.Context) error {
				if err := noArguments(c); err != nil {
					return err
				}
				return h.demo(c, kind.Name)
			},
		})
	}
	return cmd
}

func (h *host) demo(c *urfave.Context, name string) error {
	spec := demoSpec(flaggedSpec(c, name))
	_, err := spec.Model()
	if err != nil {
		return usageError("demo: %w", err).WithAdvice("faultctl faults " + name + " explains every setting.")
	}
	if h.mustEnter() {
		code, err := h.enter()
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
	h.demoPrologue(kind, spec)
	story, err := h.play(c.Context, spec)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	storyline(story).print(h.stdout, h.columns(), h.paint())
	h.demoEpilogue(kind, spec, story)
	if !story.Fired {
		return event.Errorf(event.CodeNeverFired, "", "demo: %s did not act on this conversation", name)
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

func (h *host) demoPrologue(kind faults.Kind, s faults.Spec) {
	p := h.paint()
	fmt.Fprintln(h.stdout, p.bold(s.String()))
	fmt.Fprintln(h.stdout, wrap(kind.Cause, "  ", h.columns()))
	fmt.Fprintln(h.stdout)
	fmt.Fprintln(h.stdout, p.dim("  client 10.77.1.1 ─── router with faultctl ─── server 10.77.2.1:5432"))
	fmt.Fprintln(h.stdout)
}

func (h *host) demoEpilogue(kind faults.Kind, s faults.Spec, story *demo.Story) {
	fmt.Fprintln(h.stdout)
	fmt.Fprintln(h.stdout, hanging("symptom  ", kind.Symptom, h.columns()))
	fmt.Fprintln(h.stdout, hanging("remedy   ", kind.Remedy, h.columns()))
	line := "sudo faultctl inject " + s.Name
	for _, f := range s.Flags() {
		line += " " + f
	}
	fmt.Fprintln(h.stdout, hanging("for real ", line+" --to :5432", h.columns()))
}

// storyline turns what a demo saw into what is printed.
func storyline(s *demo.Story) timeline {
	var t timeline
	for _, c := range s.Calls {
		t = append(t, entry{At: c.At, Who: c.Who, Call: c.Text, Result: meaning(c), Bad: c.Failed})
	}
	for _, p := range s.Packets {
		t = append(t, entry{At: p.At, Packet: p.Text, Late: p.Late, Mark: [...]mark{
			demo.Passed: untouched, demo.Injected: injected, demo.Dropped: dropped, demo.Rewritten: rewritten, demo.Delayed: delayed,
		}[p.Fate]})
	}
	return t
}

// meaning is a result with what people know the errno by.
func meaning(c demo.Call) string {
	if text, ok := map[string]string{
		"ECONNRESET":   "Connection reset by peer",
		"EPIPE":        "Broken pipe",
		"ECONNREFUSED": "Connection refused",
		"EAGAIN":       "nothing came in time",
		"EINPROGRESS":  "no answer in time",
		"EHOSTUNREACH": "No route to host",
		"ENETUNREACH":  "Network is unreachable",
		"ETIMEDOUT":    "Connection timed out",
		"EOF":          "the end of the stream",
	}[c.Result]; ok {
		return c.Result + " (" + text + ")"
	}
	return c.Result
}
