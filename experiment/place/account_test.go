package place

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/experiment/event"
)

func codeOf(err error) event.Code {
	var e *event.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return event.CodeOK
}

// TestOverlay holds that the command gets the environment of sudo's caller, and what
// was set behind sudo.
func TestOverlay(t *testing.T) {
	caller := []string{"HOME=/home/dev", "PATH=/home/dev/go/bin:/bin", "GOFLAGS=-race"}
	env := []string{"HOME=/root", "PATH=/sbin:/bin", "USER=root", "MODE=strict", "GOFLAGS=-v"}
	a := &Account{Env: overlay(caller, env)}
	for name, want := range map[string]string{"HOME": "/home/dev", "PATH": "/home/dev/go/bin:/bin", "USER": "", "MODE": "strict", "GOFLAGS": "-v"} {
		if got := a.getenv(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// TestAccountFindsCommand holds that a program is looked for in the PATH of the user
// who runs it, not in faultctl's.
func TestAccountFindsCommand(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"tool": 0o755, "notes": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	a := &Account{Name: "dev", Env: []string{"PATH=/nowhere:" + dir}}
	for name, want := range map[string]event.Code{
		"tool": event.CodeOK, "notes": event.CodeNotFound, "sh": event.CodeNotFound,
		dir + "/tool": event.CodeOK, dir + "/notes": event.CodeNotExecutable, dir: event.CodeNotExecutable, dir + "/none": event.CodeNotFound,
	} {
		path, err := FindCommand(name, a)
		if code := codeOf(err); code != want || want == event.CodeOK && path != filepath.Join(dir, "tool") {
			t.Errorf("%s: %q, %v; want code %d", name, path, err, want)
		}
	}
	if path, err := FindCommand("sh", nil); err != nil || filepath.Base(path) != "sh" {
		t.Errorf("in faultctl's own PATH: %q, %v", path, err)
	}
}

// TestAccountOf holds who runs a command.
func TestAccountOf(t *testing.T) {
	env := map[string]string{}
	h := &Host{Proc: t.TempDir(), Getenv: func(name string) string { return env[name] }}
	if a, err := h.AccountOf(""); a != nil || err != nil {
		t.Errorf("without sudo: %+v, %v", a, err)
	}
	if _, err := h.AccountOf("no-such-user-here"); codeOf(err) != event.CodeUsage {
		t.Errorf("a user who is none: %v", err)
	}
	if a, err := h.AccountOf("root"); os.Geteuid() == 0 && (a != nil || err != nil) {
		t.Errorf("root as root: %+v, %v", a, err)
	}
	env["SUDO_UID"], env["SUDO_GID"] = "4123", "4124" // of no account here
	env[passedEnv] = `["HOME=/home/dev","PATH=/home/dev/bin","SUDO_UID=1"]`
	a, err := h.AccountOf("")
	if os.Geteuid() != 0 {
		if a != nil || err != nil {
			t.Errorf("not root: %+v, %v", a, err)
		}
		return
	}
	if err != nil || a == nil || a.UID != 4123 || a.GID != 4124 || a.getenv("PATH") != "/home/dev/bin" {
		t.Fatalf("under sudo: %+v, %v", a, err)
	}
	if slices.ContainsFunc(a.Env, func(v string) bool { return strings.HasPrefix(v, "SUDO_") || strings.HasPrefix(v, passedEnv) }) {
		t.Errorf("the command takes itself for one under sudo: %q", a.Env)
	}
	if a, err := h.AccountOf("root"); a != nil || err != nil {
		t.Errorf("root, asked for under sudo: %+v, %v", a, err)
	}
}
