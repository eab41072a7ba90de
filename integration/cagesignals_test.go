package integration

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/lab"
	"golang.org/x/sys/unix"
)

// TestRunKillAnyTime kills faultctl, or any process that it started, at random
// moments, and checks that nothing is left: no rule, cgroup or process, and none
// of the command's processes.
func TestRunKillAnyTime(t *testing.T) {
	kills := 12
	if n, err := strconv.Atoi(os.Getenv("FAULTCTL_KILLS")); err == nil {
		kills = n
	}
	for _, m := range cageKinds(t) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			n := newTestbed(t, loopback, false).node()
			rng := rand.New(rand.NewPCG(2, 2))
			for i := range kills {
				mark := mark()
				verb, args := "run", []string{"delay:by=1ms"}
				if i%3 == 2 {
					verb, args = "verify", []string{"--faults", "reset,refuse"}
				}
				cmd := m.faultctl(verb, append(args, "--", "sh", "-c", "sleep "+mark+" & (sleep "+mark+" & sleep 0.1); sleep "+mark)...)
				if err := n.Do(cmd.Start); err != nil {
					t.Fatal(err)
				}
				overdue := expose(cmd)
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
				overdue.Stop()
				m.nothingLeft(t, n, cmd.Process.Pid, mark)
			}
		})
	}
}

// TestRunAtATerminal checks that Ctrl-C reaches the command once, and that the
// command's status is the result.
func TestRunAtATerminal(t *testing.T) {
	for _, m := range cageKinds(t) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			n := newTestbed(t, loopback, false).node()
			master, slave := terminal(t)
			cmd := m.faultctl("run", "observe", "--allow-idle", "--", "sh", "-c",
				`n=0; trap 'n=$((n+1))' INT; echo begun; while [ $n = 0 ]; do sleep 0.05; done; sleep 1.5; echo "interrupts: $n"; exit 33`)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
			cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
			if err := n.Do(cmd.Start); err != nil {
				t.Fatal(err)
			}
			slave.Close()
			defer expose(cmd).Stop()
			if err := master.SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil {
				t.Fatal(err)
			}
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

// terminal opens a pseudo-terminal.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		lacks(t, fmt.Sprintf("no pseudo terminal: %v", err))
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

// TestSignalsReachTheCommand checks that the command gets the signals that
// faultctl is sent.
func TestSignalsReachTheCommand(t *testing.T) {
	for _, m := range cageKinds(t) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			n := newTestbed(t, loopback, false).node()
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
				overdue := expose(cmd)
				out.(*os.File).SetReadDeadline(time.Now().Add(5 * time.Minute)) // processes that it left behind may hold it open
				buf := make([]byte, 6)
				if _, err := io.ReadFull(out, buf); err != nil {
					t.Fatalf("%v: %v", sig, err)
				}
				cmd.Process.Signal(sig)
				rest, _ := io.ReadAll(out)
				cmd.Wait()
				overdue.Stop()
				want := "got " + strings.TrimPrefix(unix.SignalName(sig), "SIG")
				if code := cmd.ProcessState.ExitCode(); code != 44 || !strings.Contains(string(rest), want) {
					t.Errorf("%v: exit code %d, %q", sig, code, rest)
				}
			}
		})
	}
}

// TestHangup checks that a run under nohup goes on when its terminal hangs up, with its
// command, and that any other ends.
func TestHangup(t *testing.T) {
	for _, m := range cageKinds(t) {
		for _, ignored := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/nohup %v", m.name, ignored), func(t *testing.T) {
				t.Parallel()
				n := newTestbed(t, loopback, false).node()
				dir, err := os.MkdirTemp("", "faultctl-test-") // others cannot enter that of t
				if err != nil {
					t.Fatal(err)
				}
				defer os.RemoveAll(dir)
				if err := os.Chmod(dir, 0o777); err != nil {
					t.Fatal(err)
				}
				begun := filepath.Join(dir, "begun")
				cmd := m.faultctl("run", "observe", "--allow-idle", "--", "sh", "-c", "mkdir "+begun+" && sleep 1; exit 33")
				if cmd.Args[0] = program(t); ignored { // as nohup does
					cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", `trap '' HUP; exec "$0" "$@"`}, cmd.Args...)
				}
				if err := n.Do(cmd.Start); err != nil {
					t.Fatal(err)
				}
				defer expose(cmd).Stop()
				if !lab.Eventually(func() bool { _, err := os.Stat(begun); return err == nil }) {
					t.Error("the command does not begin")
				}
				cmd.Process.Signal(syscall.SIGHUP)
				cmd.Wait()
				if code := cmd.ProcessState.ExitCode(); (code == 33) != ignored {
					t.Errorf("exit code %d", code)
				}
				m.nothingLeft(t, n, cmd.Process.Pid, "")
			})
		}
	}
}
