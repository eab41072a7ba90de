package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/integration/lab"
	"golang.org/x/sys/unix"
)

// nobody is a user without rights.
const nobody = 65534

// manner is a way to keep a command together.
type manner struct {
	name  string
	flags []string
	uid   uint32 // who runs faultctl
}

// manners are those that are possible here. Root of the host has them all.
func manners(t *testing.T) []manner {
	t.Helper()
	all := []manner{{name: "isolated", flags: []string{"--isolate"}}}
	if os.Getenv("FAULTCTL_INSIDE") != "" {
		return all // in a user namespace there is no cgroup to have, nor another user to be
	}
	if _, err := cgroupOfOurs(); err != nil {
		if os.Getenv("FAULTCTL_REQUIRE") == "1" {
			t.Fatalf("cgroup v2 is needed: %v", err)
		}
		t.Logf("without a cgroup: %v", err)
	} else {
		all = append(all, manner{name: "cgroup"})
	}
	return append(all, manner{name: "without root", uid: nobody})
}

// cgroupOfOurs is where faultctl makes its cgroups.
func cgroupOfOurs() (string, error) {
	own, err := injector.OwnCgroup()
	if err == nil && unix.Access(own, unix.W_OK) != nil {
		err = errors.New("it cannot be written")
	}
	return own, err
}

// faultctl returns a faultctl that works in a manner, in the host's namespace
// when started by Do.
func (m manner) faultctl(verb string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", slices.Concat([]string{verb}, m.flags, args)...)
	cmd.Args[0] = "faultctl"
	cmd.Env = append(os.Environ(), playEnv+"=faultctl", "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if m.uid != 0 {
		cmd.Dir = "/"
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: m.uid, Gid: m.uid, NoSetGroups: true}
	}
	return cmd
}

// run runs it to its end in a host's namespace, and returns its exit code and
// what it printed.
// No process whose command line has the mark may be left then.
func (m manner) run(t *testing.T, n *lab.Node, mark, verb string, args ...string) (code int, output string) {
	t.Helper()
	cmd := m.faultctl(verb, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	m.nothingLeft(t, n, cmd.Process.Pid, mark)
	return cmd.ProcessState.ExitCode(), out.String()
}

// nothingLeft waits until no table, cgroup or process of that faultctl is left (0:
// no table of any), and none whose command line has the mark.
func (m manner) nothingLeft(t *testing.T, n *lab.Node, pid int, mark string) {
	t.Helper()
	own, _ := injector.OwnCgroup()
	var left []string
	if !lab.Eventually(func() bool {
		left = nil
		for _, table := range tables(t, n) {
			if pid == 0 || strings.HasPrefix(table+"_", fmt.Sprintf("faultctl_%d_", pid)) {
				left = append(left, table)
			}
		}
		groups, _ := filepath.Glob(filepath.Join(own, fmt.Sprintf("faultctl-%d-*", pid)))
		left = append(left, groups...)
		for p, line := range processes() {
			if p == pid || strings.Contains(line, fmt.Sprintf("faultctl-%d-", pid)) || mark != "" && strings.Contains(line, mark) {
				left = append(left, fmt.Sprintf("process %d: %s", p, line))
			}
		}
		return len(left) == 0
	}) {
		t.Errorf("left behind: %q", left)
	}
}

// processes lists the processes that are no zombies, with their command lines.
func processes() map[int]string {
	found := map[int]string{}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range lines {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if line, err := os.ReadFile(file); err == nil && len(line) > 0 {
			found[pid] = strings.ReplaceAll(string(line), "\x00", " ")
		}
	}
	return found
}

// family lists the process and its descendants, oldest first.
func family(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, file := range tasks {
			b, _ := os.ReadFile(file)
			for _, child := range strings.Fields(string(b)) {
				if n, err := strconv.Atoi(child); err == nil {
					all = append(all, n)
				}
			}
		}
	}
	return all
}

