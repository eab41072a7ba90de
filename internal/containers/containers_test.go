package containers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const id = "98fa9dff95bbfbfe034115367cd31b5bfa37147209c6a2d1a162745170917eb6"

// asPodman is what Podman 4.3 says about a container, reduced to the parts whose
// form differs from Docker's.
const asPodman = `{"Id":"` + id + `","Created":"2026-01-02T03:04:05.6Z","Path":"/prog","Args":["/prog"],
"State":{"Status":"running","Running":true,"Paused":false,"Restarting":false,"OOMKilled":false,"Dead":false,"Pid":4711,"ExitCode":0,"Error":"",
"StartedAt":"2026-01-02T03:04:06Z","FinishedAt":"0001-01-01T00:00:00Z","Health":{"Status":"","FailingStreak":0,"Log":null}},
"Name":"/web","HostConfig":{"NetworkMode":"%s","LogConfig":{"Type":"json-file","Config":null},"ConsoleSize":[0,0],"GroupAdd":[]},
"Config":{"Hostname":"98fa9dff95bb","ExposedPorts":{"80/tcp":{}},"Volumes":null,"Entrypoint":[],"StopSignal":"15","StopTimeout":10},
"NetworkSettings":{"Bridge":"","SandboxID":"","Ports":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]},"SandboxKey":"%s",
"GlobalIPv6Address":"","IPAddress":"10.88.0.3","MacAddress":"","Networks":{"podman":{"IPAMConfig":null,"Links":null,"Gateway":"","IPAddress":"10.88.0.3","GlobalIPv6Address":"","MacAddress":""}}}}`

// stand starts a fake engine with the given answers, at the socket of that name
// below run.
func stand(t *testing.T, run, socket, version string, answers map[string]string) {
	t.Helper()
	path := filepath.Join(run, socket)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", version)
		w.Header().Set("Content-Type", "application/json")
		p := strings.TrimPrefix(r.URL.Path, "/v"+version)
		switch text, ok := answers[p]; {
		case p == "/_ping":
			fmt.Fprint(w, "OK")
		case ok:
			fmt.Fprint(w, text)
			if p == "/events" {
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}
		case p == "/containers/json":
			fmt.Fprint(w, `[{"Id":"`+id+`","Names":["/web"]},{"Id":"0123","Names":["/db"]}]`)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message":"No such container","cause":"no such container","response":404}`)
		}
	})}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
}

func running(t *testing.T, network, sandbox string) map[string]string {
	return map[string]string{"/containers/web/json": fmt.Sprintf(asPodman, network, sandbox)}
}

// shortDir is a directory whose path is short enough for a socket in it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func environ(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestFind(t *testing.T) {
	run := shortDir(t)
	stand(t, run, "podman/podman.sock", "1.41", running(t, "bridge", "/run/netns/x"))
	stand(t, run, "user/1000/docker.sock", "1.51", map[string]string{})
	e := &Engines{Getenv: environ(map[string]string{"SUDO_UID": "1000"}), Run: run}
	want := &Container{
		ID: id, Name: "web", Engine: "unix://" + run + "/podman/podman.sock", Running: true, Pid: 4711, Started: "2026-01-02T03:04:06Z", Sandbox: "/run/netns/x",
	}
	got, err := e.Find(t.Context(), "web")
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	var none *NotFound
	if _, err := e.Find(t.Context(), "wbe"); !errors.As(err, &none) || !errors.Is(err, ErrNone) || strings.Join(none.Names, " ") != "web db web db" {
		t.Errorf("%v, %+v", err, none)
	}
	if got := e.Names(t.Context()); strings.Join(got, " ") != "web db web db" {
		t.Errorf("names %v", got)
	}
	if _, err := e.Find(t.Context(), " "); err == nil {
		t.Error("a container without a name was found")
	}
}

func TestFindKinds(t *testing.T) {
	run := shortDir(t)
	e := &Engines{Getenv: environ(map[string]string{"DOCKER_HOST": "unix://" + run + "/x.sock", "XDG_RUNTIME_DIR": "/nowhere"}), Run: "/nowhere"}
	stopped := strings.NewReplacer(`"Running":true`, `"Running":false`).Replace(asPodman)
	stand(t, run, "x.sock", "1.41", map[string]string{
		"/containers/host/json":    fmt.Sprintf(asPodman, "host", ""),
		"/containers/shared/json":  fmt.Sprintf(asPodman, "container:"+id, ""),
		"/containers/stopped/json": fmt.Sprintf(stopped, "none", ""),
		"/containers/broken/json":  `{"Id": 7}`,
	})
	for name, is := range map[string]func(c *Container) bool{
		"host":    func(c *Container) bool { return c.HostNetwork && c.SharedWith == "" && c.Pid == 4711 },
		"shared":  func(c *Container) bool { return !c.HostNetwork && c.SharedWith == id },
		"stopped": func(c *Container) bool { return !c.Running && c.Pid == 0 },
	} {
		if c, err := e.Find(t.Context(), name); err != nil || !is(c) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	if _, err := e.Find(t.Context(), "broken"); err == nil {
		t.Error("an answer that makes no sense was taken")
	}
}

// TestUnreachable checks that the error says for each socket why the engine
// cannot be reached.
func TestUnreachable(t *testing.T) {
	run := shortDir(t)
	dead := filepath.Join(run, "docker.sock") // somebody's who is gone
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: dead})
	}
	if err != nil {
		t.Fatal(err)
	}
	syscall.Close(fd)
	e := &Engines{Getenv: environ(nil), Run: run}
	want := "no container engine can be reached: unix://" + dead + " (nobody listens); unix://" + run + "/podman/podman.sock (not there)"
	if _, err := e.Find(t.Context(), "web"); !errors.Is(err, ErrNoEngine) || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	if os.Geteuid() != 0 { // root may
		stand(t, run, "podman/podman.sock", "1.41", nil)
		if err := os.Chmod(filepath.Join(run, "podman", "podman.sock"), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Find(t.Context(), "web"); !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%v", err)
		}
	}
	for err, says := range map[error]string{
		fs.ErrPermission:         "permission denied",
		context.DeadlineExceeded: "no answer within 5s",
		errors.New("on fire"):    "on fire",
	} {
		if got := why(fmt.Errorf("ask: %w", err)); !strings.HasSuffix(got.Error(), says) {
			t.Errorf("%v: %v", err, got)
		}
	}
}

func TestAmbiguous(t *testing.T) {
	run := shortDir(t)
	stand(t, run, "docker.sock", "1.41", running(t, "none", ""))
	stand(t, run, "podman/podman.sock", "1.41", running(t, "none", ""))
	if _, err := (&Engines{Getenv: environ(nil), Run: run}).Find(t.Context(), "web"); !errors.Is(err, ErrAmbiguous) {
		t.Errorf("%v", err)
	}
}

// TestWatch checks that Watch reports events, and ends with its context.
func TestWatch(t *testing.T) {
	run := shortDir(t)
	answers := running(t, "none", "")
	answers["/events"] = `{"Type":"container","Action":"die","Actor":{"ID":"` + id + `"}}` + "\n"
	stand(t, run, "docker.sock", "1.41", answers)
	c, err := (&Engines{Getenv: environ(nil), Run: run}).Find(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	happened := 0
	err = c.Watch(ctx, "web", func() {
		happened++
		cancel()
	})
	if happened != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("told %d times, %v", happened, err)
	}
}
