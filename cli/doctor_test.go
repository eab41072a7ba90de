package cli

import (
	"strings"
	"testing"

	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/rights"
)

func TestDoctor(t *testing.T) {
	w := newWorld(t)
	features := []injector.Feature{
		{Name: "linux", OK: true, Needed: true, Detail: "Linux 6.18", Remedy: "unseen"},
		{Name: "nftables", Needed: true, Detail: "create an nftables table: permission denied", Remedy: "run as root, or in a user and network namespace of your own: faultctl run, verify and demo make one"},
		{Name: "raw socket", Needed: true, Detail: "open raw socket: permission denied", Remedy: "run as root, or in a user and network namespace of your own: faultctl run, verify and demo make one"},
		{Name: "table owner", Detail: "the rules die with the process", Remedy: "Linux 5.12 or newer has it"},
	}
	w.probe = func() []injector.Feature { return features }
	if code := w.faultctl("doctor"); code != exitPreflight {
		t.Errorf("exit %d", code)
	}
	golden(t, "doctor.txt", w.out.String())
	w.out.Reset()
	if code := w.faultctl("doctor -o json"); code != exitPreflight {
		t.Errorf("exit %d", code)
	}
	golden(t, "doctor.json", w.out.String())
	features = features[:1]
	if code := w.faultctl("doctor"); code != exitOK {
		t.Errorf("exit %d when nothing is missing", code)
	}
}

// TestDoctorForWhom checks that doctor says command by command what works, for users
// with few rights too, and what would make the rest work.
func TestDoctorForWhom(t *testing.T) {
	denied := []injector.Feature{
		{Name: "linux", OK: true, Needed: true, Detail: "Linux 6.18"},
		{Name: "nftables", Needed: true, Detail: "permission denied", Remedy: "CAP_NET_ADMIN and CAP_NET_RAW are needed", Denied: true},
	}
	fine := []featureJSON{{Name: "linux", OK: true, Needed: true, Detail: "Linux 6.18"}, {Name: "nftables", OK: true, Needed: true, Detail: "tables can be made"}}
	for name, c := range map[string]struct {
		rights rights.Rights
		inside []featureJSON
		code   int
		says   []string
	}{
		"user":                      {rights.Rights{}, fine, exitOK, []string{"not yet inject, scenario run", "run it with sudo", "works run, verify in namespaces of its own", "works demo", "ok nftables"}},
		"user without namespaces":   {rights.Rights{}, nil, exitPreflight, []string{"not yet run, verify", "user.max_user_namespaces", "MISSING nftables"}},
		"user in a container":       {rights.Rights{Container: true}, nil, exitPreflight, []string{"--user 0 --cap-add NET_ADMIN --cap-add NET_RAW"}},
		"root of a container":       {rights.Rights{Root: true, Container: true}, nil, exitPreflight, []string{"root lacks CAP_NET_ADMIN and CAP_NET_RAW: start the container with"}},
		"capabilities from a file":  {rights.Rights{NetAdmin: true, NetRaw: true, FromFile: true, ForAll: true}, fine, exitOK, []string{"not yet inject, scenario run", "Refused:", "setcap -r", "works run, verify"}},
		"root without capabilities": {rights.Rights{Root: true}, fine, exitOK, []string{"This root lacks CAP_NET_ADMIN", "works run, verify"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.probe = func() []injector.Feature { return denied }
			if c.rights.FromFile {
				w.probe = func() []injector.Feature { return denied[:1] }
			}
			w.rights = func() rights.Rights { return c.rights }
			w.probeInside = func() []featureJSON { return c.inside }
			w.mustIsolate = func() bool { return !c.rights.Root || !c.rights.Enough() }
			w.mustEnter = func() bool { return !c.rights.Root }
			code := w.faultctl("doctor")
			said := strings.Join(strings.Fields(w.out.String()), " ")
			for _, want := range c.says {
				if !strings.Contains(said, want) {
					t.Errorf("it does not say %q:\n%s", want, &w.out)
				}
			}
			if code != c.code {
				t.Errorf("exit %d, want %d", code, c.code)
			}
		})
	}
}
