package cli

import (
	"os"
	"path/filepath"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/sandbox"
)

// giveUp gives up every right but those that the needs name. What this kernel cannot
// take away is logged, and the command goes on.
func (inv *invocation) giveUp(needs []sandbox.Need) {
	if inv.sandbox == nil {
		return
	}
	if err := inv.sandbox(needs...); err != nil {
		inv.logger.Info("not every right could be given up", "why", err)
	}
	inv.logger.Info("rights given up", "kept", sandbox.Caps(needs...))
}

// needsOf is what a run with these words needs once its rules are in.
func needsOf(s *experiment.Spec) []sandbox.Need {
	needs := []sandbox.Need{sandbox.Packets, sandbox.Names, reportsOf(s)}
	if s.Target.Container != "" && len(s.Command) == 0 {
		needs = append(needs, sandbox.Container, sandbox.NetNS, sandbox.Outcomes)
	}
	return needs
}

// reportsOf is what writing the reports needs.
func reportsOf(s *experiment.Spec) sandbox.Need {
	var dirs []string
	for _, path := range s.Reports {
		dirs = append(dirs, filepath.Dir(path))
	}
	return sandbox.Files(dirs...)
}

// needsLater is what the start of further runs needs.
func (inv *invocation) needsLater(specs ...*experiment.Spec) []sandbox.Need {
	if err := injector.PrepareOutcomes(); err != nil {
		inv.logger.Debug("the kernel's tracepoints cannot be read", "error", err)
	}
	needs := []sandbox.Need{sandbox.Outcomes}
	for _, s := range specs {
		if inv.sys.Caged || s.Target.NetNS != "" || s.Target.PID != 0 || s.Target.Container != "" {
			needs = append(needs, sandbox.NetNS)
		}
		if s.Target.Container != "" && len(s.Command) == 0 {
			needs = append(needs, sandbox.Container)
		}
	}
	return needs
}

// needsOfServe is what runs need that others may ask for later: any but those that
// write files or run commands. To find the namespace of a process or a container, and to
// remove its own files at the end, it keeps all files.
func (inv *invocation) needsOfServe() []sandbox.Need {
	return append(inv.needsLater(), sandbox.Packets, sandbox.Names, sandbox.NetNS, sandbox.Container)
}

// keepRights has commands started with the rights that this process has now. The
// process that does so is ended by release.
func (inv *invocation) keepRights() (release func(), err error) {
	if inv.launch == nil {
		return func() {}, nil
	}
	if inv.keeper, err = inv.launch(); err != nil {
		return nil, err
	}
	return func() {
		if err := inv.keeper.Close(); err != nil {
			inv.logger.Warn("left over", "error", err)
		}
		inv.keeper = nil
	}, nil
}

// enterSandbox is host.sandbox of the real host. FAULTCTL_SANDBOX=off, for finding
// faults of faultctl itself, leaves the rights alone.
func enterSandbox(needs ...sandbox.Need) error {
	if os.Getenv("FAULTCTL_SANDBOX") == "off" {
		return nil
	}
	return sandbox.Enter(needs...)
}
