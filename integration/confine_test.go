package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"github.com/faultctl/faultctl/injector/target"
	"golang.org/x/sys/unix"
)

// The roles of a faultctl that is confined as containers are.
const (
	clone3Refused   = "confined: clone3 is refused"                               // Docker's and Podman's default seccomp profiles
	cgroupHidden    = "confined: cgroup v2 is not mounted"                        // ip netns exec, engines on cgroup v1
	twoCapabilities = "confined: NET_ADMIN and NET_RAW only, read-only cgroup v2" // Docker and Podman with --cap-add
)

// confine confines this process, and makes it a faultctl then.
func confine(role string) error {
	runtime.LockOSThread() // the new program begins with what this thread has
	var err error
	switch role {
	case clone3Refused:
		err = refuseClone3()
	case cgroupHidden:
		err = inOwnMounts(func(dir string) error { return unix.Mount("none", filepath.Dir(dir), "tmpfs", 0, "") })
	case twoCapabilities:
		if err = refuseClone3(); err == nil {
			err = inOwnMounts(func(dir string) error {
				return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
			})
		}
		for c := uintptr(0); c <= unix.CAP_LAST_CAP && err == nil; c++ {
			if c == unix.CAP_NET_ADMIN || c == unix.CAP_NET_RAW {
				continue
			}
			if err = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); errors.Is(err, unix.EINVAL) {
				err = nil // this kernel has no such capability
			}
		}
	}
	if err != nil {
		return err
	}
	env := []string{roleEnvVar + "=faultctl"}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, roleEnvVar+"=") {
			env = append(env, v)
		}
	}
	return syscall.Exec("/proc/self/exe", os.Args, env)
}

// inOwnMounts has do change what the directory of cgroup v2 is for this process.
func inOwnMounts(do func(dir string) error) error {
	dir, _, err := target.CgroupMount()
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := do(dir); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}

// refuseClone3 has the kernel answer clone3 with ENOSYS from now on. System calls
// have the same numbers on all architectures since clone3 was added.
func refuseClone3() error {
	const number = 0 // of the call, in the data that a filter sees (struct seccomp_data)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLONE3, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("set a seccomp filter: %w", errno)
	}
	return nil
}
