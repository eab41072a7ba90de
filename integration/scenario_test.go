package integration

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// hostsRole is the prefix of the role of a faultctl that has the file after it as
// /etc/hosts.
const hostsRole = "hosts:"

// withHosts runs this program again as faultctl, with another /etc/hosts.
func withHosts(file string) error {
	runtime.LockOSThread() // the mounts are this thread's, until it becomes the process
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	if err := unix.Mount(file, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", file, err)
	}
	env := append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, roleEnvVar+"=") }), roleEnvVar+"=faultctl", "GODEBUG=netdns=go")
	return unix.Exec("/proc/self/exe", os.Args, env) // this thread's mounts become the process's
}

// TestScenario runs an example on real sockets: a cache that is slow, then resets
// connections, then is unavailable for a moment.
func TestScenario(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, loopback, false)
	w.redis("127.0.0.1:6379")
	text, err := os.ReadFile("../examples/scenarios/redis-cache.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "redis-cache.yaml")
	quick := strings.NewReplacer("duration: 8m", "duration: 12s", "deadline: 10m", "deadline: 2m", "start: 30s", "start: 500ms", "duration: 2m", "duration: 4s",
		"start: 3m", "start: 5s", "{on: 10s, off: 20s}", "{on: 1500ms, off: 500ms}", "start: 6m", "start: 9500ms", "duration: 20s", "duration: 2s",
		"interval: 1s", "interval: 100ms", "timeout: 1s", "timeout: 10s", "tolerance: 40%", "tolerance: 70%").Replace(string(text))
	if err := os.WriteFile(file, []byte(quick), 0o644); err != nil {
		t.Fatal(err)
	}
	p := w.start("faultctl", "scenario", "run", file, "--seed", "1", "-o", "json")
	fired, failed := map[string]bool{}, map[string]int{}
	var phases, atWork []string
	for ev := range p.events {
		switch ev["event"] {
		case "phase":
			phases = append(phases, ev["phase"].(string))
		case "step":
			name := ev["name"].(string)
			if ev["do"] == "start" {
				atWork = append(atWork, name)
			} else {
				atWork = slices.DeleteFunc(atWork, func(n string) bool { return n == name })
			}
		case "fired":
			fired[ev["fault"].(string)] = true
		case "probe":
			if ev["ok"] == false {
				failed[strings.Join(atWork, "+")]++
			}
		case "result":
			if ev["code"] != 0.0 {
				t.Errorf("result %v", ev)
			}
		}
	}
	if code := p.end(); code != 0 {
		t.Errorf("exit %d\n%s", code, p.stderr.String())
	}
	if got := strings.Join(phases, " "); got != "before during after" {
		t.Errorf("phases %s", got)
	}
	if !fired["delay"] || !fired["reset"] || !fired["refuse"] {
		t.Errorf("fired: %v", fired)
	}
	if failed["connections are reset"] == 0 || failed["it restarts"] == 0 || failed["the cache is slow"] > 0 {
		t.Errorf("the probe failed so often beside each fault: %v", failed)
	}
	gone(t, w.Server)
}

// redis answers PING with +PONG, and nothing else.
func (w *testbed) redis(at string) {
	w.t.Helper()
	var ln net.Listener
	if err := w.Server.Do(func() (err error) {
		ln, err = net.Listen("tcp", at)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for lines := bufio.NewScanner(c); lines.Scan(); {
					fmt.Fprint(c, "+PONG\r\n")
				}
			}()
		}
	}()
}

// TestScenarioKilled checks that a scenario that is killed leaves no rule and no
// probe's command behind.
func TestScenarioKilled(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			t.Parallel()
			w := newTestbed(t, atRouter, false)
			dir := t.TempDir()
			file, mark := filepath.Join(dir, "s.yaml"), filepath.Join(dir, "pid")
			text := "faults:\n  - {fault: reset, duration: 1h, target: {to: ':5432'}}\n" +
				"probes:\n  - {name: slow, when: [during], timeout: 30m, command: 'sleep 1000 & echo $$ $! > " + mark + "; wait'}\n"
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			p := w.start("faultctl", "scenario", "run", file, "-o", "json")
			p.wait("ready")
			var command, child int
			if !lab.Eventually(func() bool {
				b, _ := os.ReadFile(mark)
				n, _ := fmt.Sscan(string(b), &command, &child)
				return n == 2
			}) {
				t.Fatal("the probe's command does not begin")
			}
			p.cmd.Process.Signal(sig)
			if code := p.end(); sig == syscall.SIGINT && code != 130 {
				t.Errorf("exit %d\n%s", code, p.stderr.String())
			}
			gone(t, w.Router)
			if !lab.Eventually(func() bool { return !alive(command) }) {
				t.Errorf("the probe's command goes on as process %d", command)
			}
			if sig == syscall.SIGKILL && !realRoot() { // without a cgroup nothing kills what the command started
				unix.Kill(child, unix.SIGKILL)
			}
			if !lab.Eventually(func() bool { return !alive(child) }) {
				t.Errorf("the child of the probe's command goes on as process %d", child)
			}
		})
	}
}

// alive reports whether a process still runs. A zombie, which remains in a PID
// namespace without an init, does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// TestNames changes the addresses of a host name during a run: open connections
// to its new addresses, of a family that it did not have before, are struck too.
func TestNames(t *testing.T) {
	t.Parallel()
	newTestbed(t, loopback, true) // it uses both families
	w := newTestbed(t, loopback, false)
	hosts := filepath.Join(t.TempDir(), "hosts")
	write := func(text string) { // replaced atomically: a look-up sees one version or the other
		f, err := os.OpenFile(hosts, os.O_WRONLY|os.O_CREATE, 0o644)
		if err == nil {
			_, err = f.WriteString(text)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write("127.0.0.1 db.test\n")
	type pair struct{ client, server *lab.App }
	var later []pair
	for _, at := range []string{"127.0.0.2:5432", "[::1]:5432"} {
		ln, to := w.listen(netip.MustParseAddrPort(at))
		w.service = to
		client, server := w.openTo(ln, to)
		healthy(t, at+" before", client, server)
		later = append(later, pair{client, server})
	}
	p := w.start(hostsRole+hosts, "inject", "reset:at=request", "--to", "db.test:5432", "--resolve-every", "200ms", "-o", "json")
	p.wait("ready")
	for _, c := range later {
		healthy(t, "not yet a target", c.client, c.server)
	}
	write("127.0.0.2 db.test\n::1 db.test\n")
	if ev := p.wait("target"); ev["target"] != "db.test" || ev["says"] != "is 127.0.0.1, 127.0.0.2, ::1 now; it was 127.0.0.1" {
		t.Errorf("%v", ev)
	}
	for _, c := range later {
		c.client.Send("ping")
		says(t, "a target now", c.client.Recv())("ECONNRESET")
	}
}
