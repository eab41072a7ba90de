package control

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestClientOverOneStream holds that a client which has one stream of bytes only
// starts a run with a lease, renews it, follows its events and stops it, all at the
// same time, and that nothing works when the stream has ended.
func TestClientOverOneStream(t *testing.T) {
	h, s, _ := server(t)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- ServeOn(ctx, l, h) }()
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewClientOver(conn)
	if err != nil {
		t.Fatal(err)
	}

	var again Line
	lines := make(chan Line, 100)
	ended := make(chan error, 1)
	go func() {
		err := c.Events(ctx, "", func(l Line) { lines <- l })
		close(lines)
		ended <- err
	}()
	spec := map[string]any{"fault": "reset", "target": map[string]any{"to": ":5432"}}
	x, err := c.Put(ctx, "one", spec, 30*time.Second)
	if err != nil || x.State != Running || x.Lease == nil {
		t.Fatalf("%+v, %v", x, err)
	}
	first := <-lines
	if !strings.HasSuffix(first.ID, "-1") || !strings.Contains(string(first.Text), `"event":"started"`) || !strings.HasSuffix(string(first.Text), `"experiment":"one"}`) {
		t.Errorf("%s: %s", first.ID, first.Text)
	}
	next := <-lines
	behind, done := context.WithCancel(ctx)
	if err := c.Events(behind, first.ID, func(l Line) { again = l; done() }); err == nil || again.ID != next.ID || !strings.HasSuffix(next.ID, "-2") {
		t.Errorf("%v: behind %s comes %s, not %s", err, first.ID, again.ID, next.ID)
	}
	if err := c.Renew(ctx, "one"); err != nil {
		t.Error(err)
	}
	if s.get("one") == nil {
		t.Error("the run is not there")
	}
	if err := c.Renew(ctx, "two"); !errors.Is(err, ErrNoRun) {
		t.Error(err)
	}
	if _, err := c.Put(ctx, "two", map[string]any{"fault": "rset"}, 0); err == nil || errors.Is(err, ErrNoRun) || !strings.Contains(err.Error(), "rset") {
		t.Error(err)
	}
	if err := c.StopRun(ctx, "one"); err != nil {
		t.Error(err)
	}
	await(t, func() bool { return errors.Is(c.Renew(ctx, "one"), ErrNoRun) })
	cancel()
	if err := <-ended; err == nil {
		t.Error("the stream ended without an error")
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := c.Process(t.Context()); err == nil {
		t.Error("it answers without a stream")
	}
}
