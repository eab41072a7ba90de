package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
)

// TestPageNeedsNothingElse holds that the page names nothing outside of itself, and that
// browsers are told to let it do nothing but ask its server.
func TestPageNeedsNothingElse(t *testing.T) {
	for _, bad := range []string{"http://", "https://", "@import", "url(", "<iframe", "innerHTML", "eval(", " style=", "localStorage", "document.cookie"} {
		if bytes.Contains(page, []byte(bad)) {
			t.Errorf("the page holds %q", bad)
		}
	}
	h, _, _ := server(t)
	guarded := Guard(WithPage(h), "secret")
	rec := httptest.NewRecorder()
	req := httptest.NewRequest("GET", "/", nil)
	req.Host = "127.0.0.1:8675"
	guarded.ServeHTTP(rec, req)
	if policy := rec.Header().Get("Content-Security-Policy"); rec.Code != 200 || !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("%d, %v", rec.Code, rec.Header())
	}
	for _, tc := range []struct {
		method, path string
		want         int
		headers      []string
	}{
		{"GET", "/", 421, []string{"Host: evil.example"}},
		{"GET", "/", 403, []string{"Origin: http://evil.example"}},
		{"POST", "/", 401, nil},
		{"GET", "/v1/process", 401, nil},
		{"GET", "/metrics", 401, nil},
		{"DELETE", "/v1/experiments", 401, nil},
		{"GET", "/healthz", 200, nil},
		{"GET", "/healthz", 421, []string{"Host: evil.example"}},
	} {
		if status, body := send(t, guarded, tc.method, tc.path, "", tc.headers...); status != tc.want {
			t.Errorf("%s %s %q: %d, want %d: %.200s", tc.method, tc.path, tc.headers, status, tc.want, body)
		}
	}
}

// checks is a script that uses the page as a person does, and tells what it saw.
const checks = `<script>
const until = async f => { for (let i = 0; i < 600 && !f(); i++) await new Promise(w => setTimeout(w, 50)); return f(); };
(async () => {
  const seen = { Width: innerWidth };
  try {
    seen.Listed = await until(() => rows.size >= WANT) && rows.size;
    arrange();
    seen.InDocument = document.querySelectorAll('tbody tr').length;
    const e = document.documentElement;
    seen.Out = [...document.querySelectorAll('body *')].filter(x => x.getBoundingClientRect().right > e.clientWidth + 0.5 && !x.closest('table')).map(x => x.tagName + '.' + x.className).slice(0, 5);
    let from = performance.now();
    for (let i = 0; i < 100; i++) { $('rows').scrollTop = i * 997; show(); document.body.offsetHeight; }
    seen.Scroll = (performance.now() - from) / 100;
    $('rows').scrollTop = 0;
    from = performance.now();
    document.querySelectorAll('thead button')[1].click();
    seen.Sort = performance.now() - from;
    seen.First = line(0).cells[1].textContent;
    $('filter').value = '10.0.0.1:40007'; $('filter').oninput();
    seen.Filtered = sight.length;
    [...line(0).tr.querySelectorAll('button')][0].click();
    seen.Struck = await until(() => $('say').textContent.includes('is chosen'));
    [...line(0).tr.querySelectorAll('button')][1].click();
    seen.Spared = await until(() => line(0).cells[4].textContent === 'spared');
    document.querySelector('.switch').click();
    seen.Paused = await until(() => document.querySelector('.run').textContent.includes('paused'));
    const share = document.querySelector('.share input'); share.value = 30; share.oninput();
    seen.Share = await until(() => document.querySelector('.share output').textContent === '30 %');
    await new Promise(w => setTimeout(w, 400));
    if (location.pathname === '/stop') { $('stop').click(); seen.Stopped = !!await until(() => document.querySelector('#none')); }
    seen.Address = location.href.includes('token');
  } catch (x) { seen.Error = String(x); }
  fetch('/result', { method: 'POST', body: JSON.stringify(seen) });
})();
</script>`

