package faults_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults"
)

// oldSpellings are SPECs as they were written before, and as they are now.
var oldSpellings = map[string]string{
	"loss:rate=10%,burst=3":                "loss:chance=10%,burst-length=3",
	"duplicate:rate=0.5":                   "duplicate:chance=50%",
	"reorder:rate=5%,by=5ms":               "reorder:chance=5%,by=5ms",
	"corrupt:what=payload,rate=1%":         "corrupt:what=payload,chance=1%",
	"reset:rate=1%":                        "reset:chance=1%",
	"reset:at=bytes=10,dir=server":         "reset:at=bytes=10,bytes-of=server",
	"stall:at=bytes=10,dir=client":         "stall:at=bytes=10,bytes-of=client",
	"half-open:at=bytes=10,dir=client":     "half-open:at=bytes=10,bytes-of=client",
	"closed-socket:at=bytes=10,dir=client": "closed-socket:at=bytes=10,bytes-of=client",
	"closed-socket:after=30s":              "closed-socket:at=age=30s",
	"closed-socket:after=5s":               "closed-socket:at=age=5s",
	"closed-socket:after=64k":              "closed-socket:at=bytes=65536",
	"closed-socket:after=4096":             "closed-socket:at=bytes=4096",
	"syn-drop:queue=3,rate=2":              "syn-drop:backlog=3,drain=2",
}

// TestOldSpellings holds that what people wrote before a knob had its present
// name still makes the same model, and that each old spelling is tried.
func TestOldSpellings(t *testing.T) {
	tried := map[string]bool{}
	for old, now := range oldSpellings {
		if a, b := model(t, old), model(t, now); !reflect.DeepEqual(a, b) {
			t.Errorf("%s is %+v, %s is %+v", old, a, now, b)
		}
		name, settings, _ := strings.Cut(old, ":")
		oldSettings := settings
		k, err := faults.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		a, b := k.New(), k.New()
		for _, kv := range strings.Split(settings, ",") {
			knob, value, _ := strings.Cut(kv, "=")
			tried[name+" "+knob] = true
			if err := faults.Set(a, knob, value); err != nil {
				t.Error(err)
			}
			if got, ok := faults.Get(a, knob); !ok || got == "" {
				t.Errorf("%s: %s is not read back", old, knob)
			}
		}
		_, settings, _ = strings.Cut(now, ":")
		for _, kv := range strings.Split(settings, ",") {
			knob, value, _ := strings.Cut(kv, "=")
			if err := faults.Set(b, knob, value); err != nil {
				t.Error(err)
			}
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("set one by one, %s is %+v, %s is %+v", old, a, now, b)
		}
		specs, err := faults.ParseSpecs(old)
		if err != nil {
			t.Fatal(err)
		}
		s := faults.Spec{Name: name}
		for _, kv := range strings.Split(oldSettings, ",") {
			knob, value, _ := strings.Cut(kv, "=")
			s.Knobs = append(s.Knobs, [2]string{knob, value})
		}
		for _, kv := range append(specs[0].Knobs, s.Canonical().Knobs...) {
			if i := indexOf(faults.Knobs(a), kv[0]); i < 0 {
				t.Errorf("%s is still spelled %v", old, specs[0].Knobs)
			}
		}
	}
	for _, k := range faults.Catalog {
		for _, knob := range faults.Knobs(k.New()) {
			for _, old := range knob.Aliases {
				if !tried[k.Name+" "+old] {
					t.Errorf("%s: the old spelling %s of %s is not tried", k.Name, old, knob.Name)
				}
				if !strings.HasSuffix(knob.Help, "old spelling: "+old) {
					t.Errorf("%s: the help of %s does not name its old spelling: %s", k.Name, knob.Name, knob.Help)
				}
			}
		}
	}
}

func indexOf(ks []faults.Knob, name string) int {
	for i, k := range ks {
		if k.Name == name {
			return i
		}
	}
	return -1
}

// TestOneMeaningAWord holds that a knob's word takes the same kind of value
// wherever it stands. What the value means there is for the eye to compare.
func TestOneMeaningAWord(t *testing.T) {
	types := map[string]string{}
	for _, k := range faults.Catalog {
		for _, knob := range faults.Knobs(k.New()) {
			if was, seen := types[knob.Name]; seen && was != knob.Type {
				t.Errorf("%s takes %s in %s, and %s elsewhere", knob.Name, knob.Type, k.Name, was)
			}
			types[knob.Name] = knob.Type
		}
	}
}
