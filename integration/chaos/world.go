package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/lab"
	"github.com/google/nftables"
)

const (
	struckPort    = 7001 // faults delay what goes there
	bystanderPort = 7002
)

// world is a host of the lab on which instances of faultctl are harmed, beside two
// connections that never stop talking: one that they judge, and one that they must not
// touch.
type world struct {
	exe   string
	lab   *lab.Lab
	host  *lab.Node
	kinds []kind

	struck, bystander *talk
	clears            []time.Duration // from a sudden death until the rules were gone
}

func newWorld(exe string) (w *world, err error) {
	w = &world{exe: exe, kinds: kinds()}
	if w.lab, err = lab.NewIPv4(); err != nil {
		return nil, err
	}
	w.host = w.lab.Server
	if w.struck, err = newTalk(w.host, struckPort); err == nil {
		w.bystander, err = newTalk(w.host, bystanderPort)
	}
	if err != nil {
		w.close()
	}
	return w, err
}

func (w *world) close() {
	for _, t := range []*talk{w.struck, w.bystander} {
		if t != nil {
			t.close()
		}
	}
	w.lab.Close()
}

// quiesce lets both connections talk once more.
func (w *world) quiesce() {
	for _, t := range []*talk{w.struck, w.bystander} {
		t.progress(10 * time.Second)
	}
}

// tables counts faultctl's tables on the host.
func (w *world) tables() (n int, err error) {
	err = w.host.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		all, err := c.ListTables()
		for _, t := range all {
			if strings.HasPrefix(t.Name, "faultctl") {
				n++
			}
		}
		return err
	})
	return n, err
}

// cleared waits until there are only so many tables, and returns how long that took.
func (w *world) cleared(left int, within time.Duration) (time.Duration, error) {
	begun := time.Now()
	for {
		n, err := w.tables()
		switch took := time.Since(begun); {
		case err != nil:
			return 0, err
		case n <= left:
			return took, nil
		case took > within:
			return took, fmt.Errorf("%d tables are left after %v", n, took.Round(time.Millisecond))
		}
		time.Sleep(time.Millisecond)
	}
}

// talk is a connection on which a byte after the other goes there and back.
type talk struct {
	conn  net.Conn
	bytes atomic.Uint64
	mu    sync.Mutex
	err   error
	done  chan struct{}
}

func newTalk(host *lab.Node, port uint16) (*talk, error) {
	t := &talk{done: make(chan struct{})}
	err := host.Do(func() error {
		l, err := net.Listen("tcp", netip.AddrPortFrom(host.V4, port).String())
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go io.Copy(c, c)
			}
		}()
		t.conn, err = net.Dial("tcp", l.Addr().String())
		return err
	})
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(t.done)
		var got [1]byte
		for n := byte(0); ; n++ {
			_, err := t.conn.Write([]byte{n})
			if err == nil {
				_, err = io.ReadFull(t.conn, got[:])
			}
			if err == nil && got[0] != n {
				err = fmt.Errorf("byte %d came back as %d", n, got[0])
			}
			if err != nil {
				t.mu.Lock()
				t.err = err
				t.mu.Unlock()
				return
			}
			t.bytes.Add(1)
			time.Sleep(time.Millisecond)
		}
	}()
	return t, nil
}

// broken is why the connection does not talk any more; nil: it does.
func (t *talk) broken() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// progress waits until a byte has gone there and back.
func (t *talk) progress(within time.Duration) error {
	was, until := t.bytes.Load(), time.Now().Add(within)
	for t.bytes.Load() <= was+1 {
		if err := t.broken(); err != nil {
			return err
		}
		if time.Now().After(until) {
			return fmt.Errorf("no byte within %v", within)
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func (t *talk) close() {
	t.conn.Close()
	<-t.done
}

// instance is a faultctl that runs.
type instance struct {
	cmd    *exec.Cmd
	stdout *os.File // the reading end
	ready  chan struct{}
	ended  chan struct{}

	mu  sync.Mutex
	err bytes.Buffer
}

func (p *instance) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err.Len() < 1<<16 {
		p.err.Write(b)
	}
	return len(b), nil
}

func (p *instance) stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.String()
}

// start starts faultctl on the host, through a shell line in which "$0" "$@" stands for
// it. If nobody is to read what it prints, unread says so.
func (w *world) start(line string, unread bool, args ...string) (*instance, error) {
	p := &instance{cmd: exec.Command("/bin/sh", append([]string{"-c", line, w.exe}, args...)...), ready: make(chan struct{}), ended: make(chan struct{})}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.stdout, p.cmd.Stdout, p.cmd.Stderr = r, out, p
	err = w.host.Do(p.cmd.Start)
	out.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	if unread {
		return p, nil
	}
	go func() {
		seen, buf, told := []byte(nil), make([]byte, 4096), false
		for {
			n, err := r.Read(buf)
			if seen = append(seen, buf[:n]...); !told && bytes.Contains(seen, []byte(`"ready"`)) {
				close(p.ready)
				told = true
			}
			if told {
				seen = nil
			}
			if err != nil {
				return
			}
		}
	}()
	return p, nil
}

// plain is the line that starts faultctl itself.
const plain = `exec "$0" "$@"`

// judging are arguments with which every segment of the struck connection is judged.
var judging = []string{"inject", "delay", "--by", "1ms", "--to", fmt.Sprintf(":%d", struckPort), "--duration", "10m", "-o", "json"}

// wait waits until the instance is ready.
func (p *instance) wait() error {
	select {
	case <-p.ready:
		return nil
	case <-p.ended:
		return fmt.Errorf("it ended before it was ready: %s", p.stderr())
	case <-time.After(time.Minute):
		return errors.New("it is not ready within a minute")
	}
}

// end waits until the instance has ended, and returns its exit code. What Go's runtime
// says when a program breaks is an error.
func (p *instance) end(within time.Duration) (int, error) {
	select {
	case <-p.ended:
	case <-time.After(within):
		p.kill()
		<-p.ended
		return 0, fmt.Errorf("it has not ended within %v", within)
	}
	p.stdout.Close()
	text := p.stderr()
	for _, bad := range []string{"panic:", "fatal error:", "goroutine "} {
		if strings.Contains(text, bad) {
			return 0, fmt.Errorf("it broke: %.2000s", text)
		}
	}
	return p.cmd.ProcessState.ExitCode(), nil
}

func (p *instance) kill()                   { syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
func (p *instance) signal(s syscall.Signal) { syscall.Kill(p.cmd.Process.Pid, s) }

// percentile is that of durations in order.
func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)*p/100, len(all)-1)]
}
