package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/scenario"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/cage"
)

// secretly is a command that has secrets in its command line and in what it prints,
// and fails from its second run on.
func secretly(t *testing.T) []string {
	t.Setenv("APP_PASSWORD", "correcthorsebattery")
	return []string{"sh", "-c", `echo "connecting to postgres://app:hunter2hunter2@db/x with $1 and $APP_PASSWORD"; echo "token: $1" >&2; [ ! -e "$0" ] && : > "$0"`,
		filepath.Join(t.TempDir(), "ran"), "--token=tok_0123456789"}
}

var theSecrets = []string{"hunter2hunter2", "tok_0123456789", "correcthorsebattery"}

// TestSecrets holds that no secret of a command gets into what is printed or written
// about it, in any form, unless that is asked for.
func TestSecrets(t *testing.T) {
	for _, line := range []string{"verify --faults reset --jobs 2", "verify --faults reset -o json", "run reset", "run reset -o json", "run reset --dry-run", "verify --faults reset --report REPORTS"} {
		for _, show := range []bool{false, true} {
			dir := t.TempDir()
			reports := ""
			for _, form := range []string{"xml", "html", "json", "md"} {
				reports += " --report " + filepath.Join(dir, "r."+form)
			}
			flags := strings.ReplaceAll(line, " --report REPORTS", reports)
			if show {
				flags += " --show-secrets"
			}
			w := newWorld(t)
			w.timers = never
			oneFired(w, "reset")
			w.runs(t, flags, secretly(t)...)
			told := map[string]string{"what is printed": w.out.String() + w.err.String()}
			files, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				b, err := os.ReadFile(filepath.Join(dir, f.Name()))
				if err != nil {
					t.Fatal(err)
				}
				told[f.Name()] = string(b)
			}
			for where, text := range told {
				found := 0
				for _, secret := range theSecrets {
					if strings.Contains(text, secret) {
						found++
					}
				}
				switch {
				case !show && found > 0:
					t.Errorf("%s: secrets in %s:\n%s", flags, where, text)
				case show && found == 0, strings.Contains(text, "REDACTED") == show:
					t.Errorf("%s: %s has %d secrets:\n%s", flags, where, found, text)
				}
			}
		}
	}
}

// TestSecretsInReplay holds that a recording without its secrets is refused, with a
// way out.
func TestSecretsInReplay(t *testing.T) {
	record := filepath.Join(t.TempDir(), "events.ndjson")
	w := newWorld(t)
	oneFired(w, "reset")
	w.runs(t, "run reset -o json", secretly(t)...)
	if err := os.WriteFile(record, []byte(w.out.String()+w.err.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	w = newWorld(t)
	if code := w.run([]string{"faultctl", "replay", record, "--recorded-command"}); code != exitUsage || !strings.Contains(w.err.String(), "--show-secrets") {
		t.Errorf("exit %d\n%s", code, &w.err)
	}
}

// TestSecretsOfProbes holds that a probe's command tells no secrets when it fails.
func TestSecretsOfProbes(t *testing.T) {
	for _, show := range []bool{false, true} {
		no := func() (place.Cage, error) { return nil, injector.ErrPermission }
		pr := scenario.NewProber(no, func() (place.Cage, error) { return cage.NewLoose(), nil })
		pr.ShowSecrets = show
		err := pr.Try(t.Context(), &scenario.Probe{Timeout: scenario.Duration(20 * time.Second), Command: scenario.Command{"sh", "-c", "echo no: $0 >&2; exit 1", "--token=tok_0123456789"}})
		if err == nil || strings.Contains(err.Error(), "tok_0123456789") != show {
			t.Errorf("show %v: %v", show, err)
		}
	}
}
