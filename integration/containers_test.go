package integration

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/lab"
)

// engine is a real container engine that belongs to the test: it has its own
// data, socket, mounts and network, and ends with the test.
type engine struct {
	t      *testing.T
	socket string
	cgroup string // the parent of its containers' cgroups
	talker string // the ID of its image
}

// engines lists the engines that are tested. Each is a command line for sh: $DIR
// is the engine's directory, $CGROUP the name of its cgroup.
var engines = map[string]struct {
	program, line string
	end           syscall.Signal // Podman's containers do not depend on its service
}{
	"Docker": {"dockerd", `exec dockerd --data-root $DIR/root --exec-root $DIR/exec --pidfile $DIR/pid -H unix://$DIR/engine.sock
		--iptables=false --ip6tables=false --bridge=none --storage-driver vfs --cgroup-parent $CGROUP`, syscall.SIGTERM},
	"Podman": {"podman", `exec podman --root $DIR/root --runroot $DIR/exec --storage-driver vfs --cgroup-manager cgroupfs --events-backend file
		--runtime runc system service -t 0 unix://$DIR/engine.sock`, syscall.SIGKILL},
}

// startEngine starts an engine, or skips the test if it is not installed or
// cannot run here.
func startEngine(t *testing.T, name string) *engine {
	t.Helper()
	if _, err := exec.LookPath(engines[name].program); err != nil {
		lacks(t, engines[name].program+" is not installed")
	}
	if !realRoot() {
		lacks(t, name+" needs root, outside of a user namespace")
	}
	dir, err := os.MkdirTemp("", "faultctl") // short: the path of a socket has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, socket: filepath.Join(dir, "engine.sock"), cgroup: fmt.Sprintf("faultctl-test-%d-%s", os.Getpid(), strings.ToLower(name))}
	const own = "mount --make-rprivate / && for d in /etc/docker /run/containers /run/libpod /run/netns /var/lib/cni; do [ ! -d $d ] || mount -t tmpfs none $d || exit; done; ip link set lo up\n"
	cmd := exec.Command("sh", "-ec", own+strings.ReplaceAll(engines[name].line, "\n", " "))
	cmd.Env = append(os.Environ(), "DIR="+dir, "CGROUP=/"+e.cgroup, "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	log, err := os.Create(filepath.Join(dir, "log")) // a file, because processes that the engine leaves behind would hold a pipe open
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	said := func() string {
		text, _ := os.ReadFile(log.Name())
		return string(text)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(engines[name].end)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s says:\n%s", name, said())
		}
		e.sweep()
		if !lab.Eventually(func() bool { return os.RemoveAll(dir) == nil }) {
			t.Errorf("%s: left behind", dir)
		}
	})
	for tries := 0; ; tries++ { // an engine starts slowly
		select {
		case <-ended:
			t.Fatalf("%s does not run:\n%s", name, said())
		default:
		}
		if _, err := e.try("GET", "/_ping", nil); err == nil {
			break
		} else if tries == 1200 {
			t.Fatalf("%s does not answer: %v\n%s", name, err, said())
		}
		time.Sleep(50 * time.Millisecond)
	}
	return e
}

// realRoot reports whether this is root of the machine, not of a user namespace.
func realRoot() bool {
	m, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && os.Geteuid() == 0 && strings.Join(strings.Fields(string(m)), " ") == "0 0 4294967295"
}

// sweep removes the cgroups of the engine. Processes that were killed may stay in
// them for a moment.
func (e *engine) sweep() {
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		tops, _ := filepath.Glob(pattern + e.cgroup)
		for _, top := range tops {
			if !lab.Eventually(func() bool {
				var dirs []string
				filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
					if err == nil && d.IsDir() {
						dirs = append(dirs, path)
					}
					return nil
				})
				slices.Reverse(dirs)
				for _, d := range dirs {
					os.Remove(d)
				}
				_, err := os.Stat(top)
				return errors.Is(err, fs.ErrNotExist)
			}) {
				e.t.Errorf("%s: left behind", top)
			}
		}
	}
}

// try makes a request to the engine.
func (e *engine) try(method, path string, body any) (map[string]any, error) {
	c := http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", e.socket)
		},
	}}
	var r io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case []byte:
		r, kind = bytes.NewReader(b), "application/x-tar"
	default:
		j, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(j)
	}
	req, err := http.NewRequest(method, "http://engine"+path, r)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", kind)
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 400 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	var answer map[string]any
	json.Unmarshal(text, &answer)
	return answer, err
}

func (e *engine) do(method, path string, body any) map[string]any {
	e.t.Helper()
	answer, err := e.try(method, "/v1.41"+path, body)
	if err != nil {
		e.t.Fatal(err)
	}
	return answer
}

