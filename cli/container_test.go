package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/internal/containers"
	"github.com/google/go-cmp/cmp"
)

const boxID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// box plays a container engine with one container, which is what it is from one
// moment to the next. Its process is this one.
type box struct {
	w    *fakeClockWorld
	from map[time.Duration]containers.Container // by the time that it became so
	err  error
	gone time.Duration // when its engine goes away; 0: never
}

func (b *box) find(_ context.Context, name string) (*containers.Container, error) {
	if b.err != nil {
		return nil, b.err
	}
	if b.gone > 0 && time.Since(b.w.began) > b.gone {
		return nil, &containers.Unreachable{}
	}
	now, latest, is := time.Since(b.w.began), time.Duration(-1), containers.Container{}
	for at, c := range b.from {
		if at <= now && at > latest {
			latest, is = at, c
		}
	}
	if is.ID == "" || name != "web" {
		return nil, &containers.NotFound{Name: name, Names: []string{"web", "db"}}
	}
	return &is, nil
}

// running is the container, started for the nth time.
func running(n int) containers.Container {
	return containers.Container{ID: boxID, Name: "web", Engine: "unix:///run/docker.sock", Running: true, Pid: 7, Started: fmt.Sprint(n)}
}

// procOf makes a /proc with the process of a container in a network namespace,
// and faultctl in another. namespaces cannot be made here: what counts is that
// they are files of nsfs, and differ.
func (w *fakeClockWorld) procOf(t *testing.T, b *box) {
	t.Helper()
	w.sys.Proc = t.TempDir()
	b.w = w
	w.sys.Container = b.find
	for pid, ns := range map[string]string{"7": "net", "self": "uts"} {
		dir := filepath.Join(w.sys.Proc, pid, "ns")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/proc/self/ns/"+ns, filepath.Join(dir, "net")); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(w.sys.Proc, "7", "cgroup"), "0::/system.slice/docker-"+boxID+".scope\n")
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A run goes along with its container: when it is restarted, made anew, or gone
// for a while.
func TestContainerFollowed(t *testing.T) {
	stopped := running(1)
	stopped.Running, stopped.Pid = false, 0
	other := running(2)
	other.ID = strings.Repeat("f", 64)
	for name, tc := range map[string]struct {
		from  map[time.Duration]containers.Container
		err   error
		flags string
		want  []string
		says  []string
	}{
		"it stays":        {map[time.Duration]containers.Container{0: running(1)}, nil, "", []string{"0s start reset", "1m0s stop reset"}, []string{"in the network namespace of container web"}},
		"it is restarted": {map[time.Duration]containers.Container{0: running(1), 11 * time.Second: running(2)}, nil, "", []string{"0s start reset", "12s stop reset", "12s start reset seed 43", "1m0s stop reset"}, []string{"00:00:12.000  target container web: has stopped", "runs again: the rules go into its new network namespace"}},
		"it is gone for a while": {map[time.Duration]containers.Container{0: running(1), 11 * time.Second: stopped, 20 * time.Second: {}, 30100 * time.Millisecond: running(2)}, nil, "",
			[]string{"0s start reset", "12s stop reset", "30.5s start reset seed 43", "1m0s stop reset"}, nil},
		"the radius holds": {map[time.Duration]containers.Container{0: running(1), 11 * time.Second: running(2), 21 * time.Second: running(3)}, nil, "--max-connections 2",
			[]string{"0s start reset max 2", "12s stop reset", "12s start reset max 1 seed 43", "22s stop reset", "22s start reset max 2 skip all seed 44", "1m0s stop reset"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
				b := &box{from: tc.from}
				w.procOf(t, b)
				w.holds(t, "inject reset --container web --duration 1m "+tc.flags, tc.want, tc.says)
			})
		})
	}
}

// An engine that goes away leaves the run alone.
func TestContainerEngineGone(t *testing.T) {
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		w.procOf(t, &box{from: map[time.Duration]containers.Container{0: running(1)}, gone: 10 * time.Second})
		if code := w.faultctl("inject reset --container web --duration 1m"); code != exitOK || strings.Join(w.log, "; ") != "0s start reset; 1m0s stop reset" {
			t.Errorf("exit %d, %v\n%s", code, w.log, &w.err)
		}
	})
}

