package clients

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// program is a client, and the server that it talks to.
type program struct {
	name    string
	needs   []string // programs
	request string   // the trigger of its first request; "" means request
	serve   func(c *trial)
	command func(c *trial) *exec.Cmd
	never   func(cause) bool // true if it cannot do what the cause needs
}

var programs = []program{
	{name: "Python socket", needs: []string{"python3", "nginx"}, serve: (*trial).serveNginx, command: script("python3", "raw.py")},
	{name: "Python http.client", needs: []string{"python3", "nginx"}, serve: (*trial).serveNginx, command: script("python3", "client.py")},
	{name: "Java Socket", needs: []string{"java", "nginx"}, serve: (*trial).serveNginx, command: java("Raw")},
	{name: "Java HttpClient", needs: []string{"java", "nginx"}, serve: (*trial).serveNginx, command: java("Client"), never: noKeepalive},
	{name: "Node net.Socket", needs: []string{"node", "nginx"}, serve: (*trial).serveNginx, command: script("node", "raw.js")},
	{name: "Node http, keep-alive agent", needs: []string{"node", "nginx"}, serve: (*trial).serveNginx, command: script("node", "client.js")},
	{name: "Node fetch", needs: []string{"node", "nginx"}, serve: (*trial).serveNginx, command: script("node", "fetch.js"), never: noKeepalive},
	{name: "Go net/http", needs: []string{"nginx"}, serve: (*trial).serveNginx, command: goClient("keep")},
	{name: "Go net/http, no keep-alive", needs: []string{"nginx"}, serve: (*trial).serveNginx, command: goClient("close"), never: noReuse},
	{name: "curl", needs: []string{"curl", "nginx"}, serve: (*trial).serveNginx, command: curl(false)},
	{name: "curl through nginx", needs: []string{"curl", "nginx"}, serve: (*trial).serveNginxProxy, command: curl(true)},
	{name: "curl through HAProxy", needs: []string{"curl", "nginx", "haproxy"}, serve: (*trial).serveHAProxy, command: curl(true)},
	{name: "redis-cli", needs: []string{"redis-cli", "redis-server"}, serve: (*trial).serveRedis, command: redisCLI, never: noEarly},
	{name: "psql", needs: []string{"psql", "postgres"}, request: "match=select", serve: (*trial).servePostgres, command: psql, never: noEarly},
}

// What some clients cannot do.
func noKeepalive(c cause) bool { return c.play == wait }             // TCP keepalive cannot be turned on, or not with short intervals
func noReuse(c cause) bool     { return c.fault() == "idle-expire" } // it keeps no idle connections
func noEarly(c cause) bool     { return c.play == early }            // its server never responds before it has read the request

// body is what an upload carries.
var body = bytes.Repeat([]byte("x"), 8<<20)

// path is what the client requests from nginx.
func (c *trial) path() string {
	return map[play]string{call: "/", end: "/stream", upload: "/sink", early: "/early", wait: "/slow"}[c.cause.play]
}

// arguments are those of the clients in testdata: host, port, play, path, pause
// and timeout.
func (c *trial) arguments() []string {
	does := c.cause.play
	if does == early {
		does = upload
	}
	return []string{
		c.server(), "80", string(does), c.path(),
		strconv.FormatFloat(c.cause.pause, 'f', -1, 64), strconv.Itoa(c.cause.seconds()),
	}
}

func script(interpreter, file string) func(c *trial) *exec.Cmd {
	return func(c *trial) *exec.Cmd {
		return exec.Command(resolve(interpreter), append([]string{filepath.Join("testdata", file)}, c.arguments()...)...)
	}
}

// java runs a class of testdata, compiled if there is a compiler.
func java(class string) func(c *trial) *exec.Cmd {
	return func(c *trial) *exec.Cmd {
		options := []string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"}
		what := []string{filepath.Join("testdata", class+".java")}
		if classes := classes(); classes != "" {
			what = []string{"-cp", classes, class}
		}
		return exec.Command("java", append(append(options, what...), c.arguments()...)...)
	}
}

var classes = sync.OnceValue(func() string {
	if _, err := exec.LookPath("javac"); err != nil {
		return ""
	}
	dir := filepath.Join(base, "classes")
	sources, _ := filepath.Glob("testdata/*.java")
	if out, err := exec.Command("javac", append([]string{"-d", dir}, sources...)...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "javac: %v\n%s", err, out)
		return ""
	}
	return dir
})

// goClient runs the test binary as a client.
func goClient(kind string) func(c *trial) *exec.Cmd {
	return func(c *trial) *exec.Cmd {
		cmd := exec.Command("/proc/self/exe", c.arguments()...)
		cmd.Env = append(os.Environ(), goClientEnv+"="+kind, "GORACE=atexit_sleep_ms=0")
		return cmd
	}
}

