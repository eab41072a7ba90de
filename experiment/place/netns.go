// Package place finds the network namespaces, containers, processes and
// sockets of a host, and the connections that no run may touch.
package place

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/containers"
	"github.com/faultctl/faultctl/internal/netns"
	"github.com/faultctl/faultctl/internal/words"
)

// Host is how this package reads the machine. Tests replace it.
type Host struct {
	Proc      string   // where /proc is
	NetNSDirs []string // where named network namespaces are
	Now       func() time.Time
	After     func(time.Duration) <-chan time.Time
	Getenv    func(string) string // the environment of this process
	Local     func() []netip.Addr // addresses of this network namespace; nil: unknown

	// Container finds a container by its name or ID.
	Container func(ctx context.Context, name string) (*containers.Container, error)
	// ContainerNames lists the running containers.
	ContainerNames func() []string
	// WatchContainer calls happened for each of the engine's events about a
	// container of that name, until ctx is done or the engine has ended.
	WatchContainer func(ctx context.Context, c *containers.Container, name string, happened func())
}

// OpenNetNS opens the network namespace that a name or a path names. The error
// is an *event.Error about the word netns.
func (h *Host) OpenNetNS(name string) (*os.File, error) {
	if strings.Contains(name, "/") {
		f, err := netns.Open(name)
		return f, netnsError("netns", name, err)
	}
	for _, dir := range h.NetNSDirs {
		f, err := netns.Open(filepath.Join(dir, name))
		if !errors.Is(err, fs.ErrNotExist) {
			return f, netnsError("netns", name, err)
		}
	}
	names := h.NetNSNames()
	e := event.Usagef("netns", "%w%s", injector.ErrNoNamespace, words.DidYouMean(name, names)).WithValue(name)
	if len(names) > 0 {
		return nil, e.WithAdvice("There are: " + strings.Join(names, ", ") + ".")
	}
	return nil, e.WithAdvice("No network namespace has a name here. Give --pid PID for that of a process, or a path such as /proc/PID/ns/net.")
}

// StatNetNS tells which network namespace OpenNetNS would open: os.SameFile compares two.
// The error is fs.ErrNotExist if there is none.
func (h *Host) StatNetNS(name string) (info os.FileInfo, err error) {
	if strings.Contains(name, "/") {
		return os.Stat(name)
	}
	err = fs.ErrNotExist
	for _, dir := range h.NetNSDirs {
		if info, err = os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return info, err
}

// OpenNetNSOf opens the network namespace of a process. The error is an
// *event.Error about the word pid.
func (h *Host) OpenNetNSOf(pid int) (*os.File, error) {
	number := strconv.Itoa(pid)
	f, err := netns.Open(filepath.Join(h.Proc, number, "ns", "net"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, event.Usagef("pid", "there is no such process").WithValue(number)
	}
	return f, netnsError("pid", number, err)
}

// netnsError is the error of a network namespace that a word of the Spec names.
func netnsError(word event.Field, value string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return event.Preflightf(word, "open the network namespace: %w", injector.ErrPermission).WithValue(value)
	case errors.Is(err, fs.ErrNotExist):
		return event.Usagef(word, "%w", injector.ErrNoNamespace).WithValue(value)
	case errors.Is(err, netns.ErrNotNetNS):
		return event.Usagef(word, "%w", err).WithValue(value)
	}
	return event.Failuref(word, "open the network namespace: %w", err).WithValue(value)
}

// NetNSNames lists the network namespaces that have a name.
func (h *Host) NetNSNames() []string {
	for _, dir := range h.NetNSDirs {
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
