package cli

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// answers plays a name server: what db.internal is, from when on; nothing is no
// answer.
type answers map[time.Duration]string

func (a answers) at(now time.Duration) ([]netip.Addr, error) {
	latest, text := time.Duration(-1), ""
	for from, t := range a {
		if from <= now && from > latest {
			latest, text = from, t
		}
	}
	if text == "" {
		return nil, errors.New("no such host")
	}
	var all []netip.Addr
	for _, s := range strings.Fields(text) {
		all = append(all, netip.MustParseAddr(s))
	}
	return all, nil
}

// A run goes where a host name goes.
func TestNamesFollowed(t *testing.T) {
	for name, tc := range map[string]struct {
		flags       string
		answers     answers
		retargetErr error
		want        []string // what was done
		says        []string
	}{
		"it moves": {"", answers{0: "10.0.0.5", 45 * time.Second: "10.0.0.6"}, nil,
			[]string{"0s start reset", "1m0s retarget 10.0.0.5:5432 10.0.0.6:5432", "5m30s retarget 10.0.0.6:5432", "10m0s stop reset"},
			[]string{"00:01:00.000  target db.internal: is 10.0.0.5, 10.0.0.6 now; it was 10.0.0.5\n", "00:05:30.000  target db.internal: is 10.0.0.6 now; it was 10.0.0.5, 10.0.0.6\n"}},
		"no answer for a while": {"", answers{0: "10.0.0.5 fd00::5", 45 * time.Second: "", 9 * time.Minute: "fd00::5"}, nil,
			[]string{"0s start reset", "9m0s retarget fd00::5:5432", "10m0s stop reset"}, nil},
		"it comes and goes": {"--resolve-every 1m", answers{0: "10.0.0.5", 2 * time.Minute: "10.0.0.6", 4 * time.Minute: "10.0.0.5"}, nil,
			[]string{"0s start reset", "2m0s retarget 10.0.0.5:5432 10.0.0.6:5432", "8m0s retarget 10.0.0.5:5432", "10m0s stop reset"}, nil},
		"it stays":    {"", answers{0: "10.0.0.5"}, nil, []string{"0s start reset", "10m0s stop reset"}, nil},
		"nobody asks": {"--resolve-every 0", answers{0: "10.0.0.5", time.Minute: "10.0.0.6"}, nil, []string{"0s start reset", "10m0s stop reset"}, nil},
		"the rules cannot be updated": {"--resolve-every 6m", answers{0: "10.0.0.5", time.Minute: "10.0.0.6"}, errors.New("no room"),
			[]string{"0s start reset", "6m0s retarget 10.0.0.6:5432", "10m0s stop reset"},
			[]string{"target db.internal: is 10.0.0.6 now, and the rules do not follow: no room\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
				w.retargetErr = tc.retargetErr
				w.sys.Lookup = func(context.Context, string) ([]netip.Addr, error) { return tc.answers.at(time.Since(w.began)) }
				w.holds(t, "inject reset --to db.internal:5432 --duration 10m "+tc.flags, tc.want, tc.says)
			})
		})
	}
}

// A scenario's pulse begins where the name has gone meanwhile.
func TestNamesInScenario(t *testing.T) {
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		at := answers{0: "10.0.0.5", time.Second: "10.0.0.6"}
		w.sys.Lookup = func(context.Context, string) ([]netip.Addr, error) { return at.at(time.Since(w.began)) }
		code := w.play(t, "faults: [{fault: reset, duration: 2m, pulse: {on: 40s, off: 10s}, target: {to: 'db.internal:5432'}}]\n", "-o", "json")
		want := []string{"0s start reset", "30s retarget 10.0.0.5:5432 10.0.0.6:5432", "40s stop reset", "50s start reset seed 43", "1m30s stop reset", "1m40s start reset seed 44", "2m0s stop reset"}
		if d := cmp.Diff(want, w.log); d != "" || code != exitOK {
			t.Errorf("exit %d (-want +got):\n%s", code, d)
		}
		if !strings.Contains(w.out.String(), `"event":"target","target":"db.internal","says":"is 10.0.0.5, 10.0.0.6 now; it was 10.0.0.5"`) {
			t.Errorf("no target event:\n%s", &w.out)
		}
	})
}
