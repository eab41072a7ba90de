package injector

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/target"
	"golang.org/x/sys/unix"
)

func TestFindCgroup(t *testing.T) {
	mount, _, err := target.CgroupMount()
	if err != nil {
		t.Skip("cgroup v2 is not mounted")
	}
	for _, name := range []string{"/", "", mount, "no/such/group", "/proc/self", mount + "/../.."} {
		if c, err := target.FindCgroup(name); !errors.Is(err, ErrConfig) {
			t.Errorf("%q: %+v, %v", name, c, err)
		}
	}
	dir := ownedCgroup(t)
	byDir, err := target.FindCgroup(dir)
	if err != nil {
		t.Fatal(err)
	}
	byPath, err := target.FindCgroup("/" + byDir.Path)
	if err != nil || *byPath != *byDir || byDir.Dir != dir || byDir.ID == 0 || byDir.Level == 0 {
		t.Errorf("by directory %+v, by path %+v, %v", byDir, byPath, err)
	}
}

// cgroups counts those that tests made, for their names.
var cgroups atomic.Uint32

// ownedCgroup makes a cgroup v2 for the time of the test, or skips it where
// that is denied.
func ownedCgroup(t *testing.T) string {
	t.Helper()
	own, err := target.OwnCgroup()
	dir := filepath.Join(own, fmt.Sprintf("faultctl-test-%d-%d", os.Getpid(), cgroups.Add(1)))
	if err == nil {
		err = os.Mkdir(dir, 0o755)
	}
	if err != nil {
		unavailable(t, "a cgroup v2 of our own", err)
	}
	t.Cleanup(func() {
		// A process that is gone may be counted a moment longer.
		for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if err := os.Remove(dir); err == nil {
				return
			} else if time.Now().After(end) {
				t.Errorf("cgroup left: %v", err)
				return
			}
		}
	})
	return dir
}

// unavailable skips a test that needs what only root of the host has. Root must
// have it.
func unavailable(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("FAULTCTL_REQUIRE") == "1" && os.Getenv("FAULTCTL_INSIDE") == "" && os.Geteuid() == 0 {
		t.Fatalf("%s: %v", what, err)
	}
	t.Skipf("%s: %v", what, err)
}

// helperEnv makes the test binary a client that sends a line to and fro.
const helperEnv = "FAULTCTL_TEST_DIAL"

func helper() {
	addr := os.Getenv(helperEnv)
	if addr == "" {
		return
	}
	c, err := net.Dial("tcp", addr)
	buf := make([]byte, 5)
	for range 20 {
		if err == nil {
			_, err = c.Write([]byte("hello"))
		}
		if err == nil {
			_, err = io.ReadFull(c, buf)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// dialFrom has a process of that cgroup and user talk to addr, from the calling
// thread's namespace.
func dialFrom(t *testing.T, addr, cgroup string, uid uint32) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"="+addr, "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if cgroup != "" {
		fd, err := unix.Open(cgroup, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, fd
	}
	if uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid, NoSetGroups: true}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("client: %v\n%s", err, out)
	}
}

// TestOwner checks that only the connections of the owner's processes are
// judged, over loopback and by whichever end is the owner's.
func TestOwner(t *testing.T) {
	for _, addr := range loopbacks() {
		for _, by := range []string{"cgroup", "user"} {
			t.Run(by+"/"+addr, func(t *testing.T) {
				ns := kerneltest.NetNS(t)
				var owner target.Owner
				var dir string
				const nobody = 65534
				if by == "cgroup" {
					dir = ownedCgroup(t)
					c, err := target.FindCgroup(dir)
					if err != nil {
						t.Fatal(err)
					}
					owner.Cgroup = c
				} else {
					if os.Getenv("FAULTCTL_INSIDE") != "" {
						t.Skip("there is one user only in a user namespace of our own")
					}
					owner.UID = new(uint32(nobody))
				}
				all := fake(faults.Diversion{All: true})
				inj, stop := startInjector(t, ns, false, Config{Rules: []Rule{{Match: target.Matcher{Owner: owner}, Faults: all}}})
				at := echoServer(t, netip.MustParseAddr(addr))
				dialFrom(t, at, "", 0)
				if got := inj.Stats(); got.Diverted != 0 {
					t.Errorf("%d packets of somebody else's connection entered user space", got.Diverted)
				}
				if by == "cgroup" {
					dialFrom(t, at, dir, 0)
				} else {
					dialFrom(t, at, "", nobody)
				}
				if got := inj.Stats(); got.Rules[0].Flows != 1 || got.Diverted < 40 {
					t.Errorf("of the owner's connection: %+v; want it whole", got)
				}
				stop()
			})
		}
	}
}

// TestOwnerAmongRules checks that a rule without an owner does not lend the
// connections it matches to one that has an owner.
func TestOwnerAmongRules(t *testing.T) {
	ns := kerneltest.NetNS(t)
	dir := ownedCgroup(t)
	c, err := target.FindCgroup(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := fake(faults.Diversion{All: true})
	inj, stop := startInjector(t, ns, false, Config{Rules: []Rule{{Faults: all}, {Match: target.Matcher{Owner: target.Owner{Cgroup: c}}, Faults: all}}})
	at := echoServer(t, netip.MustParseAddr("127.0.0.1"))
	dialFrom(t, at, "", 0)
	dialFrom(t, at, dir, 0)
	stop()
	if got := inj.Stats(); got.Rules[0].Flows != 2 || got.Rules[1].Flows != 1 {
		t.Errorf("%+v; want 2 connections of the first rule and 1 of the second", got.Rules)
	}
}

// TestOwnedServer checks that a connection is the owner's too if its server is.
func TestOwnedServer(t *testing.T) {
	ns := kerneltest.NetNS(t)
	dir := ownedCgroup(t)
	c, err := target.FindCgroup(dir)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperServerEnv+"=1", "GORACE=atexit_sleep_ms=0")
	fd, err := unix.Open(c.Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	var at string
	if _, err := fmt.Fscan(out, &at); err != nil {
		t.Fatal(err)
	}
	inj, stop := startInjector(t, ns, false, Config{Rules: []Rule{{Match: target.Matcher{Owner: target.Owner{Cgroup: c}}, Faults: fake(faults.Diversion{All: true})}}})
	dialFrom(t, at, "", 0)
	stop()
	if got := inj.Stats(); got.Rules[0].Flows != 1 || got.Diverted < 40 {
		t.Errorf("%+v; want the connection whole", got)
	}
}

// helperServerEnv makes the test binary a server that says where it listens.
const helperServerEnv = "FAULTCTL_TEST_LISTEN"

func helperServer() {
	if os.Getenv(helperServerEnv) == "" {
		return
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(ln.Addr())
	echo(ln)
	os.Exit(0)
}

func echoServer(t *testing.T, at netip.Addr) string {
	t.Helper()
	ln, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go echo(ln)
	return ln.Addr().String()
}

func echo(ln net.Listener) {
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
