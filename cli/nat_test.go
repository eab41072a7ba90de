package cli

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
)

// A port that is published under another is named when nothing matched.
func TestNAT(t *testing.T) {
	at := netip.MustParseAddrPort
	const says = "never fired: no packet belonged to connections to :8080: conntrack knows them, but behind NAT: those to 10.0.0.1:8080 go on to 172.17.0.2:80, " +
		"which is what packets carry where they are judged. Use --to 172.17.0.2:80."
	for _, tc := range []struct {
		line  string
		fires uint64
		asked bool
		says  string
	}{
		{"inject reset --to :8080 --duration 1m", 0, true, says},
		{"scenario run day.yaml", 0, true, says},
		{"inject reset --to :8080 --duration 1m", 1, false, ""},
		{"inject reset --from 10.0.0.7 --duration 1m", 0, false, "never fired: no packet belonged to connections from 10.0.0.7. Is that the port"},
	} {
		withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
			asked := false
			w.fires = tc.fires
			w.sys.Translations = func(_ *os.File, m target.Matcher) ([]injector.Translation, error) {
				asked = len(m.To) == 1 && m.To[0].LowPort == 8080
				return []injector.Translation{{From: at("10.0.0.1:8080"), To: at("172.17.0.2:80")}}, nil
			}
			w.file(t, "faults: [{fault: reset, duration: 1m, target: {to: ':8080'}}]\n")
			w.faultctl(tc.line)
			said := strings.Join(strings.Fields(w.out.String()), " ")
			if asked != tc.asked || !strings.Contains(said, tc.says) {
				t.Errorf("%s, %d fired: asked %v, says\n%s", tc.line, tc.fires, asked, &w.out)
			}
		})
	}
}
