// Package procid names processes so that no two of the machine have the same name.
// Containers have PID namespaces of their own, and so the same numbers of processes;
// only with its PID namespace does a number stand for one process.
package procid

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Pattern is a regular expression without groups that matches exactly the names of
// processes.
const Pattern = `[0-9]+(?:_ns[0-9]+)?`

// initNS is the inode of the machine's first PID namespace (PROC_PID_INIT_INO of
// linux/nsfs.h).
const initNS = "4026531836"

// Self is the name of this process: its number, and behind it its PID namespace,
// unless that is the machine's first one.
func Self() string { return Of(os.Getpid()) }

// Of is the name of a process of this process's PID namespace.
func Of(pid int) string { return name(pid, own()) }

func name(pid int, ns string) string {
	if ns == initNS {
		return strconv.Itoa(pid)
	}
	return strconv.Itoa(pid) + "_ns" + ns
}

// own is the inode of this process's PID namespace. Where /proc does not tell, it is a
// random number, which names the process just as well.
var own = sync.OnceValue(func() string {
	if ns := nsOf("/proc/self"); ns != "" {
		return ns
	}
	return strconv.FormatUint(uint64(rand.Uint32()), 10)
})

// nsOf is the inode of a process's PID namespace; empty if that is not known.
func nsOf(dir string) string {
	link, err := os.Readlink(filepath.Join(dir, "ns", "pid"))
	ns, is := strings.CutPrefix(link, "pid:[")
	if err != nil || !is {
		return ""
	}
	return strings.TrimSuffix(ns, "]")
}

var parts = regexp.MustCompile(`^([0-9]+)(?:_ns([0-9]+))?$`)

// Alive reports whether the process of that name may exist. A process sees only those
// of its own PID namespace and of the namespaces below it: any other may exist. What
// names no process is not alive.
func Alive(process string) bool {
	m := parts.FindStringSubmatch(process)
	if m == nil {
		return false
	}
	pid, ns := m[1], m[2]
	if ns == "" {
		ns = initNS
	}
	if ns == own() {
		_, err := os.Stat("/proc/" + pid)
		return err == nil
	}
	if own() != initNS {
		return true
	}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range procs {
		if nsOf(dir) == ns && innermost(dir) == pid {
			return true
		}
	}
	return false
}

// innermost is the number of a process in its own PID namespace.
func innermost(dir string) string {
	status, _ := os.ReadFile(filepath.Join(dir, "status"))
	for line := range strings.Lines(string(status)) {
		if rest, is := strings.CutPrefix(line, "NSpid:"); is {
			if all := strings.Fields(rest); len(all) > 0 {
				return all[len(all)-1]
			}
		}
	}
	return ""
}
