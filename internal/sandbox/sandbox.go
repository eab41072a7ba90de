// Package sandbox takes from this process, for good, the rights that it does not
// need any more: capabilities, new privileges by execve, system calls, and files. A
// fault in the code that reads packets is then worth little to whoever finds it.
//
// All threads lose them, and so does every process that this one starts from then
// on; a command that must keep the caller's rights is started by package launch,
// which another process does.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// A Need is what a process must still be able to do after Enter, and why. The zero
// Need is nothing.
type Need struct {
	What string // in words, such as "follows a container"
	Why  string

	Caps  []uintptr // capabilities, such as unix.CAP_NET_ADMIN
	Calls []string  // system calls beside those that every process has, see calls.go
	Read  []string  // files, or directories with all below, that it may read
	Write []string  // directories in which it may write, make, rename and remove files
	Files bool      // all files: Landlock is not used
}

// Packets is what every run of the engine needs.
var Packets = Need{
	What: "every run",
	Why: "CAP_NET_ADMIN changes the rules and answers the queue, CAP_NET_RAW sends forged segments; " +
		"files tell whose a connection is, and how a host name is looked up",
	Caps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW},
	Read: []string{
		"/proc", "/sys/fs/cgroup", "/sys/devices/system/cpu", "/etc/localtime", "/usr/share/zoneinfo",
		"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services",
		"/etc/ld.so.cache", "/lib", "/lib64", "/usr/lib", "/usr/lib64", // a binary with cgo loads how names are looked up
	},
}

// NetNS is what entering network namespaces needs after the start.
var NetNS = Need{
	What:  "enters network namespaces later",
	Why:   "setns(2) demands CAP_SYS_ADMIN; verify, scenarios and a followed container install rules anew for each run",
	Caps:  []uintptr{unix.CAP_SYS_ADMIN},
	Calls: []string{"setns", "unshare"},
	Read:  []string{"/run/netns", "/var/run/netns"},
}

// Names is what looking host names up again needs.
var Names = Need{
	What: "looks host names up again",
	Why:  "resolv.conf and hosts may be replaced meanwhile",
	Read: []string{"/etc", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager"},
}

// Probes is what the probes of a scenario need.
var Probes = Need{
	What: "asks probes",
	Why:  "HTTPS is verified with the certificates of this host",
	Read: []string{"/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"},
}

// Container is what following a container needs, beside NetNS.
var Container = Need{
	What: "follows a container",
	Why: "/proc/PID/ns/net of another user's process demands CAP_SYS_PTRACE, and the socket of an engine that " +
		"belongs to another user CAP_DAC_OVERRIDE; Landlock forbids to look into the /proc/PID/ns of any process outside of it",
	Caps:  []uintptr{unix.CAP_SYS_PTRACE, unix.CAP_DAC_OVERRIDE},
	Files: true,
}

// Outcomes is what listening to the kernel's tracepoints needs after the start.
var Outcomes = Need{
	What:  "starts runs later",
	Why:   "each run opens the kernel's tracepoints anew, which demands CAP_PERFMON",
	Caps:  []uintptr{unix.CAP_PERFMON},
	Calls: []string{"perf_event_open"},
	Read:  []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"},
}

// Files is what replacing files in those directories needs, at the end of a run.
func Files(dirs ...string) Need {
	n := Need{
		What: "writes a report", Write: dirs,
		Why: "a report replaces its file in one step at the end; in another user's directory, and under sudo, that demands " +
			"CAP_DAC_OVERRIDE, CAP_CHOWN and CAP_FOWNER, and Landlock limits them to that directory",
	}
	for _, dir := range dirs {
		var st unix.Stat_t
		if unix.Stat(dir, &st) != nil || int(st.Uid) != os.Geteuid() || st.Mode&0o300 != 0o300 || os.Getenv("SUDO_UID") != "" {
			n.Caps = []uintptr{unix.CAP_DAC_OVERRIDE, unix.CAP_CHOWN, unix.CAP_FOWNER}
		}
	}
	return n
}

// A Lack is what this kernel cannot take away.
type Lack struct {
	What string
	Err  error
}

func (l Lack) Error() string { return l.What + ": " + l.Err.Error() }

// Enter keeps what the needs name and takes everything else from all threads of this
// process. Capabilities that the process does not have it does not get. The error
// joins a Lack for each of the four means that could not be used; the others are in
// force then.
func Enter(needs ...Need) error {
	var lacks []error
	keep := func(what string, err error) {
		if err != nil {
			lacks = append(lacks, Lack{what, err})
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	keep("no_new_privs", orNil(errno))
	keep("Landlock", limitFiles(needs))
	keep("capabilities", limitCaps(needs))
	keep("seccomp", limitCalls(needs))
	return errors.Join(lacks...)
}

func orNil(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// limitCaps makes the capabilities of all threads those of the needs, as far as this
// process has them.
func limitCaps(needs []Need) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have, want [2]unix.CapUserData
	if err := unix.Capget(&hdr, &have[0]); err != nil {
		return err
	}
	for _, n := range needs {
		for _, c := range n.Caps {
			bit := have[c/32].Permitted & (1 << (c % 32))
			want[c/32].Permitted |= bit
			want[c/32].Effective |= bit
		}
	}
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	if have[unix.CAP_SETPCAP/32].Effective&(1<<(unix.CAP_SETPCAP%32)) != 0 {
		for c := uintptr(0); ; c++ {
			if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err != nil {
				break // the last one was before
			}
			if want[c/32].Permitted&(1<<(c%32)) == 0 {
				if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0, 0, 0, 0); errno != 0 {
					return errno
				}
			}
		}
	}
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&want[0])), 0)
	return orNil(errno)
}

