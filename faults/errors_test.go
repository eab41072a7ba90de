package faults_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
)

// TestErrorsAreValues holds that what is wrong with a SPEC or a model is told by
// the error's fields: the fault, the knob, and what was probably meant.
func TestErrorsAreValues(t *testing.T) {
	for spec, want := range map[string]faults.SettingError{
		"idle-expire:after=300":                    {Fault: "idle-expire", Knob: "after"},
		"idle-expire:afetr=300s":                   {Fault: "idle-expire", Knob: "afetr"},
		"idle-expire:after":                        {Fault: "idle-expire", Knob: "after"},
		"reset,half-open:peer=crashed,down=1s":     {Fault: "half-open", Knob: "down"},
		"idle-expire":                              {Fault: "idle-expire", Knob: "after"},
		"idle-expire:preset=f6":                    {Fault: "idle-expire", Knob: "preset"},
		"reset:mean-lifetime=1s,at=syn":            {Fault: "reset", Knob: "at"},
		"partition:for=1s,at=segment=0":            {Fault: "partition", Knob: "at"},
		"linger-reset:discard=2m":                  {Fault: "linger-reset", Knob: "discard"},
		"stall:side=both":                          {Fault: "stall", Knob: "side"},
		"delay:by=1ms,distribution=gaussian":       {Fault: "delay", Knob: "distribution"},
		"accept-overflow:abort,room-after=1s":      {Fault: "accept-overflow", Knob: "room-after"},
		"syn-drop:attempts=1,attempts=1000000000x": {Fault: "syn-drop", Knob: "attempts"},
	} {
		specs, err := faults.ParseSpecs(spec)
		for _, s := range specs {
			if err == nil {
				_, err = s.Model()
			}
		}
		var got *faults.SettingError
		if !errors.As(err, &got) || got.Fault != want.Fault || got.Knob != want.Knob || got.Err == nil {
			t.Errorf("%s: %#v, want an error about %s of %s", spec, err, want.Knob, want.Fault)
		}
	}
	_, err := faults.ParseSpecs("reset,idle-expier:after=1s")
	var fault *faults.UnknownFaultError
	if !errors.As(err, &fault) || fault.Name != "idle-expier" || fault.Nearest != "idle-expire" {
		t.Errorf("an unknown fault: %#v", err)
	}
	var knob *faults.UnknownKnobError
	if _, err = faults.ParseSpecs("reset:shpae=a"); !errors.As(err, &knob) || knob.Name != "shpae" || knob.Nearest != "shape" {
		t.Errorf("an unknown knob: %#v", err)
	}
}

// TestValidateJudgesGoValues holds that a model made in Go is judged as strictly
// as one that was typed.
func TestValidateJudgesGoValues(t *testing.T) {
	for knob, m := range map[string]faults.Model{
		"peer":          &faults.HalfOpen{Peer: "vanished"},
		"down":          &faults.HalfOpen{Down: -time.Second},
		"chance":        &faults.Loss{Chance: faults.ChanceOf(1.5)},
		"at":            &faults.Reset{At: faults.At("syn"), MeanLifetime: time.Second},
		"hit":           &faults.Reset{Hit: 9},
		"rtt":           &faults.Refuse{RTT: faults.RTTOf(-1)},
		"fin-timeout":   &faults.ClosedSocket{FINTimeout: faults.TimeoutOf(-1)},
		"discard":       &faults.LingerReset{Discard: -1},
		"rate":          &faults.Throttle{Rate: faults.BitRate(math.NaN())},
		"burst":         &faults.Throttle{Rate: 1e6, Burst: -1},
		"device-ttl":    &faults.IdleExpire{After: time.Second, DeviceTTL: -1},
		"mean-lifetime": &faults.Reset{MeanLifetime: -1},
		"size":          &faults.Slice{Size: -1},
	} {
		var e *faults.SettingError
		if err := m.Validate(); !errors.As(err, &e) || e.Knob != knob {
			t.Errorf("%+v: %v, want something about %s", m, err, knob)
		}
	}
}
