package cage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/netns"
	"github.com/faultctl/faultctl/internal/procid"
	"golang.org/x/sys/unix"
)

// prefix is what the name of each of our cgroups starts with; the process, as procid
// names it, and a number follow.
const prefix = "faultctl-"

// made counts the cgroups that this process has created, for their names.
var made atomic.Uint32

// cgroupCage is a cage that is a cgroup v2.
type cgroupCage struct {
	cgroup *target.Cgroup
	dir    *os.File
	netns  *os.File // borrowed
	guard  *guardian
	cmd    *exec.Cmd // the command; nil until it was started
}

// Foreseen returns the owner that the next cage made by NewCgroup will have,
// except for the id, which only the kernel knows. It serves to show rules.
func Foreseen() target.Owner {
	g := &target.Cgroup{Path: name(made.Load() + 1), Level: 1}
	own, err1 := target.OwnCgroup()
	mount, root, err2 := target.CgroupMount()
	if err1 == nil && err2 == nil {
		g.Path = strings.Trim(filepath.Join(root, strings.TrimPrefix(own, mount), g.Path), "/")
		g.Level = uint32(strings.Count(g.Path, "/") + 1)
	}
	return target.Owner{Cgroup: g}
}

// ourCgroup matches what name makes.
var ourCgroup = regexp.MustCompile(`^` + prefix + `(` + procid.Pattern + `)-[0-9]+$`)

// name is that of the nth cgroup of this process.
func name(n uint32) string { return fmt.Sprintf("%s%s-%d", prefix, procid.Self(), n) }

// NewCgroup creates a cage that is a cgroup v2 below this process's own, so that
// limits on this process apply to the command too. Its processes run in netns,
// which must stay open until Close; nil means the caller's own. If no cgroup can
// be created, the error is an injector.ErrPermission or injector.ErrNotSupported.
func NewCgroup(netns *os.File) (Cage, error) {
	own, err := target.OwnCgroup()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(own, name(made.Add(1)))
	g := &cgroupCage{netns: netns}
	// This process reaps orphans of the command: not every container has an init
	// that does.
	unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	if err := target.CanCreate(own); err != nil {
		return nil, err
	}
	if g.guard, err = guardCgroup(path); err != nil {
		return nil, err
	}
	if err = g.open(path); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

func (g *cgroupCage) open(path string) error {
	err := os.Mkdir(path, 0o755)
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("create the cgroup %s: %w (%w)", path, injector.ErrPermission, bare(err))
	case err != nil:
		return fmt.Errorf("create the cgroup %s: %w", path, bare(err))
	}
	if g.cgroup, err = target.FindCgroup(path); err != nil {
		return err
	}
	if g.dir, err = os.Open(path); err != nil {
		return fmt.Errorf("open the cgroup %s: %w", path, bare(err))
	}
	return nil
}

func (g *cgroupCage) Owner() target.Owner { return target.Owner{Cgroup: g.cgroup} }
func (g *cgroupCage) NetNS() *os.File     { return g.netns }

// Start creates the process in the cgroup, so that it cannot open a connection
// outside of it.
func (g *cgroupCage) Start(cmd *exec.Cmd) (Process, error) {
	if !canCloneInto() {
		if err := g.startHeld(cmd); err != nil {
			return nil, err
		}
		return child{cmd}, nil
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(g.dir.Fd())
	err := startChild(cmd, func() error { return netns.Do(g.netns, cmd.Start) })
	if err != nil {
		return nil, err
	}
	g.cmd = cmd
	return child{cmd}, nil
}

func (g *cgroupCage) Empty() error {
	err := kill(g.cgroup.Dir)
	forgetChild(g.cmd)
	reapOrphans()
	return err
}

func (g *cgroupCage) Close() error {
	var err error
	if g.dir != nil {
		g.dir.Close()
	}
	if g.cgroup != nil {
		err = remove(g.cgroup.Dir)
	}
	return errors.Join(err, g.guard.stop())
}

// patience is how long processes may take to die after SIGKILL.
const patience = 20 * time.Second

// kill kills every process in the cgroup at path and in those below, and returns
// when none is left. A cgroup that does not exist has none.
func kill(path string) error {
	err := write(filepath.Join(path, "cgroup.kill"), "1")
	byHand := errors.Is(err, fs.ErrNotExist) // before Linux 5.14
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if byHand {
			killEach(path)
		}
		events, err := os.ReadFile(filepath.Join(path, "cgroup.events"))
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENODEV):
			return nil
		case err != nil:
			return fmt.Errorf("read the cgroup %s: %w", path, bare(err))
		case bytes.Contains(events, []byte("populated 0")):
			return nil
		case time.Now().After(end):
			return fmt.Errorf("processes in the cgroup %s do not die of SIGKILL: they wait for a device", path)
		}
	}
}

func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func killEach(path string) {
	filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return nil
		}
		procs, _ := os.ReadFile(p)
		for _, pid := range strings.Fields(string(procs)) {
			if n, err := strconv.Atoi(pid); err == nil && n > 0 {
				unix.Kill(n, unix.SIGKILL)
			}
		}
		return nil
	})
}

// remove removes an empty cgroup and those below it.
func remove(path string) error {
	entries, _ := os.ReadDir(path)
	for _, e := range entries {
		if e.IsDir() {
			if err := remove(filepath.Join(path, e.Name())); err != nil {
				return err
			}
		}
	}
	// A process that has ended may be counted for a moment longer.
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := unix.Rmdir(path)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EBUSY) || time.Now().After(end):
			return fmt.Errorf("remove the cgroup %s: %w", path, err)
		}
	}
}

// Cleanup kills the processes in cgroups that instances of faultctl which are no
// longer alive left below this process's own, removes these cgroups, and returns
// their paths. There are such cgroups only if faultctl and its guardian were both
// killed.
func Cleanup() ([]string, error) {
	own, err := target.OwnCgroup()
	if err != nil {
		return nil, nil // without cgroup v2 there are none of ours
	}
	entries, err := os.ReadDir(own)
	if err != nil {
		return nil, fmt.Errorf("read the cgroup %s: %w", own, bare(err))
	}
	var removed []string
	for _, e := range entries {
		m := ourCgroup.FindStringSubmatch(e.Name())
		if m == nil || procid.Alive(m[1]) || !e.IsDir() {
			continue
		}
		path := filepath.Join(own, e.Name())
		if err := errors.Join(kill(path), remove(path)); err != nil {
			return removed, err
		}
		removed = append(removed, path)
	}
	return removed, nil
}

// bare returns the cause of an *fs.PathError, because the message names the path
// already.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
