package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// childEnv makes the test binary a process that enters a sandbox and tries things: its
// value is the directory that it may write in.
const childEnv = "FAULTCTL_TEST_SANDBOX"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		json.NewEncoder(os.Stdout).Encode(tryAll(dir))
		return
	}
	os.Exit(m.Run())
}

// tried is what came of everything, by name; empty: it worked.
type tried struct {
	Lacks   string
	Refused map[string]string // what must fail
	Allowed map[string]string // what must work
	Threads []string          // of /proc/self/task/*/status, the lines that matter, of all threads
}

// tryAll enters a sandbox in which dir may be written, and tries calls.
func tryAll(dir string) tried {
	got := tried{Refused: map[string]string{}, Allowed: map[string]string{}}
	// Threads that are there before, one of which never returns to the scheduler, and
	// some that come later.
	var busy sync.WaitGroup
	hold := make(chan struct{})
	for range 4 {
		busy.Go(func() { runtime.LockOSThread(); <-hold })
	}
	r, w, _ := os.Pipe()
	go func() { // in a system call
		var b [1]byte
		unix.Read(int(r.Fd()), b[:])
	}()
	time.Sleep(10 * time.Millisecond)

	if err := Enter(Packets, Files(dir)); err != nil {
		got.Lacks = err.Error()
	}
	for range 4 {
		busy.Go(func() { runtime.LockOSThread(); <-hold })
	}
	refused := func(name string, err error) { got.Refused[name] = fmt.Sprint(err) }
	allowed := func(name string, err error) { got.Allowed[name] = fmt.Sprint(err) }
	errnoOf := func(_, _ uintptr, e unix.Errno) error { return orNil(e) }

	refused("execve", unix.Exec("/bin/true", []string{"true"}, nil))
	refused("fork and execve", exec.Command("/bin/true").Run())
	refused("fork", errnoOf(unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)))
	refused("ptrace", unix.PtraceAttach(os.Getppid()))
	refused("mount", unix.Mount("none", dir, "tmpfs", 0, ""))
	refused("unshare", unix.Unshare(unix.CLONE_NEWUTS))
	refused("setns", unix.Setns(int(r.Fd()), 0))
	refused("bpf", errnoOf(unix.RawSyscall(unix.SYS_BPF, 0, 0, 0)))
	refused("perf_event_open", errnoOf(unix.RawSyscall6(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0, 0, 0, 0)))
	refused("init_module", unix.InitModule(nil, ""))
	refused("keyctl", errnoOf(unix.RawSyscall(unix.SYS_KEYCTL, 0, 0, 0)))
	refused("process_vm_readv", errnoOf(unix.RawSyscall6(unix.SYS_PROCESS_VM_READV, uintptr(os.Getppid()), 0, 0, 0, 0, 0)))
	refused("setuid", errnoOf(unix.RawSyscall(unix.SYS_SETUID, 0, 0, 0)))
	refused("reboot", errnoOf(unix.RawSyscall(unix.SYS_REBOOT, 0, 0, 0)))
	refused("settimeofday", unix.Settimeofday(&unix.Timeval{}))
	refused("write into a terminal's input", errnoOf(unix.RawSyscall(unix.SYS_IOCTL, 0, unix.TIOCSTI, 0)))
	_, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	refused("socket of packets", err)
	_, err = unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)
	refused("socket of virtual machines", err)
	_, err = os.ReadFile(filepath.Join(filepath.Dir(dir), "secret"))
	refused("read another file", err)
	refused("write another file", os.WriteFile(filepath.Join(filepath.Dir(dir), "other"), nil, 0o600))
	_, err = os.ReadFile("/etc/shadow")
	refused("read /etc/shadow", err)
	refused("bind a low port", bind(80))

	report := filepath.Join(dir, "report")
	allowed("write a report", errors.Join(os.WriteFile(report+".new", []byte("x"), 0o600), os.Rename(report+".new", report)))
	_, err = os.ReadFile("/proc/net/tcp")
	allowed("read /proc", err)
	allowed("look a name up", look("localhost"))
	allowed("listen and connect", talk())
	_, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)
	allowed("netlink", err)
	_, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	allowed("raw socket", err)
	var now unix.Timespec
	allowed("clock", unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))

	tasks, _ := filepath.Glob("/proc/self/task/*/status")
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		var lines []string
		for line := range strings.Lines(string(text)) {
			name, _, _ := strings.Cut(line, ":")
			if slices.Contains([]string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"}, name) {
				lines = append(lines, strings.Join(strings.Fields(line), ""))
			}
		}
		got.Threads = append(got.Threads, strings.Join(lines, " "))
	}
	close(hold)
	busy.Wait()
	w.Close()
	return got
}

func look(name string) error {
	_, err := net.LookupHost(name)
	return err
}

func bind(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
}

func talk() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return err
	}
	return c.Close()
}

// TestEnter checks on a process of its own that every thread has given everything up
// but what was named, by /proc and by calls that must fail, and that what was named
// still works.
func TestEnter(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has anything to give up")
	}
	outside := t.TempDir()
	dir := filepath.Join(outside, "reports")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(outside, "secret"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got tried
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %q", err, out)
	}
	landlocked := !strings.Contains(got.Lacks, "Landlock")
	if got.Lacks != "" && (landlocked || os.Getenv("FAULTCTL_REQUIRE") == "1") {
		t.Errorf("not in force: %s", got.Lacks)
	}
	for name, err := range got.Refused {
		file := strings.Contains(name, "file") || strings.HasPrefix(name, "read ")
		if err == "<nil>" && (landlocked || !file) || !file && !strings.Contains(err, "not permitted") && !strings.Contains(err, "permission denied") {
			t.Errorf("%s: %s, want it refused", name, err)
		}
	}
	for name, err := range got.Allowed {
		if err != "<nil>" {
			t.Errorf("%s: %s", name, err)
		}
	}
	const kept = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW
	want := fmt.Sprintf("CapInh:%016x CapPrm:%016x CapEff:%016x CapBnd:%016x CapAmb:%016x NoNewPrivs:1 Seccomp:2", 0, kept, kept, kept, 0)
	for _, have := range got.Threads {
		if have != want {
			t.Errorf("a thread has\n%s, want\n%s", have, want)
		}
	}
	if len(got.Threads) < 9 {
		t.Errorf("%d threads were looked at", len(got.Threads))
	}
}

// TestPolicy checks that a filter can be made for each architecture, and that the
// list names only calls that exist.
func TestPolicy(t *testing.T) {
	for _, on := range []*arch.Info{arch.X86_64, arch.AARCH64, arch.ARM} {
		p := policy([]Need{Packets, NetNS, Outcomes}, on)
		for _, g := range p.Syscalls {
			for _, name := range g.Names {
				if _, known := on.SyscallNames[name]; !known {
					t.Errorf("%s has no %s", on.Name, name)
				}
			}
		}
		for _, name := range []string{"futex", "read", "tgkill", "recvmsg", "timer_settime"} {
			if !slices.Contains(p.Syscalls[1].Names, name) {
				t.Errorf("%s: %s is not permitted", on.Name, name)
			}
		}
	}
	for _, name := range strings.Fields(calls) {
		if _, known := arch.X86_64.SyscallNames[name]; !known {
			t.Errorf("there is no call %s", name)
		}
	}
}
