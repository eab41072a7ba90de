package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/proctest"
)

func TestDryRun(t *testing.T) {
	w := newWorld(t)
	t.Setenv("SSH_CONNECTION", "10.0.0.1 4000 10.0.0.2 5432")
	proctest.Net(t, w.sys.Proc, "self",
		proctest.Conn("10.0.0.2:5432", "10.0.0.1:4000", "1"), // protected
		proctest.Conn("10.0.0.2:5432", "10.0.0.9:4001", "2"),
		proctest.Conn("127.0.0.1:4002", "127.0.0.1:5432", "3"),
		proctest.Conn("127.0.0.1:5432", "127.0.0.1:4002", "4"), // the other end
		proctest.Conn("10.0.0.2:4003", "10.0.0.7:80", "5"),     // no target
		proctest.Conn("[fd00::2]:4004", "[fd00::5]:5432", "6"),
	)
	w.probe = func() []injector.Feature {
		return []injector.Feature{{Name: "queue rule", OK: true, Detail: "xt's NFQUEUE target"}}
	}
	if code := w.faultctl("inject reset --to :5432 --percent 10 --dry-run"); code != exitOK {
		t.Fatalf("exit %d\n%s", code, &w.err)
	}
	golden(t, "dry-run.txt", w.out.String())
	w.out.Reset()
	w.faultctl("inject reset --to :5432 --dry-run -o json")
	golden(t, "dry-run.json", w.out.String())
}

// TestDryRunOwner holds that connections of others are not shown as those that
// would be struck.
func TestDryRunOwner(t *testing.T) {
	w := newWorld(t)
	of := func(uid, line string) string {
		return strings.Replace(line, "     0        0 ", "  "+uid+"        0 ", 1)
	}
	proctest.Net(t, w.sys.Proc, "self",
		of("1000", proctest.Conn("10.0.0.2:4001", "10.0.0.9:5432", "1")),
		of("1000", proctest.Conn("10.0.0.2:4002", "10.0.0.9:5432", "2")),
		of("7", proctest.Conn("10.0.0.2:4003", "10.0.0.9:5432", "3")))
	proctest.Process(t, w.sys.Proc, "50", 1, 1, "2", "3")
	group := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(group, "sub"), 0o755), os.WriteFile(filepath.Join(group, "sub", "cgroup.procs"), []byte("50\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	w.sys.FindCgroup = func(string) (*target.Cgroup, error) {
		return &target.Cgroup{Path: "app", Dir: group, ID: 7, Level: 1}, nil
	}
	for flags, ports := range map[string]string{
		"":                          "4001 4002 4003",
		"--uid 1000":                "4001 4002",
		"--cgroup /app":             "4002 4003",
		"--cgroup /app --uid 1000":  "4002",
		"--uid 4":                   "",
		"--netns /proc/self/ns/net": "", // nobody of this /proc lives there
	} {
		w.out.Reset()
		w.faultctl("inject reset --to :5432 --dry-run -o json " + flags)
		var got struct {
			Connections []event.Ends
			Unknown     string
		}
		if err := json.Unmarshal(w.out.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v\n%s%s", flags, err, &w.out, &w.err)
		}
		var found []string
		for _, f := range got.Connections {
			found = append(found, strings.TrimPrefix(f.Client, "10.0.0.2:"))
		}
		if s := strings.Join(found, " "); s != ports || (got.Connections == nil) != (got.Unknown != "") {
			t.Errorf("%s: %q, want %q; unknown: %q", flags, s, ports, got.Unknown)
		}
	}
	w.out.Reset()
	if w.runs(t, "run reset --to :5432 --dry-run", "true"); strings.Contains(w.out.String(), "4001") || !strings.Contains(w.out.String(), "connections that the command will open") {
		t.Errorf("connections of others than the command:\n%s", &w.out)
	}
}
