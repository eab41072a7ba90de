package words

import "testing"

// TestSynonyms holds that words of other tools lead to ours, depending on what may
// stand there.
func TestSynonyms(t *testing.T) {
	faults := []string{"delay", "loss", "partition", "reset", "refuse", "throttle", "idle-expire", "syn-drop"}
	flags := []string{"to", "from", "percent", "duration", "jobs", "chance", "by"}
	keys := []string{"faults", "probes", "abort", "duration", "start"}
	for _, tc := range []struct {
		typed string
		names []string
		want  string
	}{
		{"latency", faults, "delay"}, {"blackhole", faults, "partition"}, {"reset_peer", faults, "reset"}, {"bandwidth", faults, "throttle"},
		{"ECONNREFUSED", faults, "refuse"}, {"packet-loss", faults, "loss"}, {"idle-timeout", faults, "idle-expire"},
		{"port", flags, "to"}, {"latency", flags, "by"}, {"probability", flags, "chance"}, {"parallel", flags, "jobs"}, {"src", flags, "from"},
		{"probability", []string{"percent", "to"}, "percent"}, {"checks", keys, "probes"}, {"steps", keys, "faults"}, {"rollback", keys, "abort"},
		{"dleay", faults, "delay"}, {"xyzzy", faults, ""}, {"syn_drop", faults, "syn-drop"},
	} {
		if got := Nearest(tc.typed, tc.names); got != tc.want {
			t.Errorf("%s among %v: %q, want %q", tc.typed, tc.names, got, tc.want)
		}
	}
}
