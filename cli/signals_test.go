package cli

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSignals(t *testing.T) {
	for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		w := newWorld(t)
		w.session.played = func() { w.signal <- sig }
		if code := w.faultctl("inject reset --to :80 --expect-fired"); code != want {
			t.Errorf("%v: exit %d, want %d", sig, code, want)
		}
		if !strings.Contains(w.out.String(), "ended after") {
			t.Errorf("%v: no summary:\n%s", sig, &w.out)
		}
	}
}

// A second signal ends without waiting for a run that does not end.
func TestSecondSignal(t *testing.T) {
	w := newWorld(t)
	w.session.played = func() {
		w.signal <- syscall.SIGINT
		w.signal <- syscall.SIGTERM
		if code := <-w.exited; code != 143 {
			t.Errorf("exit %d, want 143", code)
		}
	}
	w.faultctl("inject reset --to :80")
}

// A signal that comes twice at once, as timeout(1) sends it, is one.
func TestEchoedSignal(t *testing.T) {
	w := newWorld(t)
	w.session.played = func() {
		w.signal <- syscall.SIGTERM
		w.signal <- syscall.SIGTERM
	}
	if code := w.faultctl("inject reset --to :80"); code != 143 || len(w.exited) > 0 || !strings.Contains(w.out.String(), "ended after") {
		t.Errorf("exit %d, %d ends without waiting\n%s", code, len(w.exited), &w.out)
	}
}

// A signal that comes before the rules go in ends the run as well.
func TestSignalWhileWaiting(t *testing.T) {
	w := newWorld(t)
	w.timers = map[time.Duration]func(){time.Hour: func() { w.signal <- syscall.SIGINT }}
	w.session.played = func() { t.Error("the rules went in") }
	if code := w.faultctl("inject reset --to :80 --start-after 1h"); code != 130 || !strings.Contains(w.out.String(), "nothing was touched") {
		t.Errorf("exit %d\n%s", code, &w.out)
	}
}