// limitFiles limits opening files to what the needs name. What is open stays open.
func limitFiles(needs []Need) error {
	var read, write []string
	for _, n := range needs {
		if n.Files {
			return nil
		}
		read, write = append(read, n.Read...), append(write, n.Write...)
	}
	if abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 || abi == 0 {
		return fmt.Errorf("this kernel has no Landlock (Linux 5.13), or it was not enabled at boot (lsm=): %w", errno)
	}
	rules := []landlock.Rule{landlock.RWFiles("/dev/null", "/dev/tty").IgnoreIfMissing()}
	for _, path := range read {
		if info, err := os.Stat(path); err != nil {
			continue // not on this host
		} else if info.IsDir() {
			rules = append(rules, landlock.RODirs(path))
		} else {
			rules = append(rules, landlock.ROFiles(path))
		}
	}
	for _, dir := range write {
		rules = append(rules, landlock.RWDirs(dir).IgnoreIfMissing())
	}
	return landlock.V5.BestEffort().RestrictPaths(rules...)
}

// Caps names the capabilities of the needs, such as net_admin, in order and each once.
func Caps(needs ...Need) (names []string) {
	for _, n := range needs {
		for _, c := range n.Caps {
			if name := capNames[c]; !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// capNames are the capabilities that a Need may name.
var capNames = map[uintptr]string{
	unix.CAP_NET_ADMIN: "net_admin", unix.CAP_NET_RAW: "net_raw", unix.CAP_SYS_ADMIN: "sys_admin", unix.CAP_SYS_PTRACE: "sys_ptrace",
	unix.CAP_DAC_OVERRIDE: "dac_override", unix.CAP_PERFMON: "perfmon", unix.CAP_CHOWN: "chown", unix.CAP_FOWNER: "fowner", unix.CAP_KILL: "kill",
}

// String names what is needed and why, in a line.
func (n Need) String() string {
	var caps []string
	for _, c := range n.Caps {
		caps = append(caps, "CAP_"+strings.ToUpper(capNames[c]))
	}
	return fmt.Sprintf("%s: %s: %s", n.What, strings.Join(caps, ", "), n.Why)
}
