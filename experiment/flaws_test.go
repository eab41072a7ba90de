package experiment

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/injector"
)

// TestFlawsSayAll holds that each counter of what a run could not judge, follow
// or tell is said where it is not 0, in words and in the event that ends the run,
// and nowhere where it is 0.
func TestFlawsSayAll(t *testing.T) {
	if got := Flaws(injector.Snapshot{Diverted: 1}); got != nil {
		t.Errorf("a run without flaws has %v", got)
	}
	harmless := []string{"Rules", "Diverted", "Latency"}
	kind := reflect.TypeFor[injector.Snapshot]()
	for i := range kind.NumField() {
		name := kind.Field(i).Name
		if slices.Contains(harmless, name) {
			continue
		}
		var s injector.Snapshot
		reflect.ValueOf(&s).Elem().Field(i).SetUint(7)
		if got := Flaws(s); len(got) != 1 || !strings.HasPrefix(got[0], "7 ") || !strings.HasSuffix(got[0], ".") {
			t.Errorf("%s: %q", name, got)
		}
		b, err := json.Marshal(TotalsOf(s, injector.RuleStats{}, injector.FaultStats{}, 0))
		if err != nil || strings.Count(string(b), ":7") != 1 {
			t.Errorf("%s: %s", name, b)
		}
	}
}
