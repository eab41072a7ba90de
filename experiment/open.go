package experiment

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
)

// Open lists the open connections in the namespace that the plan matches,
// client first. If the plan has a command, there are none before it runs.
// Connections that this host only forwards are not listed.
func (p *Plan) Open() ([]event.Ends, error) {
	flows := []event.Ends{}
	if len(p.Spec.Command) > 0 {
		return flows, nil
	}
	dir, err := p.netDir()
	if err != nil {
		return nil, err
	}
	all, err := place.Sockets(dir)
	rule := &p.cfg.Rules[0]
	owned := p.sys.ownedBy(rule.Match.Owner)
	for _, s := range all {
		there, back := rule.Match.Matches(s.Local, s.Remote), rule.Match.Matches(s.Remote, s.Local)
		switch {
		case place.Protects(p.cfg.Protect, s) || !there && !back || !owned(s):
			continue
		case !there || back && s.Local.Port() < s.Remote.Port(): // services listen on the lower ports
			s.Local, s.Remote = s.Remote, s.Local
		}
		flows = append(flows, event.Ends{Client: s.Local.String(), Server: s.Remote.String()})
	}
	slices.SortFunc(flows, func(a, b event.Ends) int { return strings.Compare(a.Server+" "+a.Client, b.Server+" "+b.Client) })
	return slices.Compact(flows), err // both ends of a connection over loopback are here
}

// ownedBy returns a function that recognizes the sockets of an owner's
// processes, as far as the user may see who owns them.
func (sys *System) ownedBy(o target.Owner) func(place.Socket) bool {
	inodes := map[string]bool{}
	if o.Cgroup != nil {
		filepath.WalkDir(o.Cgroup.Dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Base(path) != "cgroup.procs" {
				return nil
			}
			procs, _ := os.ReadFile(path)
			for _, word := range strings.Fields(string(procs)) {
				pid, _ := strconv.Atoi(word)
				for _, inode := range sys.SocketsOf(pid) {
					inodes[inode] = true
				}
			}
			return nil
		})
	}
	return func(s place.Socket) bool {
		return (o.UID == nil || *o.UID == s.UID) && (o.Cgroup == nil || inodes[s.Inode])
	}
}

// netDir is the net directory of a process in the namespace of the plan.
func (p *Plan) netDir() (string, error) {
	proc := p.sys.Proc
	switch {
	case p.cfg.NetNS == nil:
		return filepath.Join(proc, "self", "net"), nil
	case p.Spec.Target.PID != 0:
		return filepath.Join(proc, strconv.Itoa(p.Spec.Target.PID), "net"), nil
	}
	want, err := p.cfg.NetNS.Stat()
	if err != nil {
		return "", pathless(err)
	}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return "", pathless(err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		ns, err := os.Stat(filepath.Join(proc, e.Name(), "ns", "net"))
		if err == nil && os.SameFile(ns, want) {
			return filepath.Join(proc, e.Name(), "net"), nil
		}
	}
	return "", errors.New("no process lives in that network namespace")
}

// pathless removes the operation and path that os adds to an error.
func pathless(err error) error {
	var p *os.PathError
	switch {
	case errors.Is(err, fs.ErrPermission):
		return injector.ErrPermission
	case errors.As(err, &p):
		return p.Err
	}
	return err
}
