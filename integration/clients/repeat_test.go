package clients

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// resetsSecond is a server on loopback that answers the first request of each
// connection, and the second one with a RST, and counts connections.
func resetsSecond(t *testing.T) (addr string, connections func() int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	n := 0
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			n++
			mu.Unlock()
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				if _, err := http.ReadRequest(r); err == nil {
					conn.(*net.TCPConn).SetLinger(0)
				}
			}()
		}
	}()
	return l.Addr().String(), func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// TestNodeDoesNotRepeat holds what docs/CLIENTS.md says of Node's agent: a GET that
// meets a reset on a connection that was used before is an error, and not repeated.
func TestNodeDoesNotRepeat(t *testing.T) {
	node := tool(t, "node")
	addr, connections := resetsSecond(t)
	_, port, _ := net.SplitHostPort(addr)
	out, err := exec.Command(node, "-e", `
const http = require('http'), agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
let n = 0;
(function request() {
  const req = http.get({ host: '127.0.0.1', port: `+port+`, agent }, (res) => {
    res.resume();
    res.on('end', () => ++n < 2 ? setImmediate(request) : agent.destroy());
  });
  req.on('error', (e) => { console.log(e.code, req.reusedSocket); agent.destroy(); });
})();`).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ECONNRESET true" || connections() != 1 {
		t.Errorf("%q, %v, %d connections", out, err, connections())
	}
}

// TestHAProxyDoesNotRepeat holds what docs/CLIENTS.md says of HAProxy: it closes the
// client's connection without an answer.
func TestHAProxyDoesNotRepeat(t *testing.T) {
	haproxy := tool(t, "haproxy")
	addr, connections := resetsSecond(t)
	dir := t.TempDir()
	socket, config := filepath.Join(dir, "in"), filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(config, []byte("global\n\tnbthread 1\ndefaults\n\tmode http\n\tretries 1\n\ttimeout connect 5s\n\ttimeout server 5s\n\ttimeout client 30s\n"+
		"frontend in\n\tbind "+socket+"\n\tdefault_backend out\nbackend out\n\tserver backend "+addr+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(haproxy, "-db", "-f", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	var conn net.Conn
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var err error
		if conn, err = net.Dial("unix", socket); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	var got []string
	for range 2 {
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			got = append(got, err.Error())
			continue
		}
		got = append(got, resp.Status)
		buf := make([]byte, 2)
		resp.Body.Read(buf)
		resp.Body.Close()
	}
	if len(got) != 2 || got[0] != "200 OK" || !strings.Contains(got[1], "EOF") || connections() != 1 {
		t.Errorf("%q, %d connections", got, connections())
	}
}

// tool is the path of a program that a test needs.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("FAULTCTL_REQUIRE") == "1" {
			t.Fatalf("%s is missing: make deps installs it", name)
		}
		t.Skipf("%s is missing", name)
	}
	return path
}
