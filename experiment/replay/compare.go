package replay

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/experiment/event"
)

// Says describes a difference in words.
func Says(d event.Difference) string {
	list := func(s []string) string {
		if len(s) == 0 {
			return "nothing"
		}
		return strings.Join(s, "; ")
	}
	which := fmt.Sprintf("connection %d%s", d.Ordinal, stretch{d.Of, d.Time})
	if !d.Came {
		return fmt.Sprintf("%s did not come; then: %s", which, list(d.Then))
	}
	return fmt.Sprintf("%s: then %s; now %s", which, list(d.Then), list(d.Now))
}

// Compare returns where the decisions differ from what was recorded, in the
// record's order. The order of decisions within a connection does not count,
// because it depends on which end closes first.
func (r *Recording) Compare() event.List[event.Difference] {
	r.mu.Lock()
	defer r.mu.Unlock()
	diffs := event.List[event.Difference]{}
	for _, s := range r.made {
		for _, nth := range slices.Sorted(maps.Keys(r.then[s].made)) {
			then := r.then[s].made[nth]
			var now []string
			came := false
			if d := r.now[s]; d != nil {
				now, came = d.made[nth]
			}
			if !came || !slices.Equal(slices.Sorted(slices.Values(then)), slices.Sorted(slices.Values(now))) {
				diffs = append(diffs, event.Difference{Of: s.name, Time: s.nth, Ordinal: nth, Came: came, Then: then, Now: now})
			}
		}
	}
	return diffs
}
