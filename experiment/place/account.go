package place

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/internal/cage"
)

// An Account is the user who runs a command, with the environment that it is given.
// Nil stands for the user who runs faultctl, with faultctl's environment.
type Account struct {
	Name     string // as it is said to people
	UID, GID uint32
	Groups   []uint32
	Env      []string
}

// passedEnv hands the environment of sudo's caller to a faultctl that cannot see the
// process, because it is in namespaces of its own.
const passedEnv = "FAULTCTL_CALLER_ENV"

// AccountOf finds the user who is to run a command. Named is a name or a number;
// without one it is the user who called sudo, if faultctl was started by sudo, with
// the environment that this user had. It is nil if that is the user who runs faultctl.
// The error is an *event.Error about the word user.
func (h *Host) AccountOf(named string) (*Account, error) {
	uid := cage.UID()
	bySudo := named == ""
	if bySudo {
		named = h.Getenv("SUDO_UID")
		if named == "" || uid != 0 {
			return nil, nil
		}
	}
	a, err := h.lookUp(named)
	if err != nil {
		return nil, err
	}
	if int(a.UID) == uid {
		return nil, nil
	}
	if uid != 0 {
		return nil, event.Preflightf("user", "only root can run the command as somebody else").WithValue(named).WithAdvice("Run faultctl with sudo.")
	}
	env := os.Environ()
	if strconv.FormatUint(uint64(a.UID), 10) == h.Getenv("SUDO_UID") {
		if caller := h.CallerEnv(); caller != nil {
			env = overlay(caller, env)
		}
	}
	a.Env = append(slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, "SUDO_") || strings.HasPrefix(v, passedEnv+"=") }), a.Env...)
	return a, nil
}

// lookUp finds an account by its name or number. Its Env is what login sets. A number
// need not be that of an account, as in a container.
func (h *Host) lookUp(named string) (*Account, error) {
	u, err := user.Lookup(named)
	number, notNumber := strconv.ParseUint(named, 10, 32)
	if err != nil && notNumber == nil {
		if u, err = user.LookupId(named); err != nil {
			gid := number
			if named == h.Getenv("SUDO_UID") {
				if g, err := strconv.ParseUint(h.Getenv("SUDO_GID"), 10, 32); err == nil {
					gid = g
				}
			}
			return &Account{Name: named, UID: uint32(number), GID: uint32(gid), Env: []string{"HOME=/"}}, nil
		}
	}
	if err != nil {
		return nil, event.Usagef("user", "there is no such user").WithValue(named)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, event.Failuref("user", "%w", err).WithValue(named)
	}
	a := &Account{Name: u.Username, UID: uint32(uid), GID: uint32(gid), Env: []string{"HOME=" + u.HomeDir, "USER=" + u.Username, "LOGNAME=" + u.Username}}
	groups, _ := u.GroupIds() // without them it has only its own
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			a.Groups = append(a.Groups, uint32(n))
		}
	}
	return a, nil
}

// CallerEnv is the environment of the user who called sudo, as sudo was given it: sudo
// itself passes on little of it, and a PATH of its own. Nil: it is not known.
func (h *Host) CallerEnv() (env []string) {
	if passed := h.Getenv(passedEnv); passed != "" {
		json.Unmarshal([]byte(passed), &env)
		return env
	}
	for pid, seen := os.Getppid(), 0; pid > 1 && seen < 100; seen++ {
		dir := filepath.Join(h.Proc, strconv.Itoa(pid))
		if name, _ := os.ReadFile(filepath.Join(dir, "comm")); string(name) == "sudo\n" {
			text, err := os.ReadFile(filepath.Join(dir, "environ"))
			if err != nil || len(text) == 0 {
				return nil
			}
			return strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
		}
		pid, _ = h.lineage(strconv.Itoa(pid))
	}
	return nil
}

// PassCallerEnv has a faultctl that this one starts in namespaces of its own know what
// CallerEnv is.
func (h *Host) PassCallerEnv() {
	if h.Getenv("SUDO_UID") == "" {
		return
	}
	if env := h.CallerEnv(); env != nil {
		text, _ := json.Marshal(env)
		const most = 100 << 10 // the kernel passes on 128 KiB a variable
		if len(text) < most {
			os.Setenv(passedEnv, string(text))
		}
	}
}

// overlay adds to the environment of sudo's caller what was set behind it, as in sudo
// NAME=value faultctl. What sudo sets by itself is left out.
func overlay(caller, env []string) []string {
	bySudo := []string{"HOME", "PATH", "USER", "LOGNAME", "SHELL", "MAIL", "TERM"}
	all := slices.Clone(caller)
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		if !slices.Contains(bySudo, name) {
			all = append(all, v) // the last one counts
		}
	}
	return all
}

// getenv is a variable of the command's environment.
func (a *Account) getenv(name string) string {
	if a == nil {
		return os.Getenv(name)
	}
	value := ""
	for _, v := range a.Env {
		if rest, is := strings.CutPrefix(v, name+"="); is {
			value = rest
		}
	}
	return value
}

// Become makes a command that has not started one of that account; nil leaves it as it
// is.
func Become(cmd *exec.Cmd, a *Account) { a.become(cmd) }

// become makes a command that has not started one of the account.
func (a *Account) become(cmd *exec.Cmd) {
	if a == nil {
		return
	}
	cmd.Env = slices.Clone(a.Env)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.UID, Gid: a.GID, Groups: a.Groups}
}

// FindCommand returns the path of a program, as a finds it in its PATH; nil stands for
// the user who runs faultctl. The error has the exit code for faultctl run.
func FindCommand(name string, a *Account) (string, error) {
	path, err := exec.LookPath(name)
	if a != nil {
		path, err = a.lookPath(name)
	}
	switch {
	case err == nil, errors.Is(err, exec.ErrDot):
		return path, nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EISDIR):
		return "", event.Errorf(event.CodeNotExecutable, "", "%s cannot be executed", name).WithAdvice("Its file must be a program, and you must have the right to execute it (chmod +x).")
	}
	if a != nil {
		return "", event.Errorf(event.CodeNotFound, "", "%s: command not found in the PATH of %s", Quote(name), a.Name).
			WithAdvice("Give the path of the program.")
	}
	return "", event.Errorf(event.CodeNotFound, "", "%s: command not found", Quote(name))
}

// lookPath is exec.LookPath in the PATH of the account.
func (a *Account) lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, executable(name)
	}
	for _, dir := range filepath.SplitList(a.getenv("PATH")) {
		if path := filepath.Join(dir, name); dir != "" && executable(path) == nil {
			return path, nil
		}
	}
	return "", fs.ErrNotExist
}

// executable reports why a file cannot be executed by anybody.
func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return syscall.EISDIR
	case info.Mode()&0o111 == 0:
		return fs.ErrPermission
	}
	return nil
}

// mayBecome says why a command cannot be started as the account.
func (a *Account) mayBecome(err error) error {
	if a == nil || !errors.Is(err, syscall.EPERM) {
		return nil
	}
	return event.Preflightf("user", "run the command as %s: %w", a.Name, err).
		WithAdvice(fmt.Sprintf("It takes CAP_SETUID and CAP_SETGID. %s root runs it as root.", "--user"))
}
