package plugin

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/faults"
	"github.com/spf13/cobra"
)

// TestFlagsAreTheCores holds that every word of a run that makes sense here, and every
// setting of every fault, is a flag of inject.
func TestFlagsAreTheCores(t *testing.T) {
	for _, kind := range faults.Catalog {
		p := &program{kube: kubeFlags()}
		root := p.root([]string{"inject", kind.Name})
		c, _, err := root.Find([]string{"inject"})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range experiment.Words {
			want := (w.Group == experiment.OfTarget || w.Group == experiment.OfRun) && !slices.Contains(elsewhere, w.Name)
			if is := c.LocalNonPersistentFlags().Lookup(w.Name) != nil; is != want {
				t.Errorf("--%s: %v, want %v", w.Name, is, want)
			}
		}
		for _, knob := range faults.Knobs(kind.New()) {
			if c.LocalNonPersistentFlags().Lookup(knob.Name) == nil {
				t.Errorf("%s has no --%s: kubectl has taken it", kind.Name, knob.Name)
			}
		}
	}
}

// TestReadSpec holds what command lines mean, as runs and services.
func TestReadSpec(t *testing.T) {
	for line, want := range map[string]string{
		"idle-expire --after 2s --to :5432":               `{"fault":["idle-expire:after=2s"],"target":{"to":[":5432"]}}`,
		"reset delay:by=1ms --percent 10 --from 10.0.0.1": `"percent"`,
		"syn-drop --to svc/db:sql --to 10.0.0.9:1":        `"to":["10.0.0.9:1"]`,
		"reset":                               "no target",
		"rset --to :1":                        "did you mean",
		"reset --to :1 --percent 101":         "outside 0 to 100",
		"reset --to :1 --at nonsense":         "nonsense",
		"delay --by 10ms --to :1 --seed -1":   "seed",
		"half-open --to svc/db --duration 1m": `"duration":"1m"`,
	} {
		words := strings.Fields(line)
		c := &cobra.Command{RunE: func(*cobra.Command, []string) error { return nil }}
		addWords(c.Flags())
		if kind := faultIn(words); kind != nil {
			addKnobs(c.Flags(), (&cobra.Command{}).Flags(), *kind)
		}
		if err := c.ParseFlags(words); err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		s, services, err := readSpec(c, c.Flags().Args())
		got := string(s.Data())
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
		if named := strings.Contains(line, "svc/"); err == nil && named != (len(services) == 1) {
			t.Errorf("%s: services %v", line, services)
		}
	}
}

// TestErrors holds what is said, and with which exit code, before a cluster is asked.
func TestErrors(t *testing.T) {
	for line, want := range map[string]string{
		"inject":                           "2 inject: which FAULT?",
		"inject reset deploy/api":          "6 no target",
		"inject reset node/a --to :1":      `2 "node/a" names no pods`,
		"inject reset --to :1 --lease 1s":  "2 --lease",
		"inject reset --to :1 --output x":  "2 --output x: is neither text nor json",
		"inject reset --to :1 --nonsense":  "2 inject: unknown flag: --nonsense",
		"ps reset":                         `2 ps: "reset" names no pods`,
		"doctor --image-pull-policy maybe": "2 --image-pull-policy maybe",
	} {
		var errs bytes.Buffer
		p := &program{out: &bytes.Buffer{}, errs: &errs, kube: kubeFlags()}
		code := p.run(context.Background(), func() syscall.Signal { return 0 }, strings.Fields(line))
		digit, says, _ := strings.Cut(want, " ")
		if string(rune('0'+code)) != digit || !strings.Contains(errs.String(), says) {
			t.Errorf("%s: %d, %s", line, code, &errs)
		}
	}
}
