package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/spf13/pflag"
)

// TestManPages holds that there is a page for each command, that it names each
// flag and knob that help does, and that man's formatter has nothing to say
// against any.
func TestManPages(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	if code := w.faultctl("__man " + dir); code != exitOK {
		t.Fatalf("exit %d: %s", code, &w.err)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.NewReplacer(`\-`, "-", `\(aq`, "'", `\e`, `\`).Replace(string(b))
	}
	whole := read("faultctl.1")
	for _, c := range (&invocation{host: w.host}).program(nil).Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		page := read("faultctl-" + c.Name() + ".1")
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(page, `--`+f.Name+`\fP`) || !strings.Contains(page, f.Usage) {
				t.Errorf("the page of %s does not explain --%s", c.Name(), f.Name)
			}
		})
		if !strings.Contains(whole, "faultctl-"+c.Name()+"(1)") {
			t.Errorf("faultctl(1) does not name %s", c.Name())
		}
	}
	catalogue := read("faultctl-faults.7")
	for _, k := range faults.Catalog {
		if !strings.Contains(catalogue, ".SS "+k.Name+"\n") || !strings.Contains(catalogue, k.Remedy) {
			t.Errorf("the catalogue lacks %s", k.Name)
		}
		for _, knob := range faults.Knobs(k.New()) {
			if !strings.Contains(catalogue, "--"+knob.Name) {
				t.Errorf("the catalogue lacks --%s of %s", knob.Name, k.Name)
			}
		}
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		if os.Getenv("FAULTCTL_REQUIRE") == "1" {
			t.Fatal("groff is missing: make deps installs it")
		}
		t.Skip("groff is missing")
	}
	pages, _ := filepath.Glob(filepath.Join(dir, "*"))
	out, err := exec.Command(groff, append([]string{"-man", "-Tutf8", "-Kutf8", "-ww", "-z"}, pages...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%s", err, out)
	}
}
