package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestEvents(t *testing.T) {
	w := newWorld(t)
	t.Setenv("SSH_CONNECTION", "10.0.0.1 4000 10.0.0.2 22")
	oneFired(w, "idle-expire")
	if code := w.faultctl("inject idle-expire --after 300s --to :5432 --to !10.0.0.9 --from 10.0.0.0/8 --duration 60s -o json"); code != exitOK {
		t.Fatalf("exit %d\n%s", code, &w.err)
	}
	golden(t, "events.ndjson", theVersion(w.out.String()))
	for _, line := range strings.Split(strings.TrimSpace(w.out.String()), "\n") {
		var ev struct {
			Time  time.Time `json:"time"`
			Event string    `json:"event"`
		}
		if err := json.Unmarshal([]byte(line), &ev); err != nil || ev.Event == "" || ev.Time.IsZero() {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestEventsUntargeted(t *testing.T) {
	w := newWorld(t)
	w.faultctl("inject reset,syn-drop:attempts=1 -o json")
	golden(t, "events-untargeted.ndjson", theVersion(w.out.String()))
}