// What cannot be, or must not be, is said; and nothing is started.
func TestContainerRefusals(t *testing.T) {
	stopped, host, shared, nobody := running(1), running(1), running(1), running(1)
	stopped.Running, stopped.Pid = false, 0
	host.HostNetwork = true
	shared.SharedWith = "db"
	nobody.Pid = 8
	for name, tc := range map[string]struct {
		is    containers.Container
		err   error
		setup func(t *testing.T, w *fakeClockWorld)
		flags string
		code  int
		says  string
	}{
		"no such":         {running(1), nil, nil, "--container wbe", 2, `--container wbe: no such container, did you mean "web"?`},
		"an empty name":   {running(1), nil, nil, "--container=", 2, "--container is empty"},
		"not running":     {stopped, nil, nil, "--container web", 2, "--container web: it is not running"},
		"no engine":       {running(1), &containers.Unreachable{Tried: []string{"unix:///run/docker.sock (not there)"}}, nil, "--container web", 5, "no container engine can be reached: unix:///run/docker.sock (not there)"},
		"no permission":   {running(1), &containers.Unreachable{Denied: true, Tried: []string{"unix:///run/docker.sock (permission denied)"}}, nil, "--container web", 5, "the container engine's socket may not be used: unix:///run/docker.sock (permission denied)"},
		"two engines":     {running(1), fmt.Errorf("%w: a and b", containers.ErrAmbiguous), nil, "--container web", 2, "several container engines have such a container"},
		"broken engine":   {running(1), errors.New("it is on fire"), nil, "--container web", 1, "--container web: it is on fire"},
		"no such process": {nobody, nil, nil, "--container web", 6, "process 8, which unix:///run/docker.sock says it is, is not a process of that container here"},
		"somebody else's process": {running(1), nil, func(t *testing.T, w *fakeClockWorld) {
			write(t, filepath.Join(w.sys.Proc, "7", "cgroup"), "0::/system.slice/sshd.service\n")
		}, "--container web", 6, "is not a process of that container here"},
		"the namespace that the engine keeps": {func() containers.Container { c := running(1); c.Sandbox = "/proc/self/ns/net"; return c }(), nil, func(t *testing.T, w *fakeClockWorld) {
			write(t, filepath.Join(w.sys.Proc, "7", "cgroup"), "0::/\n")
		}, "--container web", 0, ""},
		"the host's network":             {host, nil, nil, "--container web", 6, "it has no network namespace of its own but uses the host's"},
		"the host's network, but narrow": {host, nil, nil, "--container web --to :5432", 0, "connections to :5432 in the network namespace of container web, which is the host's"},
		"our own namespace": {running(1), nil, func(t *testing.T, w *fakeClockWorld) {
			os.Remove(filepath.Join(w.sys.Proc, "self", "ns", "net"))
			os.Symlink("/proc/self/ns/net", filepath.Join(w.sys.Proc, "self", "ns", "net"))
		}, "--container web", 6, "every connection of the host would be struck"},
		"a shared network":     {shared, nil, nil, "--container web", 0, "in the network namespace of container web, which it shares"},
		"and a namespace":      {running(1), nil, nil, "--container web --pid 7", 2, "both name a network namespace"},
		"a target is required": {running(1), nil, func(t *testing.T, _ *fakeClockWorld) { t.Setenv("FAULTCTL_REQUIRE_TARGET", "1") }, "--container web", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
				w.procOf(t, &box{from: map[time.Duration]containers.Container{0: tc.is}, err: tc.err})
				if tc.setup != nil {
					tc.setup(t, w)
				}
				code := w.faultctl("inject reset --duration 1m " + tc.flags)
				if said := w.out.String() + w.err.String(); code != tc.code || !strings.Contains(said, tc.says) {
					t.Errorf("exit %d, want %d and something about %q:\n%s", code, tc.code, tc.says, said)
				}
				if (w.log == nil) != (code != 0) {
					t.Errorf("exit %d, %v", code, w.log)
				}
			})
		})
	}
}

// A container of a scenario is looked for when it runs, not when it is
// validated.
func TestContainerInScenario(t *testing.T) {
	const file = "faults: [{fault: reset, duration: 1m, pulse: {on: 10s, off: 20s}, target: {container: web}}]\n"
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		b := &box{from: map[time.Duration]containers.Container{0: running(1), 15 * time.Second: running(2), 35 * time.Second: running(3)}}
		w.procOf(t, b)
		code := w.play(t, file, "-o", "json")
		want := []string{"0s start reset", "10s stop reset", "30s start reset seed 43", "36s stop reset", "36s start reset seed 44", "40s stop reset"}
		if d := cmp.Diff(want, w.log); d != "" || code != exitOK {
			t.Errorf("exit %d (-want +got):\n%s\n%s", code, d, &w.err)
		}
		if !strings.Contains(w.out.String(), `"event":"target","target":"container web","says":"runs again`) {
			t.Errorf("no target event:\n%s", &w.out)
		}
	})
	withFakeClock(t, func(t *testing.T, w *fakeClockWorld) {
		w.sys.Container = nil
		if code := w.world.run([]string{"faultctl", "scenario", "validate", w.file(t, file)}); code != exitOK {
			t.Errorf("exit %d\n%s", code, &w.err)
		}
	})
}
