package runs

import (
	"fmt"
	"slices"
	"testing"
)

// TestShare holds that so many pods are struck as were asked for, that those which are
// struck stay so, and that one that goes is replaced.
func TestShare(t *testing.T) {
	var names []string
	for i := range 10 {
		names = append(names, fmt.Sprint("api-", i))
	}
	for text, want := range map[string]int{"1": 1, "3": 3, "50%": 5, "1%": 1, "100%": 10, "20": 10} {
		s, err := ParseShare(text)
		if err != nil {
			t.Fatal(err)
		}
		struck := map[string]bool{}
		for _, name := range s.pick(7, names, func(string) bool { return false }) {
			struck[name] = true
		}
		if len(struck) != want {
			t.Errorf("%s of 10: %d, want %d", text, len(struck), want)
		}
		if more := s.pick(7, names, func(name string) bool { return struck[name] }); len(more) != 0 {
			t.Errorf("%s: %v are struck as well", text, more)
		}
		if want < 10 {
			first := slices.IndexFunc(names, func(name string) bool { return struck[name] })
			rest := slices.Delete(slices.Clone(names), first, first+1)
			rest = append(rest, "api-new")
			if more := s.pick(7, rest, func(name string) bool { return struck[name] && name != names[first] }); len(more) != 1 {
				t.Errorf("%s: %v take the place of one pod", text, more)
			}
		}
	}
	if all := (Share{}).pick(7, names, func(string) bool { return false }); len(all) != 10 {
		t.Errorf("%v", all)
	}
	for _, wrong := range []string{"", "0", "-1", "0%", "101%", "x", "NaN%", "1.5"} {
		if _, err := ParseShare(wrong); err == nil {
			t.Errorf("%q is a share", wrong)
		}
	}
}

// TestSeedOf holds that pods have different seeds, and the same ones each time.
func TestSeedOf(t *testing.T) {
	if a, b := SeedOf(1, "api-0"), SeedOf(1, "api-1"); a == b || a != SeedOf(1, "api-0") || a == SeedOf(2, "api-0") {
		t.Error(a, b)
	}
}
