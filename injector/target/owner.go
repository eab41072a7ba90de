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

// Owner narrows a rule to connections of which a local process holds an end.
// The kernel knows a packet's process only where there is a local socket: on
// output, and for a cgroup on input as well. There the flow is learnt, and
// matched by its set everywhere else. So a connection that this host merely
// forwards belongs to nobody. A flow of a server is learnt by user with its
// first answer, since nobody knows the user of a listener that a SYN is for.
type Owner struct {
	// Cgroup is the cgroup v2 whose processes are meant, those in cgroups below
	// it included. Nil means any.
	Cgroup *Cgroup

	// UID is the user whose processes are meant, as the network namespace's user
	// namespace counts. Nil means any.
	UID *uint32
}

// Any reports whether o leaves every connection in.
func (o Owner) Any() bool { return o.Cgroup == nil && o.UID == nil }

// Cgroup is a cgroup v2 as the kernel matches it. FindCgroup returns one.
type Cgroup struct {
	Path  string // below the root of the hierarchy, without a slash at either end
	Dir   string // where it is in the file system
	ID    uint64 // the inode number of Dir
	Level uint32 // how deep below the root it lies, from 1 on
}

// CgroupMount returns the directory at which cgroup v2 is mounted and the path
// of its root in the hierarchy, "/" unless a part of it only is mounted. The
// mount may sit beside those of v1. The error is an injector.ErrNotSupported.
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

// FindCgroup returns the cgroup v2 of that name: the path of its directory, or
// its path below the root as /proc/PID/cgroup has it. The error is an injector.ErrConfig
// if it is none, or the root, which every process is in.
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
		return mount, nil // it lies outside of what is mounted here
	}
	return "", fmt.Errorf("find the own cgroup: %w: this process is in no cgroup v2", fs.ErrNotExist)
}
