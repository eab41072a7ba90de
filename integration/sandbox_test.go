package integration

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/sandbox"
	"golang.org/x/sys/unix"
)

// rights are the lines of /proc/PID/status about rights, of all threads of a process,
// each different set once.
func rights(t *testing.T, pid int) []string {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("process %d has no threads: %v", pid, err)
	}
	var sets []string
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		if set := rightsIn(string(text)); !slices.Contains(sets, set) {
			sets = append(sets, set)
		}
	}
	return sets
}

func rightsIn(status string) string {
	var words []string
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		if slices.Contains([]string{"CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"}, name) {
			words = append(words, name+" "+strings.TrimSpace(value))
		}
	}
	return strings.Join(words, ", ")
}

// only are the rights of a process that keeps these capabilities.
func only(caps uint64) string {
	return fmt.Sprintf("CapPrm %016x, CapEff %016x, CapBnd %016x, NoNewPrivs 1, Seccomp 2", caps, caps, caps)
}

const packetRights = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW

// TestInjectRights checks that all threads of an inject have given up what they do
// not need, that the fault strikes all the same, and that the report is written.
func TestInjectRights(t *testing.T) {
	w := newTestbed(t, loopback, false)
	report := filepath.Join(t.TempDir(), "report.json")
	p := w.start("faultctl", "inject", "reset:at=request", "--to", ":5432", "--report", report, "-o", "json")
	p.wait("ready")
	if got := rights(t, p.cmd.Process.Pid); !slices.Equal(got, []string{only(packetRights)}) {
		t.Errorf("an inject has %q", got)
	}
	if err := w.node().Do(func() error { return ask(w.service.String()) }); err == nil {
		t.Error("the connection lives")
	}
	p.cmd.Process.Signal(unix.SIGTERM)
	p.end()
	if b, err := os.ReadFile(report); err != nil || !bytes.Contains(b, []byte("reset")) {
		t.Errorf("the report: %v, %q", err, b)
	}
}

// TestCommandRights checks that the command of run and verify and that of a probe have
// the rights of who started faultctl, and that faultctl itself has given its up by
// then.
func TestCommandRights(t *testing.T) {
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range cageKinds(t) {
		if m.name != "cgroup" { // without root the command's rights are those in its namespace
			continue
		}
		n := newTestbed(t, loopback, false).node()
		dir := t.TempDir()
		scenario := filepath.Join(dir, "s.yaml")
		look := filepath.Join(dir, "look")
		// The parent of the command is the launcher, and its parent is faultctl.
		script := `cat /proc/self/status > "$1/own"; g=$(awk '/^PPid/ {print $2}' /proc/$PPID/status); for t in /proc/$g/task/*; do cat $t/status; done > "$1/faultctl"`
		if err := os.WriteFile(look, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("duration: 1s\ntarget: {to: ':1'}\nfaults: [{fault: observe, start: 0s, duration: 1s, must-fire: false}]\nprobes: [{name: look, command: [%q, %q], interval: 200ms}]\n", look, dir)
		if err := os.WriteFile(scenario, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		const later = packetRights | 1<<unix.CAP_PERFMON
		for _, c := range []struct {
			name string
			args []string
			caps uint64
		}{
			{"run", []string{"run", "observe", "--allow-idle", "--", look, dir}, packetRights},
			{"verify", []string{"verify", "--faults", "observe", "--allow-idle", "--", look, dir}, later},
			{"scenario", []string{"scenario", "run", scenario, "--allow-idle"}, later},
		} {
			os.Remove(filepath.Join(dir, "own"))
			cmd := m.faultctl(c.args[0], c.args[1:]...)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := n.Do(cmd.Run); err != nil {
				t.Errorf("%s: %v\n%s", c.name, err, &out)
			}
			got, err := os.ReadFile(filepath.Join(dir, "own"))
			if want := rightsIn(string(own)); err != nil || rightsIn(string(got)) != want {
				t.Errorf("%s: its command has %q, want %q; %v\n%s", c.name, rightsIn(string(got)), want, err, &out)
			}
			all, _ := os.ReadFile(filepath.Join(dir, "faultctl"))
			threads := strings.Split(string(all), "Name:\t")[1:]
			for _, th := range threads {
				if got := rightsIn(th); got != only(c.caps) {
					t.Errorf("%s: a thread of faultctl has %q, want %q", c.name, got, only(c.caps))
				}
			}
			if len(threads) < 2 {
				t.Errorf("%s: %d threads were looked at", c.name, len(threads))
			}
		}
	}
}

// playSandboxed starts a run, gives the rights up that a run does not need, and then
// changes it in every way. It prints what fails.
func playSandboxed() {
	code := 0
	check := func(what string, err error) {
		if err != nil {
			fmt.Println(what+":", err)
			code = 1
		}
	}
	to := func(port uint16) target.Matcher {
		to, err := target.ParseEndpoints(context.Background(), fmt.Sprintf(":%d", port), nil)
		check("parse", err)
		return target.Matcher{To: to}
	}
	models := func(text string) (all []injector.NamedModel) {
		specs, err := faults.ParseSpecs(text)
		check("parse", err)
		for _, s := range specs {
			m, err := s.Model()
			check("model", err)
			all = append(all, injector.NamedModel{Name: s.Name, Model: m})
		}
		return all
	}
	i, err := injector.Start(context.Background(), injector.Config{Rules: []injector.Rule{{Match: to(5432), Faults: models("delay:by=1ms,reset:at=request")}}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	check("sandbox", sandbox.Enter(sandbox.Packets))
	check("retarget", i.Retarget(0, to(1)))
	check("models", i.SetModels(0, models("delay:by=2ms,reset:at=request")))
	check("pause", i.Pause())
	check("resume", i.Resume())
	check("share", i.SetShare(0, 0.5))
	check("share", i.SetShare(0, 1))
	check("retarget", i.Retarget(0, to(5432)))
	fmt.Println("changed")
	var b [1]byte
	os.Stdin.Read(b[:])
	check("stop", i.Stop())
	if s := i.Stats(); s.Rules[0].Faults[0].Fired+s.Rules[0].Faults[1].Fired == 0 {
		fmt.Println("never fired")
		code = 1
	}
	os.Exit(code)
}

// TestChangedWithoutRights checks that a run can be changed, paused and stopped after
// its rights were given up, and that the change is in force.
func TestChangedWithoutRights(t *testing.T) {
	w := newTestbed(t, loopback, false)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = roleEnv("sandboxed")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.node().Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	defer expose(cmd).Stop()
	out := bufio.NewReader(stdout)
	if line, err := out.ReadString('\n'); line != "changed\n" {
		t.Errorf("%q, %v", line, err)
	}
	if err := w.node().Do(func() error { return ask(w.service.String()) }); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("a connection: %v, want it reset", err)
	}
	in.Close()
	rest, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, rest)
	}
}
