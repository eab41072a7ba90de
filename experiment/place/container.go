package place

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/internal/containers"
	"github.com/faultctl/faultctl/internal/netns"
	"github.com/faultctl/faultctl/internal/words"
)

// OpenContainer opens the network namespace that a running container uses. It
// checks that the process that the engine names really belongs to the
// container, because a number from another machine, or of a process that has
// ended, may belong to an unrelated process here. wide says that the target
// names neither an address nor an owner.
func (h *Host) OpenContainer(ctx context.Context, name string, wide bool) (f *os.File, c *containers.Container, err error) {
	for range 3 { // it may be restarted meanwhile
		if c, err = h.Container(ctx, name); err != nil {
			return nil, nil, containerError(name, err)
		}
		if !c.Running {
			return nil, nil, notRunning(name)
		}
		proc := filepath.Join(h.Proc, strconv.Itoa(c.Pid))
		f, err = netns.Open(filepath.Join(proc, "ns", "net"))
		if err == nil && !h.isOf(proc, f, c) {
			f.Close()
			err = fs.ErrNotExist
		}
		again, err2 := h.Container(ctx, name)
		if err2 == nil && again.Running && again.Pid == c.Pid && again.Started == c.Started {
			break
		}
		if err == nil {
			f.Close()
		}
		err = errMoving
	}
	switch {
	case errors.Is(err, errMoving):
		return nil, nil, event.Failuref("container", "%w", err).WithValue(name)
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, event.Refusedf("container", "process %d, which %s says it is, is not a process of that container here", c.Pid, c.Engine).WithValue(name).
			WithAdvice("Its engine is on another machine, in a virtual machine, or in another PID namespace: run faultctl where the engine runs.")
	case err != nil:
		return nil, nil, netnsError("container", name, err)
	}
	if wide && (c.HostNetwork || h.IsOwn(f)) {
		f.Close()
		return nil, nil, event.Refusedf("container", "it has no network namespace of its own but uses the host's, and every connection of the host would be struck").WithValue(name).
			WithAdvice("Say which connections with --to or --from, or with --cgroup, which knows its processes apart from the others.")
	}
	return f, c, nil
}

var errMoving = errors.New("it is restarted again and again")

// isOf reports whether a process belongs to the container: by the namespace
// that the engine keeps, by its cgroup, or by the files that engines mount into
// a container from a directory that has its ID.
func (h *Host) isOf(proc string, ns *os.File, c *containers.Container) bool {
	mine, err := ns.Stat()
	if err != nil || len(c.ID) < 12 {
		return false
	}
	// If the engine has a mount namespace of its own, this file is empty here.
	if sandbox, err := netns.Open(c.Sandbox); err == nil {
		defer sandbox.Close()
		is, err := sandbox.Stat()
		return err == nil && os.SameFile(mine, is)
	}
	for _, file := range []string{"cgroup", "mountinfo"} {
		if text, err := os.ReadFile(filepath.Join(proc, file)); err == nil && bytes.Contains(text, []byte(c.ID)) {
			return true
		}
	}
	return false
}

// IsOwn reports whether a network namespace is the one that faultctl is in.
func (h *Host) IsOwn(ns *os.File) bool {
	mine, err1 := ns.Stat()
	own, err2 := os.Stat(filepath.Join(h.Proc, "self", "ns", "net"))
	return err1 == nil && err2 == nil && os.SameFile(mine, own)
}

func notRunning(name string) error {
	return event.Usagef("container", "%w", errNotRunning).WithValue(name).WithAdvice("Start it first: its connections end with it.")
}

var errNotRunning = errors.New("it is not running")

// containerError says what to do about an error of Find.
func containerError(name string, err error) error {
	var none *containers.NotFound
	switch {
	case errors.As(err, &none):
		e := event.Usagef("container", "%w%s", err, words.DidYouMean(name, none.Names)).WithValue(name)
		if len(none.Names) == 0 {
			return e.WithAdvice("There is no container at all; docker ps and podman ps list those of each user.")
		}
		return e.WithAdvice("There are " + strings.Join(none.Names, ", ") + ".")
	case errors.Is(err, containers.ErrPermission):
		return event.Preflightf("container", "%w", err).WithValue(name).WithAdvice("Run it with sudo, or as a user of the socket's group, often docker. For a rootless engine: as the user who owns it.")
	case errors.Is(err, containers.ErrNoEngine):
		return event.Preflightf("container", "%w", err).WithValue(name).WithAdvice("Start Docker, or Podman's service (systemctl start podman.socket), or say with DOCKER_HOST where it listens. " +
			"--pid and --netns need no engine.")
	case errors.Is(err, containers.ErrAmbiguous):
		return event.Usagef("container", "%w", err).WithValue(name)
	}
	return event.Failuref("container", "%w", err).WithValue(name)
}

// Where says in which network namespace a container is.
func Where(name string, c *containers.Container) string {
	s := "that of container " + name
	switch {
	case c.HostNetwork:
		s += ", which is the host's"
	case c.SharedWith != "":
		s += ", which it shares"
	}
	return s
}