// program is a copy of the test binary that every user may execute.
func program(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "faultctl-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	path := filepath.Join(dir, "program")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err == nil {
		_, err = io.Copy(f, self)
		err = errors.Join(err, f.Close(), os.Chmod(dir, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// playPair is a server and a client in one process: the client asks as often as
// it is told, and each failure counts.
func playPair(times int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	go serve(ln)
	failed := 0
	for range times {
		if err := ask(ln.Addr().String()); err != nil {
			fmt.Println(err)
			failed++
		}
	}
	fmt.Printf("uid %d: %d of %d failed\n", os.Getuid(), failed, times)
	os.Exit(min(failed, 1))
}

func serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			io.Copy(c, c)
			c.Close()
		}()
	}
}

// ask opens a connection and has a line sent back.
func ask(addr string) error {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 5))
	return err
}

// TestRun holds that a fault strikes the command's connections, that its status
// and its output come back, and that it runs as who started faultctl.
func TestRun(t *testing.T) {
	bin := program(t)
	for i, m := range manners(t) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			n := newWorld(t, loopback, false).node()
			mark := fmt.Sprintf("2718%d", i)
			play := fmt.Sprintf("%s=pair %s", playEnv, bin)
			for _, c := range []struct {
				what string
				args []string
				code int
				says string
			}{
				{"struck", []string{"reset:at=request", "--every", "2", "--", "sh", "-c", play}, 1, fmt.Sprintf("uid %d: 2 of 4 failed", m.uid)},
				{"never fired", []string{"reset:at=request", "--to", ":1", "--", "sh", "-c", play}, 124, "never fired"},
				{"own status", []string{"reset:at=request", "--", "sh", "-c", play + " >&2; exit 42"}, 42, "4 of 4 failed"},
				{"orphans", []string{"observe", "--", "sh", "-c", "sleep " + mark + " & sleep " + mark + " & exit 7"}, 7, ""},
				{"timeout", []string{"observe", "--timeout", "100ms", "--", "sh", "-c", "sleep " + mark + " & sleep " + mark}, 143, "stopped after 100ms"},
				{"not found", []string{"observe", "--", "no-such-command"}, 127, "not found"},
				{"a Go test", []string{"reset:at=request", "--every", "2", "--", "sh", "-c",
					fmt.Sprintf("%s= %s=1 %s -test.run '^TestStruck$' -test.v", playEnv, struckEnv, bin)}, 0, "2 of 4 failed"},
				{"two faults", []string{"observe", "--fault", "refuse", "--", "sh", "-c", play}, 1, "refused"},
			} {
				code, out := m.run(t, n, mark, "run", c.args...)
				if code != c.code || !strings.Contains(out, c.says) {
					t.Errorf("%s: exit code %d, want %d and something about %q\n%s", c.what, code, c.code, c.says, out)
				}
			}
		})
	}
}

// TestRunLeavesOthersAlone holds that as root the connections of other
// processes, to the same service and meanwhile, are not touched.
func TestRunLeavesOthersAlone(t *testing.T) {
	for _, m := range manners(t) {
		if m.name != "cgroup" {
			continue
		}
		w := newWorld(t, loopback, false)
		ln, err := listenAt(w.node())
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go serve(ln)
		addr := ln.Addr().String()
		bin := program(t)
		begun := filepath.Join(t.TempDir(), "begun")
		cmd := m.faultctl("run", "reset:at=request", "--", "sh", "-c", fmt.Sprintf("%s=ask %s %s; a=$?; : > %s; sleep 1; %s=ask %s %s; exit $((a * 10 + $?))", playEnv, bin, addr, begun, playEnv, bin, addr))
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := w.node().Do(cmd.Start); err != nil {
			t.Fatal(err)
		}
		if !lab.Eventually(func() bool { _, err := os.Stat(begun); return err == nil }) {
			t.Error("the command does not begin")
		}
		for range 10 {
			if err := w.node().Do(func() error { return ask(addr) }); err != nil {
				t.Errorf("somebody else's connection: %v", err)
			}
		}
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 11 || strings.Count(out.String(), "fired") < 2 {
			t.Errorf("exit code %d, want both connections of the command broken\n%s", code, &out)
		}
		m.nothingLeft(t, w.node(), cmd.Process.Pid, "")
	}
}