func curl(proxied bool) func(c *trial) *exec.Cmd {
	return func(c *trial) *exec.Cmd {
		at, limit := c.host(), c.cause.seconds()
		if proxied {
			at, limit = proxyAt, limit*2+3 // the proxy's timeouts expire first
		}
		url := "http://" + at + c.path()
		args := []string{"-sSf", "--fail-early", "--connect-timeout", strconv.Itoa(limit), "-m", strconv.Itoa(limit),
			"-o", "/dev/null", "-w", "HTTP %{http_code}\n", url}
		switch c.cause.play {
		case call:
			args = append(args, "-o", "/dev/null", url)
			if c.cause.pause > 0 {
				args = append(args, "--rate", fmt.Sprintf("%d/m", int(60/c.cause.pause)))
			}
		case upload, early:
			args = append(args, "-H", "Expect:", "-X", "POST", "-T", c.file())
		case wait:
			args = append(args, "--keepalive-time", "1")
		}
		return exec.Command("curl", args...)
	}
}

// file writes the file to upload and returns its name.
func (c *trial) file() string {
	name := filepath.Join(c.dir, "upload")
	if err := os.WriteFile(name, body, 0o600); err != nil {
		c.t.Fatal(err)
	}
	return name
}

func redisCLI(c *trial) *exec.Cmd {
	cmd := exec.Command("redis-cli", "-h", c.server())
	switch c.cause.play {
	case call:
		cmd.Args = append(cmd.Args, "-r", "2", "-i", strconv.FormatFloat(c.cause.pause, 'f', -1, 64), "PING")
	case end:
		cmd.Args = append(cmd.Args, "-r", "2", "-i", "0.3", "QUIT")
	case upload, early:
		cmd.Args = append(cmd.Args, "-x", "SET", "key")
		cmd.Stdin = bytes.NewReader(body)
	case wait:
		cmd.Args = append(cmd.Args, "BLPOP", "key", "30")
	}
	return cmd
}

func psql(c *trial) *exec.Cmd {
	limit := c.cause.seconds()
	conninfo := fmt.Sprintf("host=%s user=postgres dbname=postgres sslmode=disable gssencmode=disable connect_timeout=%d",
		c.server(), limit)
	if c.cause.limit == 0 { // longer than connect_timeout, which would race with it
		conninfo += fmt.Sprintf(" tcp_user_timeout=%d", 1000*(limit+1))
	}
	cmd := exec.Command(postgresProgram("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", conninfo)
	switch c.cause.play {
	case call:
		cmd.Args = append(cmd.Args, "-c", "select 1", "-c", fmt.Sprintf(`\! sleep %g`, c.cause.pause), "-c", "select 1")
	case end:
		cmd.Args = append(cmd.Args, "-c", "select pg_terminate_backend(pg_backend_pid())")
	case upload, early:
		cmd.Args = append(cmd.Args, "-f", "-")
		cmd.Stdin = strings.NewReader("select length('" + string(body) + "');\n")
	case wait:
		cmd.Args = append(cmd.Args, "-c", "select pg_sleep(30)")
	}
	return cmd
}

// missing lists the programs that this one needs and that are not installed.
func (p program) missing() (names []string) {
	for _, name := range p.needs {
		path := name
		if name == "postgres" || name == "psql" {
			path = postgresProgram(name)
		}
		if _, err := exec.LookPath(path); err != nil {
			names = append(names, name)
			continue
		}
		if name == "postgres" {
			if _, err := postgresUser(); err != nil {
				names = append(names, fmt.Sprintf("postgres (%v)", err))
			}
		}
	}
	return names
}

// resolve finds the interpreter behind a wrapper script, which would be slow.
func resolve(name string) string {
	if name != "python3" {
		return name
	}
	return python()
}

var python = sync.OnceValue(func() string {
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return "python3"
	}
	return strings.TrimSpace(string(out))
})

// postgresProgram finds a program of PostgreSQL, which Debian keeps out of PATH.
func postgresProgram(name string) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return name
	}
	return found[len(found)-1]
}

// postgresUser is the user that the database runs as: it refuses to run as root.
var postgresUser = sync.OnceValues(func() (*syscall.Credential, error) { return userNamed("postgres") })

// userNamed is a user that a server runs as.
func userNamed(name string) (*syscall.Credential, error) {
	if b, _ := os.ReadFile("/proc/self/uid_map"); !strings.Contains(string(b), "4294967295") {
		return nil, fmt.Errorf("it needs a user other than root, which a user namespace does not have")
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// require fails or skips a test whose programs are missing.
func (p program) require(t *testing.T) {
	t.Helper()
	missing := p.missing()
	switch {
	case len(missing) == 0:
	case os.Getenv("FAULTCTL_REQUIRE") == "1":
		t.Fatalf("missing: %s: make deps installs it", strings.Join(missing, ", "))
	default:
		t.Skipf("missing: %s: make deps installs it", strings.Join(missing, ", "))
	}
}
