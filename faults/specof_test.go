package faults_test

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
)

// TestSpecOfZero holds that the SPEC of a model that nobody has touched is the
// name of its fault.
func TestSpecOfZero(t *testing.T) {
	for _, k := range faults.Catalog {
		s, err := faults.SpecOf(k.New())
		if err != nil || s.String() != k.Name {
			t.Errorf("%s: %v, %v", k.Name, s, err)
		}
	}
}

// TestSpecOfEachKnob sets every knob of every fault to every value that a test
// knows for its type, and holds that the SPEC of the model says just that, and
// makes an equal model.
func TestSpecOfEachKnob(t *testing.T) {
	for _, k := range faults.Catalog {
		typ := reflect.TypeOf(k.New()).Elem()
		for _, knob := range faults.Knobs(k.New()) {
			index := fieldOf(t, typ, knob.Name)
			for _, value := range values(t, typ.Field(index), knob) {
				m := k.New()
				reflect.ValueOf(m).Elem().Field(index).Set(reflect.ValueOf(value))
				s, err := faults.SpecOf(m)
				if err != nil || len(s.Knobs) != 1 || s.Knobs[0][0] != knob.Name {
					t.Errorf("%s of %+v: %v, %v", knob.Name, m, s, err)
					continue
				}
				again := k.New()
				if err := faults.Set(again, s.Knobs[0][0], s.Knobs[0][1]); err != nil || !reflect.DeepEqual(again, m) {
					t.Errorf("%s makes %+v of %+v: %v", s, again, m, err)
				}
			}
		}
	}
}

// TestSpecOfWhole sets all knobs of a fault at once. Where its settings exclude
// each other, the model is refused before and after alike.
func TestSpecOfWhole(t *testing.T) {
	valid := 0
	for _, k := range faults.Catalog {
		for round := range 4 {
			m := complete(t, k)
			typ := reflect.TypeOf(m).Elem()
			for _, knob := range faults.Knobs(k.New()) {
				index := fieldOf(t, typ, knob.Name)
				all := values(t, typ.Field(index), knob)
				reflect.ValueOf(m).Elem().Field(index).Set(reflect.ValueOf(all[round%len(all)]))
			}
			s, err := faults.SpecOf(m)
			if err != nil || len(s.Knobs) != len(faults.Knobs(m)) {
				t.Errorf("%+v: %v, %v", m, s, err)
				continue
			}
			again, err := s.Model()
			switch refused := m.Validate(); {
			case refused != nil && (err == nil || err.Error() != refused.Error()):
				t.Errorf("%s: %v, and the model itself: %v", s, err, refused)
			case refused == nil && (err != nil || !reflect.DeepEqual(again, m)):
				t.Errorf("%s makes %+v of %+v: %v", s, again, m, err)
			case refused == nil:
				valid++
			}
		}
	}
	if valid < len(faults.Catalog) {
		t.Errorf("only %d models were valid", valid)
	}
}

// TestSpecOfCatalogue holds that what the catalogue sets for its demonstrations
// and for verify is said by a SPEC of the model.
func TestSpecOfCatalogue(t *testing.T) {
	for _, k := range faults.Catalog {
		for _, spec := range append(k.VerifySpecs(), k.DemoSpec()) {
			m, err := spec.Model()
			if err != nil {
				continue // it lacks what the caller adds
			}
			s, err := faults.SpecOf(m)
			if err != nil {
				t.Errorf("%s: %v", spec, err)
				continue
			}
			if again, err := s.Model(); err != nil || !reflect.DeepEqual(again, m) {
				t.Errorf("%s became %s: %v", spec, s, err)
			}
		}
	}
}

// stranger is a model that the catalogue does not know.
type stranger struct{ faults.Refuse }

func TestSpecOfErrors(t *testing.T) {
	for _, c := range []struct {
		model      faults.Model
		knob, says string
	}{
		{&stranger{}, "", "no fault of the catalogue"},
		{nil, "", "no fault of the catalogue"},
		{(*faults.Refuse)(nil), "", "is nil"},
		{&faults.IdleExpire{After: -1}, "after", "is negative"},
		{&faults.IdleExpire{Then: "burst"}, "then", "none of"},
		{&faults.Loss{Chance: faults.ChanceOf(2)}, "chance", "outside"},
		{&faults.Loss{Chance: faults.ChanceOf(math.NaN())}, "chance", "outside"},
	} {
		_, err := faults.SpecOf(c.model)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%#v: %v, want something about %q", c.model, err, c.says)
		}
		var setting *faults.SettingError
		if errors.As(err, &setting) != (c.knob != "") || c.knob != "" && setting.Knob != c.knob {
			t.Errorf("%#v: %#v", c.model, err)
		}
	}
}

func fieldOf(t *testing.T, typ reflect.Type, knob string) int {
	t.Helper()
	for i := range typ.NumField() {
		if typ.Field(i).Tag.Get("knob") == knob {
			return i
		}
	}
	t.Fatalf("%v has no field for %s", typ, knob)
	return 0
}

// values are some that a field may have, none of them zero.
func values(t *testing.T, f reflect.StructField, knob faults.Knob) (all []any) {
	t.Helper()
	durations := []time.Duration{1, time.Second, 90 * time.Minute, 36 * time.Hour, time.Second + 7*time.Nanosecond}
	switch f.Type {
	case reflect.TypeFor[time.Duration]():
		for _, d := range durations {
			all = append(all, d)
		}
	case reflect.TypeFor[faults.Timeout]():
		for _, d := range append(durations, 0) {
			all = append(all, faults.TimeoutOf(d))
		}
	case reflect.TypeFor[faults.RTT]():
		for _, d := range append(durations, 0) {
			all = append(all, faults.RTTOf(d))
		}
	case reflect.TypeFor[faults.Chance]():
		for _, p := range []float64{0, 1, 0.5, 0.07, 1.0 / 3, 1e-12, math.Nextafter(1, 0)} {
			all = append(all, faults.ChanceOf(p))
		}
	case reflect.TypeFor[faults.Side]():
		all = []any{faults.Client, faults.Server, faults.Both}
	case reflect.TypeFor[faults.Bytes]():
		all = []any{faults.Bytes(1), faults.Bytes(4096), faults.Bytes(1<<41 - 1)}
	case reflect.TypeFor[faults.BitRate]():
		all = []any{faults.BitRate(1e6), faults.BitRate(1.5), faults.BitRate(1e12), faults.BitRate(1e6 / 3.0), faults.BitRate(1e-7)}
	case reflect.TypeFor[faults.Trigger]():
		for _, form := range faults.TriggerForms {
			text := strings.NewReplacer("N", "3", "=D", "=1h0m0.5s", "TEXT", "a,b=c", "RE2", "^GET [^,]*").Replace(form)
			all = append(all, faults.At(text))
		}
	case reflect.TypeFor[bool]():
		all = []any{true}
	case reflect.TypeFor[int]():
		all = []any{1, 77}
	case reflect.TypeFor[float64]():
		all = []any{1.0, 2.5, 1.0 / 3, 1e-9}
	case reflect.TypeFor[string]():
		for _, word := range append(knob.OneOf, preset(knob)...) {
			if word != "" {
				all = append(all, word)
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("no value of a %v is known, such as for %s", f.Type, knob.Name)
	}
	return all
}

func preset(k faults.Knob) (names []string) {
	if k.Name == "preset" {
		for _, p := range faults.Presets {
			names = append(names, p.Name)
		}
	}
	return names
}
