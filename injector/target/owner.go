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
	"syscall"

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
// mounted. The hierarchies of v1 may be mounted too. The error is an
// injector.ErrNotSupported.
func CgroupMount() (dir, root string, err error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", "", fmt.Errorf("find cgroup v2: %w", err)
	}
	dir, root = cgroupMount(b)
	if dir == "" {
		return "", "", fmt.Errorf("find cgroup v2: %w: it is not mounted", kerror.ErrNotSupported)
	}
	return dir, root, nil
}

// cgroupMount reads proc_pid_mountinfo(5): ID parent device root mount-point
// options … - type source options.
func cgroupMount(mountinfo []byte) (dir, root string) {
	lines := bufio.NewScanner(bytes.NewReader(mountinfo))
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		w := strings.Fields(before)
		if !ok || len(w) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		if r := unescape(w[3]); dir == "" || len(r) < len(root) { // the widest view
			dir, root = unescape(w[4]), r
		}
	}
	return dir, root
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
		return nil, kerror.Configf("there is no cgroup v2 %q in %s", name, mount)
	case err != nil:
		return nil, fmt.Errorf("look at the cgroup %s: %w", dir, kerror.Explain(err))
	case fs.Type != unix.CGROUP2_SUPER_MAGIC || st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return nil, kerror.Configf("%q is no cgroup v2", name)
	}
	below := path.Join(root, strings.TrimPrefix(dir, mount))
	below = strings.Trim(below, "/")
	if below == "" {
		return nil, kerror.Configf("%q is the root of cgroup v2, which every process is in", name)
	}
	return &Cgroup{Path: below, Dir: dir, ID: st.Ino, Level: uint32(strings.Count(below, "/") + 1)}, nil
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
