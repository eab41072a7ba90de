package experiment

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
)

// TestWhile checks that a run ends when its check has failed so often in a row as it says,
// and neither before nor when the failures are not in a row.
func TestWhile(t *testing.T) {
	for name, c := range map[string]struct {
		fails string // of each try whether it fails; the last goes on
		after time.Duration
		cause string // why the run ended; empty: it lasted
		told  int    // events
	}{
		"it holds":         {".", 0, "", 0},
		"three in a row":   {"..xxx", 4 * time.Second, "failed 3 times in a row: down", 3},
		"never in a row":   {".xx.xx.xx.", 0, "", 6},
		"at last":          {".x.xx.xxx", 8 * time.Second, "failed 3 times in a row: down", 6},
		"from the outset":  {"x", 0, "before", 0},
		"first after that": {".xxx", 3 * time.Second, "failed 3 times in a row: down", 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, tries := newFakeSystem(t), atomic.Int64{}
				w.Ask = func(context.Context, string) error {
					n := min(int(tries.Add(1))-1, len(c.fails)-1)
					if c.fails[n] == 'x' {
						return errors.New("down")
					}
					return nil
				}
				p, err := w.Plan(t.Context(), spec(func(s *Spec) { s.While, s.Duration = "http://svc/health", new(30*time.Second) }))
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				begun := time.Now()
				r, err := Start(t.Context(), p)
				if c.cause == "before" {
					var e *event.Error
					if !errors.As(err, &e) || e.Code != event.CodeProbe || len(w.engines) != 0 {
						t.Errorf("%v, %d engines; want a refusal, and that nothing was touched", err, len(w.engines))
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				result, err := r.Wait()
				if err != nil {
					t.Fatal(err)
				}
				took := time.Since(begun)
				var u *Unsteady
				switch {
				case c.cause == "" && (!errors.Is(result.Cause, ErrTimeUp) || took != 30*time.Second):
					t.Errorf("it ended after %v by %v", took, result.Cause)
				case c.cause != "" && (!errors.As(result.Cause, &u) || !strings.Contains(u.Error(), c.cause) || took != c.after):
					t.Errorf("it ended after %v by %v, want %v by %q", took, result.Cause, c.after, c.cause)
				}
				events := told(r)
				if got := len(slices.DeleteFunc(events, func(e string) bool { return e != "unsteady" })); got != c.told {
					t.Errorf("%d events tell of failures, want %d", got, c.told)
				}
			})
		})
	}
}

// TestAsk checks what a check counts as holding.
func TestAsk(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	sys := newFakeSystem(t)
	for check, want := range map[string]string{
		s.URL:                        "",
		s.URL + "/down":              "status 503",
		"http://127.0.0.1:1/":        "refused",
		"true":                       "",
		"exit 3":                     "exit status 3",
		"kill -9 $$":                 "signal: killed",
		"test \"$HOME\" = \"$HOME\"": "",
	} {
		err := sys.askOnce(t.Context(), check)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", check, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := sys.askOnce(ctx, "sleep 600 & wait"); err == nil {
		t.Error("a command that hangs holds")
	}
}
