package experiment_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/document"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
)

func compiled(t *testing.T) *document.Schema {
	text, err := json.Marshal(experiment.Schema())
	if err != nil {
		t.Fatal(err)
	}
	return document.Compile(text)
}

// agree holds that ParseSpec refuses what the schema refuses, and for its form
// nothing else.
func agree(t *testing.T, schema *document.Schema, text string) (accepted bool) {
	t.Helper()
	d, err := document.Read("run", "f", []byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	refused := schema.Check(d)
	s, err := experiment.ParseSpec([]byte(text))
	shape := false
	var ps event.Problems
	if errors.As(err, &ps) {
		for _, p := range ps {
			shape = shape || errors.Is(p, experiment.ErrShape)
		}
	}
	tree, _ := d.Tree.(map[string]any)
	_, said := tree["fault"]
	switch {
	case refused != nil && err == nil:
		t.Errorf("%s: only the schema refuses it: %v", text, refused)
	case refused != nil && said && !shape:
		t.Errorf("%s: the schema says %v, ParseSpec %v", text, refused, err)
	case refused == nil && shape:
		t.Errorf("%s: only ParseSpec refuses it: %v", text, err)
	}
	if err == nil { // what is written is read
		again, err := s.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if d, err := document.Read("run", "f", again); err != nil || schema.Check(d) != nil {
			t.Errorf("%s is written as %s: %v, %v", text, again, err, schema.Check(d))
		}
	}
	return err == nil
}

func TestSchema(t *testing.T) {
	schema := compiled(t)
	for text, want := range map[string]bool{
		`fault: reset`:                                    true,
		`fault: [reset, {delay: {by: 5ms}}]`:              true,
		`fault: {reset: }`:                                true,
		`fault: {half-open: {unreachable: true}}`:         true,
		`fault: {half-open: {unreachable: "true"}}`:       false,
		`fault: {reset: , delay: {by: 1s}}`:               false,
		`fault: [[reset]]`:                                false,
		`fault: 7`:                                        false,
		`fault: ""`:                                       false,
		`fault: []`:                                       false,
		`fault: {}`:                                       false,
		`fault: {rset: }`:                                 false,
		`fault: {reset: [1]}`:                             false,
		`fault: {reset: {hot: 1}}`:                        false,
		`fault: {delay: {by: 5}}`:                         false,
		`fault: {idle-expire: {after: 1s, then: rst}}`:    false,
		`fault: {idle-expire: {after: 1s, then: silent}}`: true,
		`{"target": {"to": ":80"}}`:                       false,
		`{"fault": "reset", "target": {"to": [":80", "!:81"], "first": 3, "percent": "12.5%", "new-only": true}}`:    true,
		`{"fault": "reset", "target": {"percent": 0.0000001}}`:                                                       true,
		`{"fault": "reset", "target": {"percent": "5%/1m"}}`:                                                         true,
		`{"fault": "reset", "target": {"percent": "5%/"}}`:                                                           false,
		`{"fault": "reset", "target": {"percent": "1e1"}}`:                                                           false,
		`{"fault": "reset", "target": {"percent": 101}}`:                                                             false,
		`{"fault": "reset", "target": {"percent": ".5"}}`:                                                            false,
		`{"fault": "reset", "target": {"new-only": "true"}}`:                                                         false,
		`{"fault": "reset", "target": {"netns": true}}`:                                                              false,
		`{"fault": "reset", "target": {"to": [[":80"]]}}`:                                                            false,
		`{"fault": "reset", "target": {"to": null}}`:                                                                 false,
		`{"fault": "reset", "target": []}`:                                                                           false,
		`{"fault": "reset", "target": {"duration": "1s"}}`:                                                           false,
		`{"fault": "reset", "to": ":80"}`:                                                                            false,
		`{"fault": "reset", "duration": "60s", "timeout": "0", "queues": 2, "seed": 7, "report": ["a.md", "b.xml"]}`: true,
		`{"fault": "reset", "duration": 60}`:                                                                         false,
		`{"fault": "reset", "duration": "-1s"}`:                                                                      false,
		`{"fault": "reset", "duration": "+1s"}`:                                                                      false,
		`{"fault": "reset", "command": ["make", "test", 3]}`:                                                         true,
		`{"fault": "reset", "command": "true"}`:                                                                      true,
		`{"fault": "reset", "command": true}`:                                                                        false,
		`{"fault": "reset", "command": []}`:                                                                          false,
	} {
		if got := agree(t, schema, text); got != want {
			t.Errorf("%s: accepted %v", text, got)
		}
	}
}

// Whatever stands where, the schema and ParseSpec agree about its form.
func TestSchemaAnything(t *testing.T) {
	schema := compiled(t)
	r := rand.New(rand.NewPCG(1, 2))
	values := []any{nil, true, false, 0, 1, -3, 50, 101, 0.5, 2.0, 1e9, "", "0", "5", "5s", ".5s", "+5s", "5µs", "5μs", "-1s", "2d", "10%", "1e1", ".5", "true", "x", ":80", "10.0.0.1",
		"silent", "client", "reset", "rset", "reset:hit=client", []any{}, []any{"5"}, []any{1, "x"}, []any{true}, []any{nil}, []any{[]any{}}, map[string]any{}, map[string]any{"x": 1}}
	any1 := func() any { return values[r.IntN(len(values))] }
	var words, ofTarget []string
	for _, w := range experiment.Words {
		if w.Group == experiment.OfTarget {
			ofTarget = append(ofTarget, w.Name)
		} else {
			words = append(words, w.Name)
		}
	}
	fault := func() any {
		k := faults.Catalog[r.IntN(len(faults.Catalog))]
		knobs := map[string]any{}
		for _, knob := range faults.Knobs(k.New()) {
			if r.IntN(3) == 0 {
				knobs[knob.Name] = any1()
				if knob.OneOf != nil && r.IntN(2) == 0 {
					knobs[knob.Name] = knob.OneOf[r.IntN(len(knob.OneOf))]
				}
			}
		}
		return map[string]any{k.Name: knobs}
	}
	accepted := 0
	for range 20000 {
		doc := map[string]any{"fault": "reset"}
		switch r.IntN(4) {
		case 0:
			doc["fault"] = fault()
		case 1:
			doc["fault"] = []any{fault(), any1()}
		case 2:
			doc["fault"] = any1()
		}
		if r.IntN(2) == 0 {
			target := map[string]any{}
			for range r.IntN(3) {
				target[ofTarget[r.IntN(len(ofTarget))]] = any1()
			}
			doc["target"] = target
		} else if r.IntN(8) == 0 {
			doc["target"] = any1()
		}
		for range r.IntN(3) {
			doc[append(words, "command", "x")[r.IntN(len(words)+2)]] = any1()
		}
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if agree(t, schema, string(text)) {
			accepted++
		}
		if t.Failed() {
			return
		}
	}
	if accepted < 100 {
		t.Errorf("only %d documents were right: that says little", accepted)
	}
}

// A problem with a setting is about it, and all of them are told.
func TestParseSpecProblems(t *testing.T) {
	_, err := experiment.ParseSpec([]byte(`{"fault": [{"reset": {"hit": "cliet", "hot": 1}}, {"delay": {"by": 5}}, "rset"], "target": {"to": ["80"], "percent": "x"}, "duration": 1}`))
	var got []string
	var ps event.Problems
	errors.As(err, &ps)
	for _, p := range ps {
		got = append(got, fmt.Sprintf("%s: %s", p.Field, p.Message(nil)))
	}
	want := `duration: "1" has no unit: did you mean 1s?
fault.hit: "cliet" is neither client, server nor both
fault: unknown setting "hot", did you mean "hit"?
fault.by: "5" has no unit: did you mean 5s?
fault: unknown fault "rset", did you mean "reset"?
percent: it must be from 0 to 100, with or without %, or a share and a time, such as 5%/1m`
	if strings.Join(got, "\n") != want {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

// Settings as they were spelled before are read as what they are called now.
func TestOldSpellings(t *testing.T) {
	for old, want := range map[string]string{
		`{"loss": {"rate": "5%", "burst": 3}}`:                             "loss:chance=5%,burst-length=3",
		`{"loss": {"rate": "5%", "chance": "6%"}}`:                         "loss:chance=5%,chance=6%", // the last one holds
		`{"syn-drop": {"queue": 3, "rate": 2}}`:                            "syn-drop:backlog=3,drain=2",
		`{"closed-socket": {"after": "30s"}}`:                              "closed-socket:at=30s",
		`{"reset": {"at": "bytes=10", "dir": "server"}}`:                   "reset:at=bytes=10,bytes-of=server",
		`{"throttle": {"rate": "1mbit", "queue": "5ms", "dir": "client"}}`: "throttle:rate=1mbit,queue=5ms,dir=client",
		`"reorder:rate=5%"`:                                                "reorder:chance=5%",
	} {
		s, err := experiment.ParseSpec([]byte(`{"fault": ` + old + `, "target": {"to": [":80"]}, "duration": "1s"}`))
		if err != nil {
			t.Errorf("%s: %v", old, err)
			continue
		}
		if got := s.Faults[0].String(); got != want {
			t.Errorf("%s is read as %s, want %s", old, got, want)
		}
	}
}
