package cli

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/internal/sandbox"
)

// TestNeeds holds which capabilities a run keeps, and that of all runs only one that
// follows a container keeps all files. SECURITY.md says so.
func TestNeeds(t *testing.T) {
	container := experiment.Target{Container: "web"}
	for _, tc := range []struct {
		name  string
		spec  experiment.Spec
		caps  string
		files bool
	}{
		{"inject", experiment.Spec{}, "net_admin net_raw", false},
		{"inject --netns", experiment.Spec{Target: experiment.Target{NetNS: "blue"}}, "net_admin net_raw", false},
		{"inject --container", experiment.Spec{Target: container}, "dac_override net_admin net_raw perfmon sys_admin sys_ptrace", true},
		{"run --container", experiment.Spec{Target: container, Command: []string{"true"}}, "net_admin net_raw", false},
	} {
		needs := needsOf(&tc.spec)
		if got := strings.Join(sandbox.Caps(needs...), " "); got != tc.caps {
			t.Errorf("%s keeps %s, want %s", tc.name, got, tc.caps)
		}
		if files := slices.ContainsFunc(needs, func(n sandbox.Need) bool { return n.Files }); files != tc.files {
			t.Errorf("%s keeps all files: %v, want %v", tc.name, files, tc.files)
		}
	}
	inv := &invocation{logger: slog.New(slog.DiscardHandler)}
	if got := strings.Join(sandbox.Caps(inv.needsOfServe()...), " "); got != "dac_override net_admin net_raw perfmon sys_admin sys_ptrace" {
		t.Errorf("serve keeps %s", got)
	}
}
