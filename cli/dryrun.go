package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/injector"
	"github.com/urfave/cli/v2"
)

// dryRun shows what a run would do and does nothing: the rules, and the
// connections of this host that they would be about now.
func (h *host) dryRun(c *cli.Context, p *plan) error {
	run, err := h.start(p.cfg)
	if err != nil {
		return err
	}
	var flows []flowEnds
	dir, err := h.netDir(c, p)
	if err == nil {
		flows, err = h.matching(p, dir)
	}
	if p.json {
		event := struct {
			head
			Ruleset     string     `json:"ruleset"`
			Queue       string     `json:"queue"`
			Connections []flowEnds `json:"connections"`
			Repeat      string     `json:"repeat"`
		}{h.head("dry-run"), run.Ruleset(), h.queueRule(), flows, p.repeat}
		(&jsonTeller{w: h.stdout, host: h}).line(event)
		return nil
	}
	fmt.Fprintf(h.stdout, "# dry run: nothing is touched. %s\n", p.scope())
	fmt.Fprintf(h.stdout, "# The rules in nft's syntax. On this kernel \"queue\" is %s.\n%s\n", h.queueRule(), strings.TrimRight(run.Ruleset(), "\n"))
	switch {
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
	if pick := p.target.pick; pick != (injector.Pick{}) {
		fmt.Fprintln(h.stdout, "# Of these, and of new ones, only those are struck that --percent, --every, --first, --skip, --max-connections and --new-only choose.")
	}
	fmt.Fprintln(h.stdout, "# Connections that this host only forwards are matched as well, and not listed here.")
	fmt.Fprintf(h.stdout, "# for real: %s\n", p.repeat)
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

// netDir is the net directory of a process in the namespace of the plan.
func (h *host) netDir(c *cli.Context, p *plan) (string, error) {
	switch {
	case p.cfg.NetNS == nil:
		return filepath.Join(h.proc, "self", "net"), nil
	case c.IsSet("pid"):
		return filepath.Join(h.proc, c.String("pid"), "net"), nil
	}
	want, err := p.cfg.NetNS.Stat()
	if err != nil {
		return "", errnoFree(err)
	}
	entries, err := os.ReadDir(h.proc)
	if err != nil {
		return "", errnoFree(err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		ns, err := os.Stat(filepath.Join(h.proc, e.Name(), "ns", "net"))
		if err == nil && os.SameFile(ns, want) {
			return filepath.Join(h.proc, e.Name(), "net"), nil
		}
	}
	return "", errors.New("no process lives in that network namespace")
}

// matching lists the connections that the plan is about, client first.
func (h *host) matching(p *plan, dir string) ([]flowEnds, error) {
	all, err := sockets(dir)
	rule := &p.cfg.Rules[0]
	flows := []flowEnds{}
	for _, s := range all {
		there, back := rule.Match.Matches(s.local, s.remote), rule.Match.Matches(s.remote, s.local)
		switch {
		case isProtected(p.cfg.Protect, s) || !there && !back:
			continue
		case !there || back && s.local.Port() < s.remote.Port(): // services listen on the lower ports
			s.local, s.remote = s.remote, s.local
		}
		flows = append(flows, flowEnds{s.local.String(), s.remote.String()})
	}
	slices.SortFunc(flows, func(a, b flowEnds) int { return strings.Compare(a.Server+" "+a.Client, b.Server+" "+b.Client) })
	return slices.Compact(flows), err // both ends of a connection over loopback are here
}
