package control

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
)

// reached is a client of an API that starts runs of a fake engine.
func reached(t *testing.T) (*Client, *Starter) {
	h, s, _ := server(t)
	srv := httptest.NewServer(Guard(h, "secret"))
	t.Cleanup(srv.Close)
	c, err := NewClient(srv.URL, "secret")
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

func wordsOf(fault string) map[string]any {
	return map[string]any{"fault": fault, "target": map[string]any{"to": ":5432"}}
}

// TestFinish holds that whoever waits for the end of a run learns how it ended and what
// is said of its faults, also if it ended before, and once only.
func TestFinish(t *testing.T) {
	c, s := reached(t)
	ctx := t.Context()
	put := func(name, fault string, lease time.Duration) {
		t.Helper()
		if x, err := c.Put(ctx, name, wordsOf(fault), lease); err != nil || x.State != Running {
			t.Fatal(x, err)
		}
	}
	put("asked", "delay:by=50ms", time.Hour)
	x, err := c.Finish(ctx, "asked")
	if err != nil || x.State != Ended || x.End != EndStopped || len(x.Judged) != 1 || x.Judged[0].Fired != 1 || x.Judged[0].Fault != "delay" {
		t.Errorf("%+v, %v", x, err)
	}
	if _, err := c.Finish(ctx, "asked"); err == nil || event.FieldOf(err) != "name" {
		t.Errorf("again: %v", err)
	}
	put("left", "delay:by=50ms", 20*time.Millisecond)
	await(t, func() bool { return s.get("left") == nil })
	if x, err := c.Finish(ctx, "left"); err != nil || x.End != EndLease {
		t.Errorf("%+v, %v", x, err)
	}
	spec := wordsOf("delay:by=50ms")
	spec["duration"] = "20ms"
	if _, err := c.Put(ctx, "short", spec, time.Hour); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return s.get("short") == nil })
	if x, err := c.Finish(ctx, "short"); err != nil || x.End != EndDuration {
		t.Errorf("%+v, %v", x, err)
	}
	for i := range mostEnded + 10 { // none is asked for
		put(fmt.Sprint("n", i), "delay:by=50ms", time.Hour)
		if err := c.StopRun(ctx, fmt.Sprint("n", i)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.owned) == 0 })
	if n, m := len(s.ended.runs), len(s.ended.order); n != mostEnded || m != mostEnded {
		t.Errorf("%d and %d runs that are over are remembered", n, m)
	}
}

// TestClientErrors holds that errors carry the field and the advice, and that an address
// which is none is refused.
func TestClientErrors(t *testing.T) {
	c, _ := reached(t)
	_, err := c.Put(t.Context(), "x", wordsOf("rset"), 0)
	var e *event.Error
	if !errors.As(err, &e) || e.Field != "fault" || !strings.Contains(err.Error()+event.AdviceOf(err), "did you mean") {
		t.Errorf("%v, field %q, advice %q", err, event.FieldOf(err), event.AdviceOf(err))
	}
	two := wordsOf("reset")
	two["pcap"], two["report"] = "/x", "/y"
	var all event.Problems
	if _, err := c.Put(t.Context(), "x", two, 0); !errors.As(err, &all) || len(all) != 2 {
		t.Errorf("%v", err)
	}
	if err := c.Renew(t.Context(), "x"); event.FieldOf(err) != "name" {
		t.Error(err)
	}
	for _, address := range []string{"https://127.0.0.1:1", "http://", "http://h/path"} {
		if _, err := NewClient(address, ""); err == nil {
			t.Errorf("%s is accepted", address)
		}
	}
	gone, err := NewClient(filepath.Join(t.TempDir(), "s"), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Process(context.Background()); err == nil {
		t.Error("nobody answers, without an error")
	}
}
