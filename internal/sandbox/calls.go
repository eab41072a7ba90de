package sandbox

import (
	"slices"
	"strings"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// calls are the system calls that stay permitted: what Go's runtime and its net and
// os packages make, netlink, raw sockets, perf rings that are open, and the watchdog's
// timer. Not among them is, for example, whatever starts a program, enters or makes
// namespaces, mounts, traces another process, loads code into the kernel, changes the
// user or the clock, or touches keys. A call that is not in the list fails with EPERM.
const calls = `
	read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 sendfile splice copy_file_range lseek close
	open openat openat2 creat stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getdents64 getcwd
	fcntl dup dup2 dup3 pipe pipe2 flock fsync fdatasync fallocate fadvise64 ftruncate
	rename renameat renameat2 unlink unlinkat rmdir mkdir mkdirat chmod fchmod fchmodat chown fchown lchown fchownat umask utimensat
	epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll select pselect6 eventfd eventfd2
	inotify_init inotify_init1 inotify_add_watch inotify_rm_watch timerfd_create timerfd_settime timerfd_gettime
	bind listen accept accept4 connect shutdown getsockname getpeername getsockopt setsockopt
	sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg
	brk mmap munmap mremap mprotect madvise mincore membarrier
	futex futex_wait futex_wake futex_waitv futex_requeue set_robust_list get_robust_list rseq restart_syscall
	rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigqueueinfo sigaltstack kill tkill tgkill pidfd_open pidfd_send_signal
	exit exit_group wait4 waitid set_tid_address arch_prctl prctl capget capset seccomp
	getpid getppid gettid getuid geteuid getgid getegid getgroups getpgrp getpgid getsid getresuid getresgid uname sysinfo getrusage times getrlimit prlimit64 getcpu getrandom
	clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time
	timer_create timer_settime timer_gettime timer_getoverrun timer_delete setitimer getitimer
	sched_yield sched_getaffinity sched_setaffinity sched_getscheduler sched_setscheduler sched_getparam sched_setparam sched_getattr sched_setattr
	sched_get_priority_max sched_get_priority_min getpriority setpriority
	landlock_create_ruleset landlock_add_rule landlock_restrict_self`

// families are the kinds of sockets that may be made.
var families = []uint64{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// limitCalls lets all threads make only the calls of the list and of the needs.
func limitCalls(needs []Need) error {
	info, err := arch.GetInfo("")
	if err != nil {
		return err
	}
	return seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: policy(needs, info)})
}

func policy(needs []Need, on *arch.Info) seccomp.Policy {
	names := strings.Fields(calls)
	for _, n := range needs {
		names = append(names, n.Calls...)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		_, known := on.SyscallNames[name]
		return !known // this architecture does without it
	})
	slices.Sort(names)
	names = slices.Compact(names)
	with := []seccomp.NameWithConditions{
		{Name: "clone", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD}}},
		// Neither of the two that put words into a terminal's input.
		{Name: "ioctl", Conditions: seccomp.ArgumentConditions{
			{Argument: 1, Operation: seccomp.NotEqual, Value: unix.TIOCSTI}, {Argument: 1, Operation: seccomp.NotEqual, Value: tioclinux}}},
	}
	for _, f := range families {
		for _, call := range []string{"socket", "socketpair"} {
			with = append(with, seccomp.NameWithConditions{Name: call, Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.Equal, Value: f}}})
		}
	}
	return seccomp.Policy{DefaultAction: seccomp.ActionErrno, Syscalls: []seccomp.SyscallGroup{
		// The C library falls back to clone, whose flags a filter can see.
		{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}},
		{Action: seccomp.ActionAllow, Names: names, NamesWithCondtions: with},
	}}
}

const tioclinux = 0x541c // TIOCLINUX of asm-generic/ioctls.h