// image builds the image of the talker.
func (e *engine) image() {
	e.t.Helper()
	program := filepath.Join(e.t.TempDir(), "talker")
	build := exec.Command("go", "build", "-o", program, "./testdata/talker")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		e.t.Fatalf("build the talker: %v\n%s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		e.t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Name: "talker", Mode: 0o755, Size: int64(len(content))})
	w.Write(content)
	w.Close()
	answer := e.do("POST", "/images/create?fromSrc=-", b.Bytes())
	for _, key := range []string{"id", "status"} { // Podman's, Docker's
		if id, ok := answer[key].(string); ok {
			e.talker = strings.TrimPrefix(id, "sha256:")
			return
		}
	}
	e.t.Fatalf("import the image: %v", answer)
}

// run creates and starts a container.
func (e *engine) run(name, network string) {
	e.t.Helper()
	e.do("POST", "/containers/create?name="+name, map[string]any{
		"Image": e.talker, "Cmd": []string{"/talker"},
		"HostConfig": map[string]any{
			"NetworkMode": network, "CgroupParent": "/" + e.cgroup,
			"Ulimits": []map[string]any{{"Name": "nofile", "Soft": 512, "Hard": 512}, {"Name": "nproc", "Soft": 512, "Hard": 512}},
		},
	})
	e.t.Cleanup(func() { e.try("DELETE", "/v1.41/containers/"+name+"?force=true", nil) })
	e.do("POST", "/containers/"+name+"/start", nil)
}

// faultctl starts faultctl, with this engine as the only one.
func (e *engine) faultctl(w *testbed, args ...string) *process {
	return w.start("faultctl", append([]string{"inject", "reset:at=request", "-o", "json"}, args...)...)
}

// TestContainers strikes the connections of a container of a real engine, and
// follows it when it is restarted and re-created.
func TestContainers(t *testing.T) {
	t.Parallel()
	for name := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := startEngine(t, name)
			e.image()
			e.run("web", "none")
			w := newTestbed(t, atRouter, false)
			w.env = []string{"DOCKER_HOST=unix://" + e.socket}

			// A command in the container's network opens its own connections there.
			p := w.start("faultctl", "run", "reset:at=request", "-o", "json", "--container", "web", "--",
				"bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/5432 && echo hello >&3 && ! read -t 30 <&3 && exit 7")
			p.wait("fired")
			if ev := p.wait("ended"); ev["flows"] != 1.0 || ev["fired"] != 1.0 {
				t.Errorf("of the command's connections: %v", ev)
			}
			if code := p.end(); code != 7 {
				t.Errorf("exit %d\n%s", code, p.stderr.String())
			}

			p = e.faultctl(w, "--container", "web", "--to", ":5432")
			p.wait("ready")
			p.wait("fired")
			e.do("POST", "/containers/web/restart?t=0", nil)
			again := func(what string) {
				t.Helper()
				for {
					if ev := p.wait("target"); strings.HasPrefix(ev["says"].(string), "runs again") {
						break
					}
				}
				p.wait("ready")
				if ev := p.wait("fired"); !strings.HasSuffix(ev["flow"].(map[string]any)["server"].(string), ":5432") {
					t.Errorf("%s: %v", what, ev)
				}
			}
			again("restarted")
			e.do("DELETE", "/containers/web?force=true", nil)
			e.run("web", "none")
			again("re-created")
			inside := &lab.Node{Name: "web", NS: e.netns("web")}
			if got := tables(t, inside); len(got) != 1 {
				t.Errorf("tables in the container: %v", got)
			}
			p.cmd.Process.Signal(syscall.SIGINT)
			if code := p.end(); code != 130 {
				t.Errorf("exit %d\n%s", code, p.stderr.String())
			}
			gone(t, inside)

			e.run("host", "host")
			e.do("POST", "/containers/web/stop?t=0", nil)
			for _, c := range []struct {
				args string
				code int
				says string
			}{
				{"--container wbe", 2, `no such container, did you mean "web"?`},
				{"--container web", 2, "it is not running"},
				{"--container host", 6, "uses the host's, and every connection of the host would be struck"},
				{"--container host --to :5432 --dry-run", 0, ""},
			} {
				p := e.faultctl(w, strings.Fields(c.args)...)
				if code := p.end(); code != c.code || !strings.Contains(p.stderr.String(), c.says) {
					t.Errorf("%s: exit %d\n%s", c.args, code, p.stderr.String())
				}
			}
		})
	}
}

// netns opens the network namespace of a container.
func (e *engine) netns(name string) *os.File {
	e.t.Helper()
	pid := e.do("GET", "/containers/"+name+"/json", nil)["State"].(map[string]any)["Pid"].(float64)
	f, err := os.Open(fmt.Sprintf("/proc/%.0f/ns/net", pid))
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { f.Close() })
	return f
}
