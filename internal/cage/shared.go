package cage

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/netns"
	"github.com/faultctl/faultctl/internal/procid"
	"golang.org/x/sys/unix"
)

// sharedCage is a cage that leaves the command in the network namespace where it is.
// Rules cannot tell its connections from those of others there.
type sharedCage struct {
	netns *os.File // borrowed
	mark  string   // in the environment of the command's processes
	guard *guardian
	cmd   *exec.Cmd // once started
}

// sharedEnv is the variable that marks the processes of a sharedCage.
const sharedEnv = "FAULTCTL_COMMAND"

// Shares reports why New makes no cgroup for commands in netns, nil being the caller's
// own, but a cage in which rules cannot tell the command's connections from those of
// others in the network namespace. It is nil if New makes a cgroup, or nothing at all:
// in the machine's own network namespace everybody's connections would be struck.
func Shares(netns *os.File) error {
	own, err := target.OwnCgroup()
	if err == nil {
		err = target.CanCreate(own)
	}
	if err == nil || machineNetNS(netns) {
		return nil
	}
	return err
}

// machineNetNS reports whether a network namespace is the machine's first one, which
// everything uses that is in no container, or cannot be told from it. Some settings of
// the whole machine are shown only there.
func machineNetNS(ns *os.File) bool {
	shown := true
	netns.Do(ns, func() error {
		_, whole := os.Stat("/proc/sys/net/core/netdev_max_backlog")
		_, each := os.Stat("/proc/sys/net/core/somaxconn") // shown in every namespace
		shown = whole == nil || each != nil
		return nil
	})
	return shown
}

// NewShared creates a cage whose processes stay in netns, which must be open until
// Close; nil means the caller's own. Its Owner is the zero Owner.
func NewShared(netns *os.File) (Cage, error) {
	unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	s := &sharedCage{netns: netns, mark: fmt.Sprintf("%s=%s-%d", sharedEnv, procid.Self(), made.Add(1))}
	var err error
	if s.guard, err = guardMarked(s.mark); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *sharedCage) Owner() target.Owner { return target.Owner{} }
func (s *sharedCage) NetNS() *os.File     { return s.netns }

func (s *sharedCage) Start(cmd *exec.Cmd) (Process, error) {
	cmd.Env = append(cmd.Environ(), s.mark)
	if err := startChild(cmd, func() error { return netns.Do(s.netns, cmd.Start) }); err != nil {
		return nil, err
	}
	s.cmd = cmd
	return child{cmd}, nil
}

// Empty kills what the command left: processes with the mark, what they started, and
// orphans that this process has inherited.
func (s *sharedCage) Empty() error {
	forgetChild(s.cmd)
	return killAll(func() []int {
		reapOrphans()
		up := parents()
		var adopted []int
		for _, pid := range childrenOf(os.Getpid(), up) {
			if !isWaitedFor(pid) {
				adopted = append(adopted, pid)
			}
		}
		return withDescendants(append(marked(s.mark, up), adopted...), up)
	})
}

func (s *sharedCage) Close() error { return s.guard.stop() }

// killAll kills the processes that list returns until there are none.
func killAll(list func() []int) error {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		pids := list()
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return errImmortal
		}
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// parents returns the parent of each process that has not ended.
func parents() map[int]int {
	all := map[int]int{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		stat, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// pid (name) state ppid …; the name may hold anything.
		w := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(w) < 2 {
			continue
		}
		parent, _ := strconv.Atoi(w[1])
		if w[0] != "Z" {
			all[pid] = parent
		}
	}
	return all
}

func childrenOf(pid int, up map[int]int) (children []int) {
	for p, parent := range up {
		if parent == pid {
			children = append(children, p)
		}
	}
	return children
}

// marked lists the processes whose environment has the mark, as far as this process
// may see it.
func marked(mark string, up map[int]int) (pids []int) {
	for pid := range up {
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if bytes.Contains(append([]byte{0}, env...), []byte("\x00"+mark+"\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// withDescendants adds to processes those that they started, each once.
func withDescendants(pids []int, up map[int]int) []int {
	slices.Sort(pids)
	pids = slices.Compact(pids)
	for i := 0; i < len(pids); i++ {
		for _, child := range childrenOf(pids[i], up) {
			if !slices.Contains(pids, child) {
				pids = append(pids, child)
			}
		}
	}
	return pids
}
