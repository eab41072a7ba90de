package integration

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/lab"
)

// playPair runs a server and a client in one process. The client makes that many
// requests, and each failure counts.
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

// ask opens a connection and has a line echoed.
func ask(addr string) error {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	return echo(c)
}

// echo has a line echoed on a connection.
func echo(c net.Conn) error {
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 5))
	return err
}

// TestRun checks that a fault strikes the command's connections, that the
// command's status and output are passed on, and that it runs as the user who
// started faultctl.
func TestRun(t *testing.T) {
	bin := program(t)
	for _, m := range cageKinds(t) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			n := newTestbed(t, loopback, false).node()
			mark := mark()
			play := fmt.Sprintf("%s=pair %s", roleEnvVar, bin)
			for _, c := range []struct {
				what string
				args []string
				code int
				says string
			}{
				{"struck", []string{"reset:at=request", "--every", "2", "--", "sh", "-c", play}, 1, fmt.Sprintf("uid %d: 2 of 4 failed", m.uid)},
				{"never fired", []string{"reset:at=request", "--to", ":1", "--", "sh", "-c", play}, 124, "never fired"},
				{"nothing listens", []string{"reset:at=request", "--", "sh", "-c", fmt.Sprintf("%s=ask %s 127.0.0.1:1; true", roleEnvVar, bin)}, 124, "none of the chosen connections was established"},
				{"own status", []string{"reset:at=request", "--", "sh", "-c", play + " >&2; exit 42"}, 42, "4 of 4 failed"},
				{"orphans", []string{"observe", "--", "sh", "-c", "sleep " + mark + " & sleep " + mark + " & exit 7"}, 7, ""},
				{"timeout", []string{"observe", "--timeout", "100ms", "--", "sh", "-c", "sleep " + mark + " & sleep " + mark}, 143, "stopped after 100ms"},
				{"not found", []string{"observe", "--", "no-such-command"}, 127, "not found"},
				{"a Go test", []string{"reset:at=request", "--every", "2", "--", "sh", "-c",
					fmt.Sprintf("%s= %s=1 %s -test.run '^TestStruck$' -test.v", roleEnvVar, struckEnv, bin)}, 0, "2 of 4 failed"},
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

// TestRunLeavesOthersAlone checks that, as root, connections of other processes
// to the same service at the same time are not affected.
func TestRunLeavesOthersAlone(t *testing.T) {
	for _, m := range cageKinds(t) {
		if !m.cgroup {
			continue
		}
		w := newTestbed(t, loopback, false)
		ln, err := listenAt(w.node())
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go serve(ln)
		addr := ln.Addr().String()
		bin := program(t)
		begun := filepath.Join(t.TempDir(), "begun")
		cmd := m.faultctl("run", "reset:at=request", "--", "sh", "-c", fmt.Sprintf("%s=ask %s %s; a=$?; : > %s; sleep 1; %s=ask %s %s; exit $((a * 10 + $?))", roleEnvVar, bin, addr, begun, roleEnvVar, bin, addr))
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := w.node().Do(cmd.Start); err != nil {
			t.Fatal(err)
		}
		defer expose(cmd).Stop()
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