// listenAt listens in a host's namespace.
func listenAt(n *lab.Node) (ln net.Listener, err error) {
	err = n.Do(func() error {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	return ln, err
}

// TestRunKillAnyTime kills faultctl, or any process that it started, at random
// moments, and holds that nothing stays behind: no rule, cgroup or process, of
// the command's neither.
func TestRunKillAnyTime(t *testing.T) {
	kills := 12
	if n, err := strconv.Atoi(os.Getenv("FAULTCTL_KILLS")); err == nil {
		kills = n
	}
	for _, m := range manners(t) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			n := newWorld(t, loopback, false).node()
			rng := rand.New(rand.NewPCG(2, 2))
			for i := range kills {
				mark := fmt.Sprintf("31415%d%d", i, m.uid)
				verb, args := "run", []string{"delay:by=1ms"}
				if i%3 == 2 {
					verb, args = "verify", []string{"--faults", "reset,refuse"}
				}
				cmd := m.faultctl(verb, append(args, "--", "sh", "-c", "sleep "+mark+" & (sleep "+mark+" & sleep 0.1); sleep "+mark)...)
				if err := n.Do(cmd.Start); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(rng.Int64N(int64(400 * time.Millisecond))))
				victims := family(cmd.Process.Pid)
				victim := victims[0]
				if i%2 == 1 {
					victim = victims[rng.IntN(len(victims))]
				}
				unix.Kill(victim, unix.SIGKILL)
				if victim != cmd.Process.Pid {
					time.Sleep(50 * time.Millisecond)
					cmd.Process.Signal(syscall.SIGTERM)
				}
				cmd.Wait()
				m.nothingLeft(t, n, cmd.Process.Pid, mark)
			}
		})
	}
}

// TestRunAtATerminal holds that Ctrl-C reaches the command once, and that its
// status counts.
func TestRunAtATerminal(t *testing.T) {
	for _, m := range manners(t) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			n := newWorld(t, loopback, false).node()
			master, slave := terminal(t)
			cmd := m.faultctl("run", "observe", "--allow-idle", "--", "sh", "-c",
				`n=0; trap 'n=$((n+1))' INT; echo begun; while [ $n = 0 ]; do sleep 0.05; done; sleep 1.5; echo "interrupts: $n"; exit 33`)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
			cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
			if err := n.Do(cmd.Start); err != nil {
				t.Fatal(err)
			}
			slave.Close()
			var seen strings.Builder
			buf := make([]byte, 4096)
			sent := false
			for {
				k, err := master.Read(buf)
				seen.Write(buf[:k])
				if !sent && strings.Contains(seen.String(), "begun\r\n") {
					sent = true
					master.Write([]byte{3}) // Ctrl-C
				}
				if err != nil {
					break
				}
			}
			cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 33 || !strings.Contains(seen.String(), "interrupts: 1\r\n") {
				t.Errorf("exit code %d\n%s", code, &seen)
			}
			m.nothingLeft(t, n, cmd.Process.Pid, "")
		})
	}
}

// terminal makes a pseudo terminal.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo terminal: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	var number int
	rc, err := master.SyscallConn()
	if err == nil {
		err = rc.Control(func(fd uintptr) {
			err1 := unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
			var err2 error
			number, err2 = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
			err = errors.Join(err1, err2)
		})
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// TestSignalsReachTheCommand holds that what faultctl is sent, the command gets.
func TestSignalsReachTheCommand(t *testing.T) {
	for _, m := range manners(t) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			n := newWorld(t, loopback, false).node()
			for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1} {
				cmd := m.faultctl("run", "observe", "--allow-idle", "--", "sh", "-c",
					`for s in TERM INT HUP USR1; do trap "echo got $s; exit 44" $s; done; echo begun; while :; do sleep 0.05; done`)
				out, err := cmd.StdoutPipe()
				if err == nil {
					err = n.Do(cmd.Start)
				}
				if err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, 6)
				if _, err := io.ReadFull(out, buf); err != nil {
					t.Fatalf("%v: %v", sig, err)
				}
				cmd.Process.Signal(sig)
				rest, _ := io.ReadAll(out)
				cmd.Wait()
				want := "got " + strings.TrimPrefix(unix.SignalName(sig), "SIG")
				if code := cmd.ProcessState.ExitCode(); code != 44 || !strings.Contains(string(rest), want) {
					t.Errorf("%v: exit code %d, %q", sig, code, rest)
				}
			}
		})
	}
}
