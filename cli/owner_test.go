package cli

import (
	"strings"
	"testing"

	"github.com/faultctl/faultctl/injector/target"
	"github.com/google/go-cmp/cmp"
)

func TestOwners(t *testing.T) {
	app := &target.Cgroup{Path: "app", ID: 7, Level: 1}
	for flags, want := range map[string]target.Owner{
		"":                                      {},
		"--uid 1000":                            {UID: new(uint32(1000))},
		"--uid root":                            {UID: new(uint32(0))},
		"--cgroup /app":                         {Cgroup: app},
		"--cgroup /app --uid 7":                 {Cgroup: app, UID: new(uint32(7))},
		"--uid 7 --to 10.0.0.5 --from 10.0.0.1": {UID: new(uint32(7))},
	} {
		w := newWorld(t)
		if code := w.faultctl("inject reset --duration 1s " + flags); code != exitOK {
			t.Errorf("%s: exit %d\n%s", flags, code, &w.err)
			continue
		}
		if diff := cmp.Diff(want, w.cfg.Rules[0].Match.Owner); diff != "" {
			t.Errorf("%s (-want +got):\n%s", flags, diff)
		}
		if told := strings.Contains(w.out.String(), "no target"); told == (flags != "") {
			t.Errorf("%s: no target is %v", flags, told)
		}
	}
	w := newWorld(t)
	w.faultctl("inject reset --duration 1s --cgroup /app --uid 7 --to :80")
	if want := "connections to :80 of user 7 in cgroup app"; !strings.Contains(w.out.String(), want) {
		t.Errorf("no %q in\n%s", want, &w.out)
	}
	for flags, says := range map[string]string{
		"--uid no-such-user":                       "no such user",
		"--cgroup /nope":                           "/proc/PID/cgroup",
		"--cgroup /nope --to :80":                  "--cgroup /nope: there is no",
		"--uid 7 --to 10.0.0.5:80 --from 10.0.0.7": "neither end of a connection from 10.0.0.7 to 10.0.0.5:80",
	} {
		w := newWorld(t)
		if code := w.faultctl("inject reset " + flags); code != exitUsage || !strings.Contains(w.err.String(), says) {
			t.Errorf("%s: exit %d, want something about %q\n%s", flags, code, says, &w.err)
		}
	}
}
