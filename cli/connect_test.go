package cli

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// TestConnect joins standard input and output to a socket: all that is written
// arrives, the end of it too, and what is answered then is printed as it is.
func TestConnect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			heard <- err.Error()
			return
		}
		defer c.Close()
		all, _ := io.ReadAll(c)
		heard <- string(all)
		c.Write([]byte("an\x1banswer"))
	}()
	w := newWorld(t)
	w.stdin = strings.NewReader("asked\x00")
	if code := w.faultctl("connect " + path); code != 0 {
		t.Errorf("exit %d: %s", code, &w.err)
	}
	if got := <-heard; got != "asked\x00" || w.out.String() != "an\x1banswer" {
		t.Errorf("the socket heard %q, and %q was printed", got, w.out.String())
	}
}

// TestConnectErrors says what is wrong where there is no socket.
func TestConnectErrors(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	for args, want := range map[string]string{
		"":            "connect: which SOCKET?",
		"a b":         `connect: unexpected argument "b"`,
		"" + gone:     "connect to " + gone + ": ",
		gone + " --x": "connect: unknown flag --x",
	} {
		w := newWorld(t)
		if code := w.faultctl("connect " + args); code == 0 || !strings.Contains(w.err.String(), want) {
			t.Errorf("connect %s: exit %d, %s", args, code, &w.err)
		}
	}
}
