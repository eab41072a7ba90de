package cli

import (
	"fmt"
	"strings"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/injector/target"
)

// dryRun shows what a run would do and does nothing: the rules, and the
// connections of this host that they would be about now.
func (h *host) dryRun(p *experiment.Plan, asJSON bool) error {
	rules, err := p.Ruleset()
	if err != nil {
		return err
	}
	flows, err := p.Open()
	if asJSON {
		e := event.DryRun{Ruleset: rules, Queue: h.queueRule(), Connections: flows, Repeat: p.CommandLine()}
		if err != nil {
			e.Connections, e.Unknown = nil, err.Error()
		}
		return h.events.Write(h.sys.Now(), e)
	}
	fmt.Fprintf(h.stdout, "# dry run: nothing is touched. %s\n", p.Scope())
	fmt.Fprintf(h.stdout, "# The rules in nft's syntax. On this kernel \"queue\" is %s.\n%s\n", h.queueRule(), strings.TrimRight(rules, "\n"))
	switch {
	case len(p.Spec.Command) > 0:
		fmt.Fprintf(h.stdout, "\n# The connections are those that the command will open.\n")
	case err != nil:
		fmt.Fprintf(h.stdout, "\n# connections open now: unknown (%v)\n", err)
	case len(flows) == 0:
		fmt.Fprintf(h.stdout, "\n# connections open now that match: none\n")
	default:
		fmt.Fprintf(h.stdout, "\n# connections open now that match: %d\n", len(flows))
		for _, f := range flows {
			fmt.Fprintf(h.stdout, "#   %s -> %s\n", f.Client, f.Server)
		}
	}
	if pick := p.Pick(); pick != (target.Pick{}) {
		fmt.Fprintln(h.stdout, "# Of these, and of new ones, only those are struck that --percent, --every, --first, --skip, --max-connections and --new-only choose.")
	}
	fmt.Fprintln(h.stdout, "# Connections that this host only forwards are matched as well, and not listed here.")
	fmt.Fprintf(h.stdout, "# for real: %s\n", p.CommandLine())
	return nil
}

// queueRule says how the kernel queues packets, as far as one may find out.
func (h *host) queueRule() string {
	for _, f := range h.probe() {
		if f.Name == "queue rule" && f.OK {
			return f.Detail
		}
	}
	return "nft's queue statement, or xt's NFQUEUE target where the kernel lacks that (not permitted to find out)"
}
