package faulttest_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faulttest"
)

func TestMain(m *testing.M) { os.Exit(faulttest.Main(m)) }

// asUserEnv is the uid that a test finds itself to have, if another test has
// started it as that user.
const asUserEnv = "FAULTCTL_TEST_AS_USER"

// asNobody makes a command that runs one test of this binary as the user nobody,
// who has no privileges, in a directory of their own.
func asNobody(t *testing.T, test string) *exec.Cmd {
	t.Helper()
	nobody, err := user.Lookup("nobody")
	if err != nil {
		lacking(t, "the user nobody", err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	dir, err := os.MkdirTemp("", "faulttest-") // t.TempDir lies below a directory of root alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, uid, gid); err != nil {
		lacking(t, "the user nobody", err) // root of a user namespace that has one user
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "faulttest.test")
	if err := os.WriteFile(bin, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-test.run=^"+test+"$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir, asUserEnv+"="+nobody.Uid)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return cmd
}

// unprivileged reports whether the test runs as a user without privileges, and
// otherwise has it run again as one.
func unprivileged(t *testing.T) bool {
	t.Helper()
	if os.Getuid() != 0 {
		return true
	}
	out, err := asNobody(t, t.Name()).CombinedOutput()
	if strings.Contains(string(out), "--- SKIP: "+t.Name()) {
		t.Skipf("as nobody:\n%s", out)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
	return false
}

// lacking skips the test, or fails it if FAULTCTL_REQUIRE is 1.
func lacking(t *testing.T, what string, why error) {
	t.Helper()
	if os.Getenv("FAULTCTL_REQUIRE") == "1" {
		t.Fatalf("%s: %v", what, why)
	}
	t.Skipf("without %s: %v", what, why)
}

// echo starts a service that returns what it is sent.
func echo(t *testing.T, at string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return ln.Addr().String()
}

// ask sends a line to a service and reads it again.
func ask(c net.Conn) error {
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintln(c, "hello"); err != nil {
		return err
	}
	_, err := bufio.NewReader(c).ReadString('\n')
	return err
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestSelf holds that a user without privileges stays who they are under Main, can
// listen on low ports, and can inject faults.
func TestSelf(t *testing.T) {
	if !unprivileged(t) {
		return
	}
	if want := os.Getenv(asUserEnv); want != "" && (fmt.Sprint(os.Getuid()) != want || fmt.Sprint(os.Geteuid()) != want) {
		t.Errorf("the user ids are %d and %d, want %s", os.Getuid(), os.Geteuid(), want)
	}
	if out, err := exec.Command("id", "-u").Output(); err != nil || strings.TrimSpace(string(out)) != fmt.Sprint(os.Getuid()) {
		t.Errorf("what the test starts is user %q (%v), want %d", out, err, os.Getuid())
	}
	addr := echo(t, "[::]:80") // the form of Addr, and a low port
	i := faulttest.Inject(t, &faults.Reset{At: faults.At("request")}, faulttest.To(addr), faulttest.First(1))
	if err := ask(dial(t, "127.0.0.1:80")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the first connection: %v", err)
	}
	if err := ask(dial(t, "[::1]:80")); err != nil {
		t.Errorf("the second connection: %v", err)
	}
	if i.Fired() != 1 {
		t.Errorf("fired on %d connections", i.Fired())
	}
}

// TestRun holds that a test can change the run of its faults and read what
// happened.
func TestRun(t *testing.T) {
	if !unprivileged(t) {
		return
	}
	addr := echo(t, "127.0.0.1:0")
	i := faulttest.Inject(t, faulttest.Spec("reset:at=request"), faulttest.To(addr))
	if err := ask(dial(t, addr)); err == nil {
		t.Error("the connection is not struck")
	}
	if err := i.Run().SetShare(0); err != nil {
		t.Fatal(err)
	}
	if err := ask(dial(t, addr)); err != nil {
		t.Errorf("with a share of 0: %v", err)
	}
	if err := i.Run().SetShare(1); err != nil {
		t.Fatal(err)
	}
	if err := i.Run().Pause(); err != nil {
		t.Fatal(err)
	}
	if err := ask(dial(t, addr)); err != nil {
		t.Errorf("while the run is paused: %v", err)
	}
	if err := i.Run().Resume(); err != nil {
		t.Fatal(err)
	}
	if err := ask(dial(t, addr)); err == nil {
		t.Error("after the run was resumed the connection is not struck")
	}
	if i.Fired() != 2 {
		t.Errorf("fired on %d connections", i.Fired())
	}
	i.Stop()
	i.Stop() // does nothing
	if err := ask(dial(t, addr)); err != nil {
		t.Errorf("after Stop: %v", err)
	}
	told := ""
	byTime := func(a, b event.Event) int { return a.When().Compare(b.When()) }
	for _, e := range slices.SortedStableFunc(i.Run().Events(), byTime) {
		switch e := e.(type) {
		case event.Changed:
			told += strings.Join(e.Set, " ") + " "
		case event.Flow, event.Paused, event.Resumed, event.Ended:
			told += e.Name() + " "
		}
	}
	if want := "flow percent=0 percent=100 paused resumed flow ended "; told != want {
		t.Errorf("the run told %q, want %q", told, want)
	}
}

// TestEndsWithParent holds that the tests end when the process that Main has
// started them from is killed.
func TestEndsWithParent(t *testing.T) {
	if os.Getenv(asUserEnv) != "" {
		fmt.Println("inside", os.Getpid())
		time.Sleep(time.Minute)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("only root can start a test as another user")
	}
	cmd := asNobody(t, t.Name())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	inside := 0
	for lines := bufio.NewScanner(out); inside == 0 && lines.Scan(); {
		fmt.Sscanf(lines.Text(), "inside %d", &inside)
	}
	if inside == 0 || inside == cmd.Process.Pid {
		t.Fatalf("the test runs in process %d, started as %d", inside, cmd.Process.Pid)
	}
	cmd.Process.Kill()
	for end := time.Now().Add(10 * time.Second); alive(inside); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the tests go on without their parent")
		}
	}
}

// alive reports whether a process lives. One that waits for its parent's wait does
// not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}
