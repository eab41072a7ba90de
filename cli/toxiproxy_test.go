package cli

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestToxiproxyArgs holds that a program of that name takes the flags of Toxiproxy's
// server.
func TestToxiproxyArgs(t *testing.T) {
	const level = " --log-level="
	for args, want := range map[string]string{
		"/toxiproxy": "/toxiproxy serve --toxiproxy=localhost:8474" + level + "warn",
		"toxiproxy-server -host=0.0.0.0 -port 9000":                         "toxiproxy-server serve --toxiproxy=0.0.0.0:9000" + level + "warn",
		"toxiproxy --config f.json -seed 7 -proxy-metrics -runtime-metrics": "toxiproxy serve --toxiproxy=localhost:8474" + level + "warn --proxies=f.json --seed=7 --proxy-metrics --runtime-metrics",
		"faultctl -host=0.0.0.0":                                            "faultctl -host=0.0.0.0",
	} {
		got, done, _ := toxiproxyArgs(strings.Fields(args), func(string) string { return "" }, io.Discard)
		if text := strings.Join(got, " "); done || text != want {
			t.Errorf("%s: %s, want %s", args, text, want)
		}
	}
	for args, want := range map[string]int{"toxiproxy -version": exitOK, "toxiproxy -h": exitOK, "toxiproxy -nonsense": exitUsage} {
		var out bytes.Buffer
		if _, done, code := toxiproxyArgs(strings.Fields(args), func(string) string { return "" }, &out); !done || code != want || out.Len() == 0 {
			t.Errorf("%s: %t, %d, %s", args, done, code, &out)
		}
	}
	for theirs, ours := range map[string]string{"": "warn", "TRACE": "debug", "info": "info", "panic": "error"} {
		if got := logLevelOf(theirs); got != ours {
			t.Errorf("%s: %s", theirs, got)
		}
	}
}

// TestServeToxiproxy holds that serve answers Toxiproxy's clients, with an address or
// without, and says where.
func TestServeToxiproxy(t *testing.T) {
	for _, flags := range []string{"--toxiproxy 127.0.0.1:0", "--toxiproxy=127.0.0.1:0 --proxy-metrics --seed 5"} {
		w := newWorld(t)
		w.timers = never
		code := make(chan int, 1)
		go func() { code <- w.faultctl("serve " + flags) }()
		var at []string
		for deadline := time.Now().Add(20 * time.Second); at == nil; time.Sleep(5 * time.Millisecond) {
			if at = regexp.MustCompile(`http://\S+`).FindStringSubmatch(w.out.String()); time.Now().After(deadline) {
				t.Fatalf("%s: %s%s", flags, &w.out, &w.err)
			}
		}
		resp, err := http.Get(at[0] + "/version")
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !strings.Contains(string(text), "2.") {
			t.Errorf("%s", text)
		}
		w.signal <- syscall.SIGTERM
		if got := <-code; got != 143 {
			t.Errorf("exit code %d\n%s", got, &w.err)
		}
	}
	for _, flags := range []string{"--toxiproxy nonsense", "--transparent --socket /tmp/x", "--toxiproxy --seed x", "--toxiproxy --proxies /nowhere", "--toxiproxy 127.0.0.1:0 more"} {
		w := newWorld(t)
		if got := w.faultctl("serve " + flags); got != exitUsage {
			t.Errorf("%s: %d\n%s", flags, got, &w.err)
		}
	}
}
