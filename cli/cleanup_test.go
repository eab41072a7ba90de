package cli

import (
	"strings"
	"testing"

	"github.com/faultctl/faultctl/injector"
)

func TestCleanup(t *testing.T) {
	w := newWorld(t)
	w.faultctl("cleanup")
	w.cleanup = func() ([]string, error) { return []string{"faultctl_7"}, nil }
	w.faultctl("cleanup")
	const want = "nothing to clean up: no table or cgroup of a process that is gone\nremoved table faultctl_7\n"
	if got := w.out.String(); got != want {
		t.Errorf("got %q", got)
	}
	w.cleanup = func() ([]string, error) { return nil, injector.ErrPermission }
	if code := w.faultctl("cleanup"); code != exitPreflight || !strings.Contains(w.err.String(), "CAP_NET_ADMIN") {
		t.Errorf("exit %d: %s", code, &w.err)
	}
}