// TestPageInBrowser uses the page in a real browser, as wide as a phone and as wide as a
// desk, with 5,000 connections. FAULTCTL_SCREENSHOTS names a directory for pictures of
// it, also with 10.
func TestPageInBrowser(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("FAULTCTL_REQUIRE") == "1" {
			t.Fatal("chromium is missing: make deps installs it")
		}
		t.Skip("chromium is missing")
	}
	sizes := []int{5000}
	if os.Getenv("FAULTCTL_SCREENSHOTS") != "" {
		sizes = []int{10, 5000}
	}
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			g := NewRegistry("serve", nil)
			run, e := begin(t, g, `{fault: "reset:at=request=2", target: {to: ":5432", percent: 50}}`)
			slow, _ := begin(t, g, delay)
			at := time.Now()
			for i := range n {
				ends := event.Ends{Client: fmt.Sprintf("10.0.0.1:%d", 40000+i), Server: "10.0.0.5:5432"}
				g.table.add(1, "reset", event.Stamp(at.Add(time.Duration(i)*time.Microsecond), event.Flow{Flow: ends, Ordinal: uint64(i)}))
				if i%3 == 0 {
					g.table.add(1, "reset", event.Stamp(at.Add(time.Duration(i)*time.Microsecond), event.Fired{Flow: ends, Ordinal: uint64(i), Fault: "reset", Action: "rst", Reason: "reset"}))
				}
			}
			for range 30 {
				g.ring.add("reset", event.Stamp(at, event.Fired{Fault: "reset"}))
			}
			api := Guard(WithPage(g.Handler()), "secret")
			results, asked := make(chan []byte, 4), atomic.Bool{}
			mux := http.NewServeMux()
			frame := func(w http.ResponseWriter, _ *http.Request) { // the page, without what keeps others from showing it
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				w.Write(page)
				io.WriteString(w, strings.ReplaceAll(checks, "WANT", fmt.Sprint(n)))
			}
			mux.HandleFunc("GET /frame", frame)
			mux.HandleFunc("GET /stop", frame)
			mux.HandleFunc("GET /frames", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				fmt.Fprint(w, `<!doctype html><iframe style="border:0;width:390px;height:844px" src="/frame#token=secret"></iframe>`)
			})
			mux.HandleFunc("POST /result", func(_ http.ResponseWriter, r *http.Request) {
				text, _ := io.ReadAll(r.Body)
				results <- text
			})
			mux.HandleFunc("GET /looked", func(w http.ResponseWriter, _ *http.Request) {
				time.Sleep(4 * time.Second)
				w.WriteHeader(http.StatusNoContent)
			})
			mux.HandleFunc("GET /picture", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				w.Write(page)
				io.WriteString(w, `<img hidden src="/looked">`) // a picture is taken when all is loaded
			})
			mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/process" && r.Header.Get("Authorization") == "Bearer secret" {
					asked.Store(true)
				}
				api.ServeHTTP(w, r)
			})
			srv := httptest.NewServer(mux)
			t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
			browse := func(until func(gone <-chan error) bool, args ...string) {
				t.Helper()
				for range 3 { // a browser may hang on a busy machine
					profile, err := os.MkdirTemp("", "faultctl-browser")
					if err != nil {
						t.Fatal(err)
					}
					cmd := exec.Command(chromium, append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
						"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--user-data-dir=" + profile}, args...)...)
					cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
					gone, ended := make(chan error, 1), make(chan struct{})
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					go func() { gone <- cmd.Wait(); close(ended) }()
					done := until(gone)
					syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // with those that it started
					<-ended
					os.RemoveAll(profile) // one of them may still be about to write
					if done {
						return
					}
				}
				t.Fatal("the browser did not do it")
			}
			if dir := os.Getenv("FAULTCTL_SCREENSHOTS"); dir != "" {
				for _, scheme := range []string{"light", "dark"} {
					for name, size := range map[string]string{"phone": "500,900", "desk": "1440,900"} {
						browse(func(gone <-chan error) bool { return <-gone == nil }, "--window-size="+size, "--blink-settings=preferredColorScheme="+map[string]string{"light": "1", "dark": "0"}[scheme],
							"--screenshot="+filepath.Join(dir, fmt.Sprintf("page-%d-%s-%s.png", n, name, scheme)), srv.URL+"/picture#token=secret")
					}
				}
			}
			// As it is: under its own policy the script runs, and has the token.
			browse(func(<-chan error) bool {
				for deadline := time.Now().Add(time.Minute); !asked.Load() && time.Now().Before(deadline); {
					time.Sleep(10 * time.Millisecond)
				}
				return asked.Load()
			}, srv.URL+"/#token=secret")
			for _, at := range []struct {
				width int
				path  string
			}{{390, "/frames"}, {1440, "/stop#token=secret"}} {
				width, path := at.width, at.path
				run.Resume()
				slow.Resume()
				var text []byte
				browse(func(<-chan error) bool {
					select {
					case text = <-results:
						return true
					case <-time.After(time.Minute):
						return false
					}
				}, "--window-size=1440,900", srv.URL+path)
				var seen struct {
					Width, Listed, InDocument, Filtered             int
					Scroll, Sort                                    float64
					First, Error                                    string
					Out                                             []string
					Struck, Spared, Paused, Share, Stopped, Address bool
				}
				if err := json.Unmarshal(text, &seen); err != nil {
					t.Fatalf("%v: %s", err, text)
				}
				t.Logf("%s", text)
				if path == "/stop#token=secret" && !seen.Stopped {
					t.Error("the red button does not stop the runs")
				}
				if seen.Error != "" || seen.Listed != n || seen.InDocument > 60 || len(seen.Out) > 0 || seen.First != "10.0.0.1:40000" || seen.Filtered != 1 || !seen.Struck || !seen.Spared || !seen.Paused || !seen.Share || seen.Address || width < 1000 && seen.Width != width {
					t.Errorf("at %d: %s", width, text)
				}
				if seen.Scroll > 250 || seen.Sort > 3000 {
					t.Errorf("at %d: a step of scrolling takes %.1f ms, sorting %.0f ms", width, seen.Scroll, seen.Sort)
				}
			}
			if !slices.Contains(e.asked, "strike 10.0.0.1:40007 10.0.0.5:5432") || !slices.Contains(e.asked, "spare 10.0.0.1:40007 10.0.0.5:5432") {
				t.Errorf("%q", e.asked)
			}
			if p := *run.Spec().Target.Percent; p != 30 {
				t.Errorf("percent=%v", p)
			}
			<-run.Done() // the red button
			<-slow.Done()
		})
	}
}
