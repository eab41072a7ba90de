package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serving starts serve, and returns a client of its socket when it listens.
func serving(t *testing.T, w *world, flags string) (do func(method, path, body string) (int, string), code <-chan int) {
	t.Helper()
	w.timers = never
	w.interrupt = func() { w.signal <- syscall.SIGTERM }
	socket := filepath.Join(t.TempDir(), "s")
	c := make(chan int, 1)
	go func() { c <- w.faultctl("serve --socket " + socket + " " + flags) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) }}}
	do = func(method, path, body string) (int, string) {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), method, "http://x"+path, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if status, _ := do("GET", "/v1/process", ""); status == 200 {
			st, err := os.Stat(socket)
			if err != nil || st.Mode().Perm() != 0o660 {
				t.Errorf("%v, %v", st, err)
			}
			return do, c
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not listen:\n%s%s", &w.out, &w.err)
		}
	}
}

// TestServe holds that others start, change and stop runs, that it says so, and that
// its runs end with it.
func TestServe(t *testing.T) {
	w := newWorld(t)
	token := filepath.Join(t.TempDir(), "token")
	do, code := serving(t, w, "--listen 127.0.0.1:0 --token-file "+token)
	if st, err := os.Stat(token); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if status, body := do("PUT", "/v1/experiments/slow?lease=1h", `{"fault":"delay:by=50ms","target":{"to":":5432"}}`); status != 201 || !strings.Contains(body, `"state":"running"`) {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := do("PATCH", "/v1/experiments/slow", `{"target":{"percent":20}}`); status != 200 || !strings.Contains(body, `"percent":"20"`) {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := do("POST", "/v1/experiments/slow/pause", ""); status != 200 {
		t.Error(status)
	}
	if status, body := do("PUT", "/v1/experiments/bad", `{"fault":"reset","report":"/tmp/x.html"}`); status != 422 || !strings.Contains(body, "writes no files") {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := do("DELETE", "/v1/process", ""); status != 200 {
		t.Error(status)
	}
	if got := <-code; got != 143 {
		t.Errorf("exit %d\n%s", got, &w.err)
	}
	by := fmt.Sprintf("by process %d of user %d", os.Getpid(), os.Geteuid())
	for _, says := range []string{"listening on http://127.0.0.1:", "slow: started: delay:by=50ms", "slow: changed percent=20 " + by, "slow: paused " + by, "slow: ended after"} {
		if !strings.Contains(w.out.String(), says) {
			t.Errorf("it does not say %q:\n%s", says, &w.out)
		}
	}
	if _, err := os.Stat(token); err == nil {
		t.Error("the token is left behind")
	}
}

// curlLine is a request as docs/CONTROL.md shows it.
var curlLine = regexp.MustCompile(`(?m)^curl --unix-socket /run/faultctl\.sock -X ([A-Z]+) '?http://x([^ '\n]+)'?(?: --json '([^'\n]+)')?$`)

// TestServePage holds that the requests which docs/CONTROL.md shows work, one after the
// other, and that the API describes itself where the page says.
func TestServePage(t *testing.T) {
	page, err := os.ReadFile("../docs/CONTROL.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := curlLine.FindAllStringSubmatch(string(page), -1)
	if n := strings.Count(string(page), "\ncurl "); len(lines) != n || n < 4 {
		t.Fatalf("%d of %d requests are understood", len(lines), n)
	}
	do, code := serving(t, newWorld(t), "")
	for _, l := range lines {
		if status, body := do(l[1], l[2], l[3]); status/100 != 2 {
			t.Errorf("%s: %d %s", l[0], status, body)
		}
	}
	if status, body := do("GET", "/openapi.json", ""); status != 200 || !strings.Contains(body, "/v1/experiments/{name}") {
		t.Errorf("/openapi.json: %d %.200s", status, body)
	}
	do("DELETE", "/v1/process", "")
	<-code
}

// TestServeIdle holds that it ends when nobody needs it.
func TestServeIdle(t *testing.T) {
	w := newWorld(t)
	_, code := serving(t, w, "--idle-exit 100ms -o json")
	if got := <-code; got != exitOK {
		t.Errorf("exit %d\n%s", got, &w.err)
	}
}

// TestServeRefusals holds what is refused, and what the message says.
func TestServeRefusals(t *testing.T) {
	for line, says := range map[string]string{
		"serve": "Give --socket, --listen or --toxiproxy",
		"serve --listen 0.0.0.0:0 --token-file /tmp/x":   "--listen 0.0.0.0:0: other machines could reach that address",
		"serve --listen 10.0.0.1:0 --token-file /tmp/x":  "other machines",
		"serve --listen [::]:0 --token-file /tmp/x":      "other machines",
		"serve --listen 127.0.0.1:0":                     "needs --token-file",
		"serve --listen nonsense --token-file /tmp/x":    "--listen nonsense: it is an address and a port",
		"serve --socket /nowhere/at/all":                 "listen on /nowhere/at/all",
		"serve --socket x --idle-exit 5":                 "--idle-exit 5: it is a duration",
		"serve --listen 127.0.0.1:0 --token-file /x/y/z": "write /x/y/z: no such file or directory",
	} {
		w := newWorld(t)
		if code := w.faultctl(line); code == exitOK || !strings.Contains(w.err.String(), says) {
			t.Errorf("%s: exit %d, want %q in\n%s", line, code, says, &w.err)
		}
	}
}

// TestListenSocket holds that the socket of a process that is gone is replaced, and
// that of one that answers, or another file, is not.
func TestListenSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := listenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenSocket(path); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Error(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if l, err = listenSocket(path); err != nil {
		t.Fatal(err)
	}
	l.Close()
	os.WriteFile(path, nil, 0o600)
	if _, err := listenSocket(path); err == nil {
		t.Error("it takes the place of a file")
	}
}
