package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/injector"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// nsfsMagic is the type of the file system that namespaces live on.
const nsfsMagic = 0x6e736673

// netns opens the network namespace that --netns, --pid or --container names,
// and returns nil for the caller's own. name is for people.
func (h *host) netns(c *cli.Context, t *aim) (f *os.File, name string, err error) {
	ns, pid, box := c.String("netns"), c.String("pid"), c.String("container")
	switch {
	case c.IsSet("netns") && c.IsSet("pid"):
		return nil, "", usageError("--netns %s and --pid %s both name a network namespace: give one", ns, pid)
	case c.IsSet("container") && (c.IsSet("netns") || c.IsSet("pid")):
		return nil, "", usageError("--container %s and --netns or --pid both name a network namespace: give one", box)
	case c.IsSet("container"):
		f, found, err := h.openContainer(c.Context, box, t.wide())
		if err != nil {
			return nil, "", err
		}
		return f, where(box, found), nil
	case c.IsSet("pid"):
		n, err := strconv.Atoi(pid)
		if err != nil || n <= 0 {
			return nil, "", usageError("--pid %s: not the number of a process", pid)
		}
		name = "that of process " + pid
		f, err = openNetns(filepath.Join(h.proc, pid, "ns", "net"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, "", usageError("--pid %s: there is no such process", pid)
		}
		return f, name, netnsError("--pid "+pid, err)
	case !c.IsSet("netns"):
		return nil, "", nil
	case ns == "":
		return nil, "", usageError("--netns: the name is empty")
	case strings.Contains(ns, "/"):
		f, err = openNetns(ns)
		return f, ns, netnsError("--netns "+ns, err)
	}
	for _, dir := range h.netnsDirs {
		f, err = openNetns(filepath.Join(dir, ns))
		if !errors.Is(err, fs.ErrNotExist) {
			return f, ns, netnsError("--netns "+ns, err)
		}
	}
	names := h.netnsNames()
	e := usageError("--netns %s: %w%s", ns, injector.ErrNoNamespace, words.DidYouMean(ns, names))
	if len(names) > 0 {
		return nil, "", e.hint("There are: " + strings.Join(names, ", ") + ".")
	}
	return nil, "", e.hint("No network namespace has a name here. Give --pid PID for that of a process, or a path such as /proc/PID/ns/net.")
}

// openNetns opens a network namespace, and reports if the file is none.
func openNetns(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	var st syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.Fd()), &st); err != nil || st.Type != nsfsMagic || !ofNetwork(f) {
		f.Close()
		return nil, errNotNetns
	}
	return f, nil
}

// ofNetwork reports whether a namespace is one of the network (ioctl_ns(2)).
func ofNetwork(f *os.File) bool {
	kind, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), unix.NS_GET_NSTYPE, 0)
	return errno == 0 && kind == unix.CLONE_NEWNET
}

var errNotNetns = errors.New("that file is not a network namespace")

func netnsError(flag string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: open the network namespace: %w", flag, injector.ErrPermission)
	case errors.Is(err, fs.ErrNotExist):
		return usageError("%s: %w", flag, injector.ErrNoNamespace)
	case errors.Is(err, errNotNetns):
		return usageError("%s: %w", flag, err)
	}
	return fmt.Errorf("%s: open the network namespace: %w", flag, err)
}

// netnsNames lists the network namespaces that have a name.
func (h *host) netnsNames() []string {
	for _, dir := range h.netnsDirs {
		entries, _ := os.ReadDir(dir)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if len(names) > 0 {
			return names
		}
	}
	return nil
}
