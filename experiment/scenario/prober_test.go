package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/cage"
)

// probe reads one probe of a file.
func probe(t *testing.T, text string) *Probe {
	t.Helper()
	if !strings.Contains(text, "timeout:") {
		text = "timeout: 1m, " + text
	}
	s, err := Parse("f", []byte("faults: [{fault: reset, duration: 1s}]\nprobes:\n  - {name: p, "+text+"}\n"))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return &s.Probes[0]
}

func noCage() (place.Cage, error) { return nil, errors.New("none") }

func looseCage() (place.Cage, error) { return cage.NewLoose(), nil }

// says tries a probe once and compares why it failed, if it did.
func says(t *testing.T, text, want string) {
	t.Helper()
	pr := NewProber(noCage, looseCage)
	defer pr.Close()
	err := pr.Try(t.Context(), probe(t, text))
	if got := fmt.Sprint(err); got != want && (want == "<nil>" || !strings.HasPrefix(got, want)) {
		t.Errorf("%s: %q, want %q", text, got, want)
	}
}

func TestProbeHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "all is well") })
	mux.HandleFunc("/down", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.Header.Get("X-Of"), body)
	})
	plain, secret := httptest.NewServer(mux), httptest.NewUnstartedServer(mux)
	secret.Config.ErrorLog = log.New(io.Discard, "", 0) // one certificate is to be refused
	secret.StartTLS()
	defer plain.Close()
	defer secret.Close()
	at := func(path string) string { return plain.URL + path }
	says(t, "http: "+at("/ok"), "<nil>")
	says(t, "http: {url: "+at("/ok")+", contains: is well}", "<nil>")
	says(t, "http: {url: "+at("/ok")+", contains: is bad}", `status 200, and the answer does not contain "is bad"`)
	says(t, "http: "+at("/down"), "status 503, want 200-299")
	says(t, "http: {url: "+at("/down")+", status: 500-599}", "<nil>")
	says(t, "http: {url: "+at("/ok")+", status: 204}", "status 200, want 204")
	says(t, "http: "+at("/moved"), "<nil>")
	says(t, "http: "+at("/broken"), "status 200, and the answer breaks off: the connection was closed")
	says(t, "timeout: 100ms, http: "+at("/slow"), "no answer within 100ms")
	says(t, "http: {url: "+at("/echo")+", method: PUT, headers: {Host: shop, X-Of: 7}, body: text, contains: PUT shop 7 text}", "<nil>")
	says(t, "http: "+secret.URL+"/ok", "tls: failed to verify certificate")
	says(t, "http: {url: "+secret.URL+"/ok, insecure: true}", "<nil>")
	says(t, "http: http://"+nobody(t), "connection refused")

	// A connection is kept where the file says so, and only there.
	for keep, want := range map[bool]int{true: 1, false: 3} {
		conns := map[string]bool{}
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { conns[r.RemoteAddr] = true }))
		pr, p := NewProber(noCage, looseCage), probe(t, fmt.Sprintf("http: {url: %s, keepalive: %v}", srv.URL, keep))
		for range 3 {
			if err := pr.Try(t.Context(), p); err != nil {
				t.Error(err)
			}
		}
		pr.Close()
		srv.Close()
		if len(conns) != want {
			t.Errorf("keepalive %v: %d connections", keep, len(conns))
		}
	}
}

func TestProbeTCP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				buf := make([]byte, 5)
				io.ReadFull(c, buf)
				switch string(buf) {
				case "PING\n":
					fmt.Fprint(c, "+PO")
					fmt.Fprint(c, "NG\r\n")
				case "BYE!\n":
					c.Close()
				}
			}()
		}
	}()
	at := `"` + ln.Addr().String() + `"`
	says(t, "tcp: "+at, "<nil>")
	says(t, "tcp: {address: "+at+`, send: "PING\n", expect: +PONG}`, "<nil>")
	says(t, "tcp: {address: "+at+`, send: "BYE!\n", expect: +PONG}`, "after 0 bytes: the connection was closed")
	says(t, "timeout: 100ms, tcp: {address: "+at+`, send: "HM?!\n", expect: +PONG}`, "no answer within 100ms")
	says(t, `tcp: "`+nobody(t)+`"`, "connect: connection refused")
}

// nobody returns an address on which nobody listens, nor will during the test.
func nobody(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	at := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := syscall.Bind(fd, at); err != nil { // without listen(2)
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}

func TestProbeCommand(t *testing.T) {
	says(t, "command: [\"true\"]", "<nil>")
	says(t, "command: exit 3", "exit status 3")
	says(t, "command: echo no rows >&2; exit 1", "exit status 1: no rows")
	says(t, `command: "printf '\\033[31mno rows\\033[0m\\r\\n\\033[0m\\n'; exit 1"`, "exit status 1: no rows")
	says(t, "command: [no-such-program-here]", `exec: "no-such-program-here": executable file not found in $PATH`)
	says(t, "command: kill -9 $$", "signal: killed")
	says(t, "timeout: 200ms, command: sleep 100", "no answer within 200ms")
	long := probe(t, "command: 'yes | head -c 100000; exit 1'")
	if err := NewProber(noCage, looseCage).Try(t.Context(), long); err == nil || len(err.Error()) > 300 {
		t.Errorf("%v", err)
	}

	// Whatever a try started is gone with it, however the try ends.
	for _, how := range []string{"exit 0", "exit 1", "sleep 100"} {
		mark := filepath.Join(t.TempDir(), "pid")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		p := probe(t, "timeout: 1m, command: 'sleep 1000 & echo $! > "+mark+"; "+how+"'")
		done := make(chan struct{})
		go func() {
			NewProber(noCage, looseCage).Try(ctx, p)
			close(done)
		}()
		var pid int
		eventually(t, "the command begins", func() bool {
			b, _ := os.ReadFile(mark)
			pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
			return pid > 0
		})
		if how == "sleep 100" {
			cancel()
		}
		<-done
		eventually(t, "the child is gone", func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // a zombie is gone
			return err != nil || strings.Contains(string(stat), ") Z") || syscall.Kill(pid, 0) != nil
		})
		cancel()
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// openCage is a cage that holds nothing.
type openCage struct{ started, emptied, closed int }

func (c *openCage) Owner() target.Owner { return target.Owner{} }
func (c *openCage) NetNS() *os.File     { return nil }
func (c *openCage) Start(cmd *exec.Cmd) (place.Process, error) {
	c.started++
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cage.Child(cmd), nil
}
func (c *openCage) Empty() error { c.emptied++; return errors.New("one is left") }
func (c *openCage) Close() error { c.closed++; return nil }

// Commands share one cage, which is emptied and given back; none is made where
// there is no command.
func TestProbeCage(t *testing.T) {
	made := 0
	box := &openCage{}
	pr := NewProber(func() (place.Cage, error) { made++; return box, nil }, looseCage)
	if err := pr.Close(); err != nil || made != 0 {
		t.Errorf("%v, %d cages", err, made)
	}
	p := probe(t, "command: [\"true\"]")
	for range 2 {
		if err := pr.Try(t.Context(), p); err != nil {
			t.Error(err)
		}
	}
	if err := pr.Close(); err == nil || err.Error() != "one is left" || made != 1 || *box != (openCage{2, 1, 1}) {
		t.Errorf("%v, %d cages, %+v", err, made, box)
	}
}
