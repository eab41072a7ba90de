package cli

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// handOver gives this process the listener as systemd does, and returns its descriptor.
func handOver(t *testing.T, l interface{ File() (*os.File, error) }) int {
	t.Helper()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	return fd
}

// TestActivated holds that a unix socket is taken from systemd, that an address is not,
// and that what was meant for another process is left alone.
func TestActivated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	fd := handOver(t, l.(*net.UnixListener))
	all, err := activated(fd)
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler()}
	go srv.Serve(all[0])
	client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	if resp, err := client.Get("http://x/"); err != nil || resp.StatusCode != 404 {
		t.Errorf("%v, %v", resp, err)
	}
	srv.Close()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the socket is systemd's, and removed: %v", err)
	}

	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	if all, err := activated(handOver(t, tcp.(*net.TCPListener))); len(all) != 0 || err == nil || !strings.Contains(err.Error(), "must be a path") {
		t.Error(all, err)
	}
	t.Setenv("LISTEN_PID", "1")
	if all, err := activated(fd); len(all) != 0 || err != nil {
		t.Error(all, err)
	}
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("LISTEN_FDS", "1")
	if _, err := activated(1 << 20); err == nil {
		t.Error("a descriptor that is not open is taken")
	}
}

// TestServeUntilEOF holds that it ends, with its runs, when its input does.
func TestServeUntilEOF(t *testing.T) {
	w := newWorld(t)
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	w.stdin = in
	do, code := serving(t, w, "--until-eof")
	if status, body := do("PUT", "/v1/experiments/slow", `{"fault":"delay:by=50ms","target":{"to":":5432"}}`); status != 201 {
		t.Fatal(status, body)
	}
	select {
	case got := <-code:
		t.Fatalf("exit %d before the end of its input", got)
	case <-time.After(20 * time.Millisecond):
	}
	out.Close()
	if got := <-code; got != exitOK || !strings.Contains(w.out.String(), "slow: ended after") {
		t.Errorf("exit %d\n%s%s", got, &w.out, &w.err)
	}
}
