package cli

import (
	"fmt"
	"strings"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/injector/target"
)

// showDryRun shows what a run would do and does nothing: the rules, and the
// connections of this host that they would be about now.
func (inv *invocation) showDryRun(p *experiment.Plan) error {
	rules, err := p.Ruleset()
	if err != nil {
		return err
	}
	flows, err := p.Open()
	if inv.json {
		e := event.DryRun{Ruleset: rules, Queue: inv.queueRule(), Connections: flows, Repeat: p.CommandLine()}
		if err != nil {
			e.Connections, e.Unknown = nil, err.Error()
		}
		return inv.events.Write(inv.sys.Now(), e)
	}
	fmt.Fprintf(inv.stdout, "# dry run: nothing is changed. %s\n", p.Scope())
	fmt.Fprintf(inv.stdout, "# The rules in nft's syntax. On this kernel \"queue\" is %s.\n%s\n", inv.queueRule(), strings.TrimRight(rules, "\n"))
	switch {
	case len(p.Spec.Command) > 0:
		fmt.Fprintf(inv.stdout, "\n# The rules match the connections that the command will open.\n")
	case err != nil:
		fmt.Fprintf(inv.stdout, "\n# connections open now: unknown (%v)\n", err)
	case len(flows) == 0:
		fmt.Fprintf(inv.stdout, "\n# connections open now that match: none\n")
	default:
		fmt.Fprintf(inv.stdout, "\n# connections open now that match: %d\n", len(flows))
		for _, f := range flows {
			fmt.Fprintf(inv.stdout, "#   %s -> %s\n", f.Client, f.Server)
		}
	}
	if pick := p.Pick(); pick != (target.Pick{}) {
		fmt.Fprintln(inv.stdout, "# Of these and of new connections, only those are struck that --percent, --every, --first, --skip, --max-connections and --new-only choose.")
	}
	fmt.Fprintln(inv.stdout, "# Forwarded connections match too, but are not listed.")
	fmt.Fprintf(inv.stdout, "# to run it: %s\n", p.CommandLine())
	return nil
}

// queueRule says how the kernel queues packets, as far as one may find out.
func (inv *invocation) queueRule() string {
	for _, f := range inv.probe() {
		if f.Name == "queue rule" && f.OK {
			return f.Detail
		}
	}
	return "nft's queue statement, or xt's NFQUEUE target where the kernel lacks that (this user may not find out which)"
}
