package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/injector/target"
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
			Connections []flowEnds `json:"connections"`       // null: unknown
			Unknown     string     `json:"unknown,omitempty"` // why
			Repeat      string     `json:"repeat"`
		}{head: h.head("dry-run"), Ruleset: run.Ruleset(), Queue: h.queueRule(), Connections: flows, Repeat: p.repeat}
		if err != nil {
			event.Connections, event.Unknown = nil, err.Error()
		}
		(&jsonTeller{w: h.stdout, host: h}).line(event)
		return nil
	}
	fmt.Fprintf(h.stdout, "# dry run: nothing is touched. %s\n", p.scope())
	fmt.Fprintf(h.stdout, "# The rules in nft's syntax. On this kernel \"queue\" is %s.\n%s\n", h.queueRule(), strings.TrimRight(run.Ruleset(), "\n"))
	switch {
	case p.command != nil:
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
	if pick := p.target.pick; pick != (target.Pick{}) {
		fmt.Fprintln(h.stdout, "# Of these, and of new ones, only those are struck that --percent, --every, --first, --skip, --max-connections and --new-only choose.")
	}
	fmt.Fprintln(h.stdout, "# Connections that this host only forwards are matched as well, and not listed here.")
	fmt.Fprintf(h.stdout, "# for real: %s\n", p.repeat)
	return nil
}

// rehearse shows what the scenario would do.
func (h *host) rehearse(c *cli.Context, st *staging) error {
	st.tell.started()
	for _, step := range st.s.Timeline() {
		st.tell.step(step, st.acts[step.Fault], "")
	}
	for _, a := range st.acts {
		err := asInject(c.Context, a.entry, nil, func(c *cli.Context, _ string) error { return h.dryRun(c, a.plan) })
		if err != nil {
			return err
		}
	}
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

// matching lists the connections that the plan is about, client first. A command
// that is yet to run has none.
func (h *host) matching(p *plan, dir string) ([]flowEnds, error) {
	flows := []flowEnds{}
	if p.command != nil {
		return flows, nil
	}
	all, err := sockets(dir)
	rule := &p.cfg.Rules[0]
	owned := h.ownedBy(rule.Match.Owner)
	for _, s := range all {
		there, back := rule.Match.Matches(s.local, s.remote), rule.Match.Matches(s.remote, s.local)
		switch {
		case isProtected(p.cfg.Protect, s) || !there && !back || !owned(s):
			continue
		case !there || back && s.local.Port() < s.remote.Port(): // services listen on the lower ports
			s.local, s.remote = s.remote, s.local
		}
		flows = append(flows, flowEnds{s.local.String(), s.remote.String()})
	}
	slices.SortFunc(flows, func(a, b flowEnds) int { return strings.Compare(a.Server+" "+a.Client, b.Server+" "+b.Client) })
	return slices.Compact(flows), err // both ends of a connection over loopback are here
}

// ownedBy returns what tells the sockets of an owner's processes from others, as
// far as the user may see whose they are.
func (h *host) ownedBy(o target.Owner) func(socket) bool {
	inodes := map[string]bool{}
	if o.Cgroup != nil {
		filepath.WalkDir(o.Cgroup.Dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Base(path) != "cgroup.procs" {
				return nil
			}
			procs, _ := os.ReadFile(path)
			for _, word := range strings.Fields(string(procs)) {
				pid, _ := strconv.Atoi(word)
				for _, inode := range h.socketsOf(pid) {
					inodes[inode] = true
				}
			}
			return nil
		})
	}
	return func(s socket) bool {
		return (o.UID == nil || *o.UID == s.uid) && (o.Cgroup == nil || inodes[s.inode])
	}
}
