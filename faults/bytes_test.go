package faults_test

import (
	"testing"

	"github.com/faultctl/faultctl/faults"
)

// TestSizesHaveUnits holds that a size is read with the units that people write,
// wherever a fault takes bytes.
func TestSizesHaveUnits(t *testing.T) {
	sizes := map[string]string{
		"4096": "4096", "4096B": "4096", "64k": "65536", "64K": "65536", "64kB": "65536", "64KiB": "65536",
		"5m": "5242880", "5MB": "5242880", "5MiB": "5242880", "1g": "1073741824", "1GiB": "1073741824",
	}
	for _, k := range faults.Catalog {
		for _, n := range faults.Knobs(k.New()) {
			for text, want := range sizes {
				m := k.New()
				switch n.Type {
				case "bytes":
				case "trigger":
					text, want = "bytes="+text, "bytes="+want
				default:
					continue
				}
				if err := faults.Set(m, n.Name, text); err != nil {
					t.Errorf("%s %s=%s: %v", k.Name, n.Name, text, err)
				} else if got, _ := faults.Get(m, n.Name); got != want {
					t.Errorf("%s %s=%s is read as %s, want %s", k.Name, n.Name, text, got, want)
				}
			}
		}
	}
	for _, takes := range [][2]string{{"slice", "size"}, {"mtu-hole", "above"}, {"throttle", "burst"}, {"unread-close", "pass"}, {"linger-reset", "discard"}} {
		k, err := faults.Find(takes[0])
		if err != nil {
			t.Fatal(err)
		}
		m := k.New()
		if err := faults.Set(m, takes[1], "1k"); err != nil {
			t.Errorf("%s %s=1k: %v", takes[0], takes[1], err)
		}
	}
}
