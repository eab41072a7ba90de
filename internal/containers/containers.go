// Package containers finds the network namespaces of containers through the
// sockets of Docker and Podman, which have the same API. It only reads: nothing
// is started, stopped or changed.
package containers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// Container is a container as its engine describes it.
type Container struct {
	ID   string // 64 hexadecimal digits
	Name string // without the slash that Docker puts before it

	Engine  string // the address of its engine, such as unix:///run/docker.sock
	Running bool
	Pid     int    // of its first process, in the engine's PID namespace; 0 unless Running
	Started string // when that was started; changes with each start

	// HostNetwork says that it uses the host's network namespace.
	HostNetwork bool
	SharedWith  string // the container whose network namespace it uses; empty for its own

	// Sandbox is the file by which the engine keeps the network namespace open.
	// It may be empty, or in a mount namespace that cannot be reached.
	Sandbox string
}

// Engines are the container engines of this machine whose sockets are known.
type Engines struct {
	Getenv func(string) string // DOCKER_HOST and CONTAINER_HOST; nil means os.Getenv
	Run    string              // where sockets lie; empty means /run
}

// patience is how long an engine may take to answer.
const patience = 5 * time.Second

// The errors of Find.
var (
	ErrNone       = errors.New("no such container")
	ErrNoEngine   = errors.New("no container engine can be reached")
	ErrPermission = errors.New("the container engine's socket may not be used")
	ErrAmbiguous  = errors.New("several container engines have such a container")
)

// NotFound is ErrNone with the names that exist.
type NotFound struct {
	Name  string
	Names []string // of all containers, running or not
}

func (e *NotFound) Error() string { return ErrNone.Error() }

// Is makes a NotFound an ErrNone.
func (e *NotFound) Is(target error) bool { return target == ErrNone }

// Unreachable says which sockets were tried, and why each failed. It is an
// ErrPermission if that is the reason, else an ErrNoEngine.
type Unreachable struct {
	Tried  []string
	Denied bool
}

func (e *Unreachable) Error() string {
	what := ErrNoEngine
	if e.Denied {
		what = ErrPermission
	}
	return what.Error() + ": " + strings.Join(e.Tried, "; ")
}

// Is makes an Unreachable one of the two errors.
func (e *Unreachable) Is(target error) bool {
	return target == ErrPermission && e.Denied || target == ErrNoEngine && !e.Denied
}

// Addresses lists where engines may be reached. If the environment names one, it
// is the only one. Otherwise they are Docker and Podman of the machine, then
// those of the user, or of the user who called sudo.
func (e *Engines) Addresses() []string {
	getenv := e.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	for _, v := range []string{"DOCKER_HOST", "CONTAINER_HOST"} {
		if host := getenv(v); host != "" {
			return []string{host}
		}
	}
	run := e.Run
	if run == "" {
		run = "/run"
	}
	dirs := []string{run}
	if d := getenv("XDG_RUNTIME_DIR"); d != "" {
		dirs = append(dirs, d)
	}
	if uid := getenv("SUDO_UID"); uid != "" {
		dirs = append(dirs, filepath.Join(run, "user", uid))
	}
	var all []string
	for _, d := range dirs {
		all = append(all, "unix://"+filepath.Join(d, "docker.sock"), "unix://"+filepath.Join(d, "podman", "podman.sock"))
	}
	return all
}

// Find asks every engine for the container with that name or ID. A unique prefix
// of an ID is enough. The container need not be running.
func (e *Engines) Find(ctx context.Context, name string) (*Container, error) {
	var found []*Container
	var names []string
	none, failed := 0, &Unreachable{}
	for _, address := range e.Addresses() {
		c, others, err := ask(ctx, address, name)
		switch {
		case err == nil:
			found = append(found, c)
		case errors.Is(err, ErrNone):
			none++
			names = append(names, others...)
		default:
			failed.Denied = failed.Denied || errors.Is(err, fs.ErrPermission)
			failed.Tried = append(failed.Tried, fmt.Sprintf("%s (%v)", address, why(err)))
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, fmt.Errorf("%w: %s and %s; DOCKER_HOST says which engine is meant", ErrAmbiguous, found[0].Engine, found[1].Engine)
	case none > 0:
		return nil, &NotFound{name, names}
	}
	return nil, failed
}

// ask asks one engine.
func ask(ctx context.Context, address, name string) (*Container, []string, error) {
	api, err := dial(address)
	if err != nil {
		return nil, nil, err
	}
	defer api.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	result, err := api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return nil, list(ctx, api, true), ErrNone
	}
	if err != nil {
		return nil, nil, err
	}
	c, err := describe(result.Raw)
	if err != nil {
		return nil, nil, err
	}
	c.Engine = address
	return c, nil, nil
}

// list returns the names of an engine's containers.
func list(ctx context.Context, api *client.Client, all bool) (names []string) {
	answer, err := api.ContainerList(ctx, client.ContainerListOptions{All: all})
	if err != nil {
		return nil
	}
	for _, c := range answer.Items {
		for _, n := range c.Names {
			names = append(names, strings.TrimPrefix(n, "/"))
		}
	}
	return names
}

// Names lists the running containers of all engines that can be reached.
func (e *Engines) Names(ctx context.Context) (names []string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, address := range e.Addresses() {
		if api, err := dial(address); err == nil {
			names = append(names, list(ctx, api, false)...)
			api.Close()
		}
	}
	return names
}

func dial(address string) (*client.Client, error) {
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		conn, err := net.DialTimeout("unix", path, patience)
		if err != nil {
			return nil, err // the client would say less
		}
		conn.Close()
	}
	opts := []client.Opt{client.WithHost(address)}
	if u, err := url.Parse(address); err == nil && u.Scheme == "tcp" {
		opts = append(opts, client.WithTLSClientConfigFromEnv())
	}
	return client.New(opts...)
}

// inspected is the part of an engine's answer that is used. Engines differ in the
// rest.
type inspected struct {
	ID    string `json:"Id"`
	Name  string
	State struct {
		Running   bool
		Pid       int
		StartedAt string
	}
	HostConfig      struct{ NetworkMode string }
	NetworkSettings struct{ SandboxKey string }
}

func describe(raw []byte) (*Container, error) {
	var in inspected
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("read the engine's answer: %w", err)
	}
	c := &Container{
		ID: in.ID, Name: strings.TrimPrefix(in.Name, "/"), Running: in.State.Running && in.State.Pid > 0, Pid: in.State.Pid, Started: in.State.StartedAt,
		HostNetwork: in.HostConfig.NetworkMode == "host", Sandbox: in.NetworkSettings.SandboxKey,
	}
	if other, ok := strings.CutPrefix(in.HostConfig.NetworkMode, "container:"); ok {
		c.SharedWith = other
	}
	if !c.Running {
		c.Pid = 0
	}
	return c, nil
}

// why says in a word or two what is wrong with a socket.
func why(err error) error {
	var p *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("not there")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("permission denied")
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("nobody listens")
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", patience)
	case errors.As(err, &p):
		return p.Err
	}
	return err
}

// Watch calls happened whenever the engine reports an event about a container
// with that name or ID, until ctx is done or the engine is gone. Find tells the
// container's state after an event.
func (c *Container) Watch(ctx context.Context, name string, happened func()) error {
	api, err := dial(c.Engine)
	if err != nil {
		return err
	}
	defer api.Close()
	events := api.Events(ctx, client.EventsListOptions{Filters: make(client.Filters).Add("type", "container").Add("container", name)})
	for {
		select {
		case <-events.Messages:
			happened()
		case err := <-events.Err:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
