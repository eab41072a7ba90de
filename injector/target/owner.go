package target

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/faultctl/faultctl/injector/internal/fsmount"
	"github.com/faultctl/faultctl/injector/internal/kerror"
	"golang.org/x/sys/unix"
)

// Owner restricts a rule to connections with one end in a certain local
// process. The kernel knows a packet's process only where there is a local
// socket: on output, and for a cgroup on input as well. The rules add the
// flow to a set there, and look it up in that set everywhere else. So a
// connection that this host only forwards has no owner. With a UID, a
// server's flow is added when the server first answers, because the kernel
// does not tell the user of the listener for a SYN.
type Owner struct {
	// Cgroup selects the processes in this cgroup v2 and in the cgroups below
	// it. Nil means any.
	Cgroup *Cgroup

	// UID selects the processes of this user, numbered as in the user namespace
	// that owns the network namespace. Nil means any.
	UID *uint32
}

// Any reports whether o excludes no connection.
func (o Owner) Any() bool { return o.Cgroup == nil && o.UID == nil }

// Cgroup is a cgroup v2 as the kernel matches it. FindCgroup returns one.
type Cgroup struct {
	Path  string // below the root of the hierarchy, without a slash at either end
	Dir   string // where it is in the file system
	ID    uint64 // the inode number of Dir
	Level uint32 // how deep below the root it lies, from 1 on
}

// CgroupMount returns the directory at which cgroup v2 is mounted and the path
// of its root in the hierarchy, "/" unless only a part of the hierarchy is
// mounted. The hierarchies of v1 may be mounted too. Where it is not mounted, as
// under ip netns exec, which hides it, it is mounted for this process alone, which
// takes CAP_SYS_ADMIN: see DetachedCgroups. The error is an
// injector.ErrNotSupported, or an injector.ErrPermission.
func CgroupMount() (dir, root string, err error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", "", fmt.Errorf("find cgroup v2: %w", err)
	}
	if dir, root = cgroupMount(b, isCgroup2); dir != "" {
		return dir, root, nil
	}
	f, err := detached()
	switch {
	case errors.Is(err, syscall.EPERM):
		return "", "", kerror.Deniedf("cgroup v2 is not mounted, and mounting it takes CAP_SYS_ADMIN")
	case err != nil:
		return "", "", fmt.Errorf("cgroup v2 is not mounted: %w (%w)", kerror.ErrNotSupported, err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", f.Fd()), "/", nil
}

// DetachedCgroups is the mount of cgroup v2 that only this process has: the
// directory of CgroupMount is /proc/self/fd/ and its descriptor then. A process that
// is to use it too must be handed the file. Nil: there is none, because cgroup v2 is
// mounted, or because CgroupMount was not called. The file must not be closed.
func DetachedCgroups() *os.File { return detachedCgroups.Load() }

var detachedCgroups atomic.Pointer[os.File]

// detached mounts cgroup v2 without a place in the file system (fsmount, Linux 5.2).
// The root of the mount is that of this process's cgroup namespace. It lasts as long
// as the file is open, which is as long as the process.
var detached = sync.OnceValues(func() (*os.File, error) {
	fd, err := fsmount.Open("cgroup2", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "cgroup2")
	detachedCgroups.Store(f)
	return f, nil
})

// cgroupMount reads proc_pid_mountinfo(5): ID parent device root mount-point
// options … - type source options. Another mount may cover one that it lists: reached
// reports whether one is still to be found at its place.
func cgroupMount(mountinfo []byte, reached func(dir string) bool) (dir, root string) {
	lines := bufio.NewScanner(bytes.NewReader(mountinfo))
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		w := strings.Fields(before)
		if !ok || len(w) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		at, r := unescape(w[4]), unescape(w[3])
		if (dir == "" || len(r) < len(root)) && reached(at) { // the widest view
			dir, root = at, r
		}
	}
	return dir, root
}

func isCgroup2(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// FindCgroup returns the cgroup v2 of that name: the path of its directory, or its path
// below the root as /proc/PID/cgroup has it. The error is an injector.ErrConfig if there
// is no such cgroup, or if it is the root, which contains every process.
func FindCgroup(name string) (*Cgroup, error) {
	mount, root, err := CgroupMount()
	if err != nil {
		return nil, err
	}
	dir := filepath.Clean(name)
	if dir != mount && !strings.HasPrefix(dir, mount+"/") {
		dir = filepath.Join(mount, dir)
	}
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err = unix.Statfs(dir, &fs); err == nil {
		err = unix.Stat(dir, &st)
	}
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
		return nil, kerror.Configf("there is not a cgroup v2 %q in %s", name, mount)
	case err != nil:
		return nil, fmt.Errorf("look at the cgroup %s: %w", dir, kerror.Explain(err))
	case fs.Type != unix.CGROUP2_SUPER_MAGIC || st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return nil, kerror.Configf("%q is not a cgroup v2", name)
	}
	below := path.Join(root, strings.TrimPrefix(dir, mount))
	below = strings.Trim(below, "/")
	if below == "" {
		return nil, kerror.Configf("%q is the root of cgroup v2, which every process is in", name)
	}
	return &Cgroup{Path: below, Dir: dir, ID: st.Ino, Level: uint32(strings.Count(below, "/") + 1)}, nil
}

// CanCreate reports why this process cannot create cgroups in a cgroup v2. The error
// is an injector.ErrPermission.
func CanCreate(dir string) error {
	switch err := unix.Access(dir, unix.W_OK); {
	case errors.Is(err, unix.EROFS):
		return kerror.Deniedf("cgroup v2 is mounted read-only")
	case err != nil:
		return kerror.Deniedf("cgroup v2 cannot be written by this user")
	}
	return nil
}

// OwnCgroup returns the directory of the cgroup v2 that this process is in.
func OwnCgroup() (string, error) {
	mount, root, err := CgroupMount()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("find the own cgroup: %w", err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		own, ok := strings.CutPrefix(line, "0::")
		if !ok {
			continue
		}
		if rest, inside := strings.CutPrefix(own, root); inside && !strings.Contains(own, "/..") {
			return filepath.Join(mount, rest), nil
		}
		return mount, nil // it is outside of the mounted part
	}
	return "", fmt.Errorf("find the own cgroup: %w: this process is in no cgroup v2", fs.ErrNotExist)
}
