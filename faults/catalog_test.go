package faults_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
)

// complete gives a model what it has no default for.
func complete(t *testing.T, k faults.Kind) faults.Model {
	t.Helper()
	m := k.New()
	if need := needed[k.Name]; need != "" {
		knob, value, _ := strings.Cut(need, "=")
		if err := faults.Set(m, knob, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Validate(); err != nil {
		t.Fatalf("%s: %v", k.Name, err)
	}
	return m
}

// TestCatalog holds what every fault says about itself.
func TestCatalog(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range faults.Catalog {
		if seen[k.Name] {
			t.Errorf("%s is there twice", k.Name)
		}
		seen[k.Name] = true
		for what, text := range map[string]string{"cause": k.Cause, "symptom": k.Symptom, "remedy": k.Remedy} {
			if !strings.HasSuffix(text, ".") {
				t.Errorf("%s: the %s is no sentence: %q", k.Name, what, text)
			}
		}
		if !strings.HasPrefix(k.Example, "faultctl inject "+k.Name) {
			t.Errorf("%s: the example is about something else: %q", k.Name, k.Example)
		}
		tried := map[string]faults.Spec{"demo": k.DemoSpec()}
		for i, spec := range k.VerifySpecs() {
			tried[fmt.Sprintf("verify %d", i)] = spec
		}
		for what, spec := range tried {
			if again, err := faults.ParseSpecs(spec.String()); err != nil || len(again) != 1 {
				t.Errorf("%s: the settings for %s, %s: %v", k.Name, what, spec, err)
			}
			if _, err := spec.Model(); err != nil && (what == "demo" || k.Group == "reset") {
				t.Errorf("%s: the settings for %s: %v", k.Name, what, err)
			}
		}
		m := complete(t, k)
		if d := m.Diverts(); !d.SYN {
			t.Errorf("%s: does not see connections begin", k.Name)
		}
		for _, knob := range faults.Knobs(m) {
			if knob.Help == "" {
				t.Errorf("%s: %s has no help", k.Name, knob.Name)
			}
			if got, _ := faults.Get(m, knob.Name); got != "" {
				if err := faults.Set(k.New(), knob.Name, got); err != nil && got != "never" {
					t.Errorf("%s: what %s shows cannot be typed: %v", k.Name, knob.Name, err)
				}
			}
		}
		found, err := faults.Find(k.Name)
		if err != nil || found.Name != k.Name {
			t.Errorf("%s is not found: %v", k.Name, err)
		}
	}
	if _, err := faults.Find("idle-expier"); err == nil || !strings.Contains(err.Error(), `did you mean "idle-expire"?`) {
		t.Errorf("a typing error gets: %v", err)
	}
}

// TestPresets holds that each device is there once, valid, and with its source.
func TestPresets(t *testing.T) {
	for _, p := range faults.Presets {
		m := &faults.IdleExpire{Preset: p.Name}
		if err := m.Validate(); err != nil || p.Source == "" || p.After == 0 {
			t.Errorf("preset %s: %v, %+v", p.Name, err, p)
		}
		if d := m.Diverts(); d.Idle != p.After {
			t.Errorf("preset %s diverts after %v", p.Name, d.Idle)
		}
		if d := (&faults.IdleExpire{Preset: p.Name, After: 2 * time.Second}).Diverts(); d.Idle != 2*time.Second {
			t.Errorf("preset %s, shortened to 2s, diverts after %v", p.Name, d.Idle)
		}
		// What ends TCP itself closes with a FIN, and its timer sees only data.
		if proxy, ignores := p.Then == "fin-both", m.Diverts().Refresh.MinPayload > 1; proxy != ignores {
			t.Errorf("preset %s: %s, keepalives %s", p.Name, p.Then, p.Keepalives)
		}
	}
}

// TestBadValues holds that a value out of range is refused in words that help.
func TestBadValues(t *testing.T) {
	for _, c := range []struct{ fault, knobs, want string }{
		{"idle-expire", "after=300", "did you mean 300s?"},
		{"idle-expire", "after=-1s", "negative"},
		{"idle-expire", "", "how long may a flow be idle"},
		{"idle-expire", "after=1ms", "less than 10ms"},
		{"idle-expire", "after=1ms preset=f5", "less than 10ms"},
		{"idle-expire", "preset=aws-nbl", `did you mean "aws-nlb"?`},
		{"idle-expire", "after=1s then=rst", "none of"},
		{"idle-expire", "after=1s device-ttl=0", "outside"},
		{"idle-expire", "after=1s device-ttl=256", "outside 1 to 255"},
		{"reset", "at=sin", `did you mean "syn"?`},
		{"reset", "at=segment", "needs a value"},
		{"reset", "at=segment=0", "above 0"},
		{"reset", "at=age=0s", "zero"},
		{"reset", "at=request=0", "above 0"},
		{"reset", "at=request=", "needs a value"},
		{"reset", "at=response=two", "above 0"},
		{"reset", "at=request=2@client", "write request=2"},
		{"reset", "at=segment=2@clinet", `did you mean "client"?`},
		{"reset", "at=segment=2@both", "neither client nor server"},
		{"reset", "at=segment=2@", "neither client nor server"},
		{"reset", "at=bytes=64k@client", "bytes-of"},
		{"reset", "at=segment=4 bytes-of=server", "segment=4@server"},
		{"reset", "at=tls", `did you mean "tls-data"?`},
		{"reset", "at=ready=1s", "takes no value"},
		{"reset", "at=syn=1", "takes no value"},
		{"reset", "at=match=/(/", "error parsing regexp"},
		{"reset", "chance=101%", "outside 0% to 100%"},
		{"reset", "chance=x", "write 10% or 0.1"},
		{"reset", "chance=10% mean-lifetime=5s", "give one"},
		{"reset", "at=syn chance=10%", "give one"},
		{"reset", "hit=me", "neither client, server nor both"},
		{"reset", "shpae=a", `did you mean "shape"?`},
		{"syn-drop", "attempts=-1", "negative"},
		{"syn-drop", "attempts=x", "not a whole number"},
		{"syn-drop", "drain=5", "with backlog"},
		{"syn-drop", "backlog=2 attempts=1", "give one"},
		{"half-open", "side=both", "client or server"},
		{"half-open", "peer=crashed down=1s", "does not come back"},
		{"half-open", "unreachable=maybe", "neither true nor false"},
		{"accept-overflow", "abort=true room-after=1s", "at once"},
		{"connect-stall", "for=0s", "outside"},
		{"paws-reject", "window=0s", "outside"},
		{"bad-seq", "interval=1us", "1ms and more"},
		{"stall", "side=both", "client or server"},
		{"linger-reset", "discard=2m", "more than a megabyte"},
		{"linger-reset", "discard=two", "write 4096, 64k, 5m or 1g"},
		{"linger-reset", "discard=64ib", "write 4096, 64k, 5m or 1g"},
		{"linger-reset", "discard=4kk", "write 4096, 64k, 5m or 1g"},
		{"reset", "at=bytes=5q", "write 4096, 64k, 5m or 1g"},
		{"closed-socket", "after=5m", "5 minutes or 5 MiB: write age=5m or bytes=5m"},
		{"slice", "size=100k", "outside of 1 to 65535"},
		{"loss", "", "Give a share"},
		{"loss", "chance=10% burst-length=-1", "outside"},
		{"loss", "chance=100% burst-length=3", "means nothing"},
		{"loss", "chance=90% burst-length=3", "9 or more"},
		{"closed-socket", "at=0s", "neither a duration nor a number of bytes"},
		{"closed-socket", "at=64q", "write 30s, 4096 or 64k"},
		{"closed-socket", "at=soon", "unknown trigger"},
		{"closed-socket", "bytes-of=client", "for at=bytes=N"},
		{"reset", "at=age=5s bytes-of=server", "for at=bytes=N"},
		{"half-open", "bytes-of=server", "for at=bytes=N"},
		{"stall", "bytes-of=client", "for at=bytes=N"},
		{"delay", "", "Give a time"},
		{"delay", "by=2h", "longer than an hour"},
		{"reorder", "chance=1% by=0s", "outside"},
		{"throttle", "rate=10", "no unit"},
		{"throttle", "rate=0mbit", "not a rate"},
		{"throttle", "rate=1mbit queue=0s", "outside"},
		{"mtu-hole", "above=20", "outside"},
		{"partition", "for=-1s", "negative"},
		{"slice", "size=0", "outside"},
		{"slice", "gap=1m", "outside"},
	} {
		k, err := faults.Find(c.fault)
		if err != nil {
			t.Fatal(err)
		}
		m := k.New()
		for _, kv := range strings.Fields(c.knobs) {
			knob, value, _ := strings.Cut(kv, "=")
			if err = faults.Set(m, knob, value); err != nil {
				break
			}
		}
		if err == nil {
			err = m.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want something with %q", c.fault, c.knobs, err, c.want)
		}
	}
}

// TestUnion holds that together faults see what each of them must.
func TestUnion(t *testing.T) {
	a := faults.Diversion{SYN: true, Above: 1400, Idle: time.Minute}
	b := faults.Diversion{FIN: true, RST: true, Small: true, SYNACK: true, All: true, Holds: true, Above: 500, Idle: time.Second, Refresh: faults.Refresh{MinPayload: 1}}
	want := faults.Diversion{
		SYN: true, FIN: true, RST: true, Small: true, SYNACK: true, All: true, Holds: true,
		Above: 500, Idle: time.Second, Refresh: faults.Refresh{MinPayload: 1},
	}
	if got := a.Union(b); got != want {
		t.Errorf("%+v", got)
	}
	if got := b.Union(a); got != want {
		t.Errorf("the other way round: %+v", got)
	}
}
