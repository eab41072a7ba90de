package experiment

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
)

// TestNAT holds that a plan says what NAT makes impossible, and nothing where it is
// possible or not known.
func TestNAT(t *testing.T) {
	unnamed := errors.New("no such file")
	for name, c := range map[string]struct {
		nat  injector.NAT
		err  error
		says string
	}{
		"none":           {},
		"named":          {nat: injector.NAT{IPv4: true}},
		"unnamed":        {nat: injector.NAT{IPv4: true, Unnamed: unnamed}, says: "IPv4 is translated here (NAT), and the kernel does not say what clients call their server (no such file)"},
		"in both":        {nat: injector.NAT{IPv4: true, IPv6: true, Unnamed: unnamed}, says: "IPv4 and IPv6 is translated"},
		"of IPv6":        {nat: injector.NAT{IPv6: true, Unnamed: unnamed}, says: "IPv6 is translated here"},
		"not to be seen": {err: injector.ErrPermission},
	} {
		t.Run(name, func(t *testing.T) {
			w := newFakeSystem(t)
			w.FindNAT = func(*os.File) (injector.NAT, error) { return c.nat, c.err }
			p, err := w.System.Plan(context.Background(), Spec{Faults: []faults.Spec{{Name: "refuse"}}, Target: Target{To: []string{":80"}}})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if !strings.Contains(p.Note, c.says) || c.says == "" && p.Note != "" {
				t.Errorf("it says %q, want %q", p.Note, c.says)
			}
		})
	}
}
