package clients

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"text/template"
	"time"

	"github.com/faultctl/faultctl/lab"
)

// server is the server's address.
func (c *trial) server() string {
	if c.cause.v6 {
		return c.lab.Server.V6.String()
	}
	return c.lab.Server.V4.String()
}

// host is the server's address as it is written before a port.
func (c *trial) host() string {
	if c.cause.v6 {
		return "[" + c.server() + "]"
	}
	return c.server()
}

// config writes a configuration file of testdata.
func (c *trial) config(name string) string {
	c.t.Helper()
	tmpl, err := template.ParseFiles(filepath.Join("testdata", name))
	if err != nil {
		c.t.Fatal(err)
	}
	var b bytes.Buffer
	err = tmpl.Execute(&b, map[string]any{"Dir": c.dir, "Server": c.host(), "Limit": c.cause.seconds()})
	if err != nil {
		c.t.Fatal(err)
	}
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// serveNginx starts nginx on the server, and behind it the application that
// serves what takes time.
func (c *trial) serveNginx() {
	c.t.Helper()
	ln, err := net.Listen("unix", filepath.Join(c.dir, "app"))
	if err != nil {
		c.t.Fatal(err)
	}
	stop := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/sink", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "fine\n")
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(30 * time.Second):
		case <-stop:
		}
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush() // so that the response has no length
		io.WriteString(w, "fine\n")
	})
	app := &http.Server{Handler: mux}
	go app.Serve(ln)
	c.t.Cleanup(func() { close(stop); app.Close() })
	c.serve(c.lab.Server, c.host()+":80", exec.Command("nginx", "-p", c.dir, "-e", filepath.Join(c.dir, "nginx.log"), "-c", c.config("nginx.conf")))
}

func (c *trial) serve(node *lab.Node, at string, cmd *exec.Cmd) {
	c.t.Helper()
	serve(c.t, node, at, syscall.SIGTERM, cmd)
}

const proxyAt = "127.0.0.1:8080"

func (c *trial) serveNginxProxy() {
	c.t.Helper()
	c.serveNginx()
	c.serve(c.lab.Client, proxyAt, exec.Command("nginx", "-p", c.dir, "-e", filepath.Join(c.dir, "nginx-proxy.log"), "-c", c.config("nginx-proxy.conf")))
}

func (c *trial) serveHAProxy() {
	c.t.Helper()
	c.serveNginx()
	c.serve(c.lab.Client, proxyAt, exec.Command("haproxy", "-db", "-f", c.config("haproxy.cfg")))
}

func (c *trial) serveRedis() {
	c.t.Helper()
	keepalive := "0"
	if c.cause.play == wait { // redis-cli's own keepalive probes start after 15 s
		keepalive = "1"
	}
	c.serve(c.lab.Server, c.host()+":6379", exec.Command("redis-server",
		"--bind", c.server(), "--port", "6379", "--dir", c.dir, "--save", "", "--protected-mode", "no",
		"--tcp-keepalive", keepalive))
}

// clusters are the databases that no test uses at the moment.
var clusters struct {
	sync.Mutex
	free []string
	made int
}

func (c *trial) servePostgres() {
	c.t.Helper()
	as, err := postgresUser()
	if err != nil {
		c.t.Fatal(err)
	}
	dir := c.cluster(as)
	serve(c.t, c.lab.Server, c.host()+":5432", syscall.SIGINT, postgres(dir, c.server(), as))
}

// cluster reserves a database until the end of the test.
func (c *trial) cluster(as *syscall.Credential) (dir string) {
	c.t.Helper()
	clusters.Lock()
	if n := len(clusters.free); n > 0 {
		dir, clusters.free = clusters.free[n-1], clusters.free[:n-1]
	} else {
		clusters.made++
		dir = filepath.Join(base, fmt.Sprintf("postgres%d", clusters.made))
	}
	clusters.Unlock()
	if _, err := os.Stat(dir); err != nil {
		if err := newCluster(dir, as); err != nil {
			c.t.Fatal(err)
		}
	}
	c.t.Cleanup(func() { // after the server has ended
		clusters.Lock()
		defer clusters.Unlock()
		clusters.free = append(clusters.free, dir)
	})
	return dir
}

// newCluster makes a database in that directory.
func newCluster(dir string, as *syscall.Credential) error {
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, int(as.Uid), int(as.Gid))); err != nil {
		return err
	}
	cmd := exec.Command(postgresProgram("initdb"), "-D", dir, "-U", "postgres", "--auth=trust", "--no-sync", "--no-locale", "-E", "UTF8")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := start(nil, cmd)
	if err != nil {
		return err
	}
	if !p.within(time.Minute) || p.err != nil {
		return fmt.Errorf("initdb: %w\n%s", p.err, &out)
	}
	hba, err := os.OpenFile(filepath.Join(dir, "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = hba.WriteString("host all all all trust\n")
	return errors.Join(err, hba.Close())
}

// postgres is the server of a database.
func postgres(dir, at string, as *syscall.Credential) *exec.Cmd {
	cmd := exec.Command(postgresProgram("postgres"), "-D", dir, "-p", "5432",
		"-c", "listen_addresses="+at, "-c", "unix_socket_directories=", "-c", "fsync=off",
		"-c", "shared_buffers=16MB", "-c", "autovacuum=off", "-c", "log_destination=stderr")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	cmd.Dir = dir
	return cmd
}
