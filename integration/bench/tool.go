package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// setup is one of the setups that take turns: traffic with one tool in its way.
type setup struct {
	name  string // on the page
	start func(b *benchmark, port uint16) (*tool, error)
	proxy bool // traffic goes to the proxy's port
	core  bool // takes part in bulk and churn too
}

const (
	servicePort = 6379
	proxyPort   = 6390
	otherPort   = 7777 // without traffic: the bystander's fault is there
	loopQueue   = 100
)

// setups returns all of them, direct first.
func (b *benchmark) setups() []setup {
	ws := []setup{
		{name: "direct", core: true},
		{name: "bystander", start: inject(otherPort, "reset", "--at", "bytes=1000000000000"), core: true},
	}
	for _, f := range [][]string{
		{"syn-drop", "--skip", "1000000"}, {"idle-expire", "--after", "1h"}, {"refuse", "--skip", "1000000"},
		{"half-open", "--at", "age=1h"}, {"linger-reset"}, {"rst-close"}, {"closed-socket", "--at", "age=1h"},
	} {
		ws = append(ws, setup{name: "waiting: " + strings.Join(f, " "), start: inject(0, f...), core: f[0] == "idle-expire"})
	}
	ws = append(ws, setup{name: "all diverted", start: allDiverted, core: true})
	if b.missing["c"] == "" {
		ws = append(ws, setup{name: "C loop", start: (*benchmark).cLoop, core: true})
	}
	ws = append(ws, setup{name: "go-nfqueue's loop", start: (*benchmark).goNfqueue, core: true})
	if b.missing["toxiproxy"] == "" {
		ws = append(ws, setup{name: "Toxiproxy, inactive toxic", start: (*benchmark).toxiproxy, proxy: true, core: true})
	}
	return ws
}

// allDiverted starts a faultctl that judges every packet and accepts it.
func allDiverted(b *benchmark, port uint16) (*tool, error) {
	return inject(0, "reset", "--at", "bytes=1000000000000")(b, port)
}

// inject returns a function that starts faultctl on the host, with a fault on the
// port own, or if that is 0, on the port of the load.
func inject(own uint16, fault ...string) func(*benchmark, uint16) (*tool, error) {
	return func(b *benchmark, port uint16) (*tool, error) {
		if own != 0 {
			port = own
		}
		args := append([]string{"inject"}, fault...)
		return b.tool(b.path("faultctl"), append(args, "--to", fmt.Sprintf(":%d", port), "-o", "json", "--duration", "10m")...)
	}
}

func (b *benchmark) cLoop(port uint16) (*tool, error) { return b.looped(port, b.path("loop")) }

func (b *benchmark) goNfqueue(port uint16) (*tool, error) {
	return b.looped(port, "/proc/self/exe", goLoopCommand)
}

// looped starts a program that accepts all packets of a queue, and adds the rules
// that fill the queue.
func (b *benchmark) looped(port uint16, name string, args ...string) (*tool, error) {
	t, err := b.tool(name, append(args, strconv.Itoa(loopQueue))...)
	if err != nil {
		return nil, err
	}
	remove, err := divert(b.host, port, loopQueue)
	if err != nil {
		t.stop()
		return nil, err
	}
	t.before = remove
	return t, nil
}

func (b *benchmark) toxiproxy(port uint16) (*tool, error) {
	at := func(p uint16) string { return netip.AddrPortFrom(b.host.V4, p).String() }
	return b.tool(b.path("toxiproxy"), at(proxyPort), at(port))
}

// tool is a program that runs beside the traffic.
type tool struct {
	cmd     *exec.Cmd
	lines   chan string
	stderr  strings.Builder
	before  func()        // called before the program is stopped; may be nil
	ready   time.Duration // processor time when it was ready
	packets uint64        // that entered user space; set by stop
	cpu     time.Duration // processor time since it was ready; set by stop
}

// tool starts a program on the host and waits until it is ready.
func (b *benchmark) tool(name string, args ...string) (*tool, error) {
	t := &tool{cmd: exec.Command(name, args...), lines: make(chan string, 10_000)}
	t.cmd.Stderr = &t.stderr
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := b.host.Do(t.cmd.Start); err != nil { // a child starts in the namespace of its parent's thread
		return nil, err
	}
	go func() {
		defer close(t.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			t.lines <- s.Text()
		}
	}()
	for line := range t.lines {
		if strings.Contains(line, "ready") {
			t.ready = cpuOf(t.cmd.Process.Pid)
			return t, nil
		}
	}
	t.cmd.Wait()
	return nil, fmt.Errorf("%s %v is not ready: %s", name, args, t.stderr.String())
}

// stop stops the program and records what it cost.
func (t *tool) stop() error {
	if t == nil {
		return nil
	}
	if t.before != nil {
		t.before()
	}
	t.cpu = cpuOf(t.cmd.Process.Pid) - t.ready
	t.cmd.Process.Signal(syscall.SIGTERM)
	for line := range t.lines {
		var summary struct {
			Diverted uint64 `json:"packets_diverted"`
		}
		if n, err := strconv.ParseUint(line, 10, 64); err == nil {
			t.packets = n
		} else if json.Unmarshal([]byte(line), &summary) == nil && summary.Diverted > 0 {
			t.packets = summary.Diverted
		}
	}
	err := t.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && (exit.ExitCode() == 143 || exit.ExitCode() == -1) {
		return nil
	}
	return err
}

// cpuOf is the processor time that a process has used so far.
func cpuOf(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	words := strings.Fields(rest)
	if len(words) < 13 {
		return 0
	}
	var ticks uint64
	for _, w := range words[11:13] { // utime, stime
		n, _ := strconv.ParseUint(w, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100) // USER_HZ
}
