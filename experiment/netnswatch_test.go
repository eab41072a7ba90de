package experiment

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
)

// TestNetNSIsReplaced holds that a run tells, once each time, that the name of its network
// namespace stands for another one or none.
func TestNetNSIsReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "web")
	create := func() {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	create()
	ns, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	tick := make(chan time.Time)
	sys := &System{Host: place.Host{NetNSDirs: []string{filepath.Join(dir, "none"), dir}, Now: time.Now, After: func(time.Duration) <-chan time.Time { return tick }}}
	var told []string
	p := &Plan{sys: sys, observers: []Observer{{Event: func(_ time.Time, e event.Event) { told = append(told, e.(event.Target).Says) }}}}
	p.Spec.Target.NetNS, p.cfg.NetNS = "web", ns
	r := &Run{plan: p, sys: sys}
	r.log.init()
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { defer close(over); r.watchNetNS(ctx) }()
	look := func() { tick <- time.Now(); tick <- time.Now() } // the second one is taken when the first was looked at
	look()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look()
	create()
	look()
	cancel()
	<-over
	if len(told) != 2 || !strings.Contains(told[0], "deleted") || !strings.Contains(told[1], "another one now") {
		t.Errorf("%q", told)
	}
}
