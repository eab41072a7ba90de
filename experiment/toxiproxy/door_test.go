package toxiproxy

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// door is a server with an echoing upstream.
type door struct {
	t        *testing.T
	s        *Server
	url      string
	upstream string
}

func opened(t *testing.T, s *Server) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	h := httptest.NewServer(s.Handler())
	t.Cleanup(func() { h.Close(); s.Close(); l.Close() })
	return &door{t, s, h.URL, l.Addr().String()}
}

func (d *door) call(method, path, body string) (status int, answer string) {
	d.t.Helper()
	req, _ := http.NewRequestWithContext(d.t.Context(), method, d.url+path, strings.NewReader(body))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// must is call, and the answer must be that.
func (d *door) must(status int, method, path, body string) string {
	d.t.Helper()
	got, text := d.call(method, path, body)
	if got != status {
		d.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, got, text, status)
	}
	return text
}

// proxy makes one, and returns where it listens.
func (d *door) proxy(name string) string {
	d.t.Helper()
	var p Proxy
	json.Unmarshal([]byte(d.must(201, "POST", "/proxies", fmt.Sprintf(`{"name":%q,"listen":"127.0.0.1:0","upstream":%q}`, name, d.upstream))), &p)
	return p.Listen
}

func (d *door) dial(addr string) *net.TCPConn {
	d.t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		d.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(30 * time.Second))
	d.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// echoed sends and receives the same.
func (d *door) echoed(c net.Conn, text string) {
	d.t.Helper()
	got := make([]byte, len(text))
	if _, err := c.Write([]byte(text)); err != nil {
		d.t.Fatal(err)
	}
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		d.t.Fatalf("%q, %v, want %q", got, err, text)
	}
}
