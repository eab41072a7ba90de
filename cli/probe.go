package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/experiment/scenario"
	"github.com/faultctl/faultctl/internal/cage"
)

// prober asks the probes of a scenario. Several goroutines may, each for a
// probe of its own.
type prober struct {
	mu    sync.Mutex
	https map[*scenario.Probe]*http.Client

	// makeCage makes the cage of the commands, in which none of their children
	// outlives faultctl. Where there can be none, a command itself ends with
	// faultctl, and its children with its try.
	makeCage func() (cage.Cage, error)
	asked    bool // for a cage
	box      cage.Cage
}

func newProber(makeCage func() (cage.Cage, error)) *prober {
	return &prober{https: map[*scenario.Probe]*http.Client{}, makeCage: makeCage}
}

// start starts a command in the cage.
func (pr *prober) start(cmd *exec.Cmd) error {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if !pr.asked {
		pr.asked = true
		if box, err := pr.makeCage(); err == nil {
			pr.box = box
		}
	}
	if pr.box != nil {
		return pr.box.Start(cmd)
	}
	return cmd.Start()
}

// close ends what commands left behind. No probe is asked any more.
func (pr *prober) close() error {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	for _, c := range pr.https {
		c.CloseIdleConnections()
	}
	box := pr.box
	pr.box, pr.asked = nil, false
	if box == nil {
		return nil
	}
	return errors.Join(box.Empty(), box.Close())
}

// try asks a probe once. The error says why it failed, in words.
func (pr *prober) try(ctx context.Context, p *scenario.Probe) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(p.Timeout), errNoAnswer)
	defer cancel()
	var err error
	switch {
	case p.HTTP != nil:
		err = pr.tryHTTP(ctx, p)
	case p.TCP != nil:
		err = tryTCP(ctx, p.TCP)
	default:
		err = pr.tryCommand(ctx, p.Command)
	}
	if err != nil && errors.Is(context.Cause(ctx), errNoAnswer) {
		return fmt.Errorf("no answer within %s", shortly(p.Timeout))
	}
	return err
}

var errNoAnswer = errors.New("no answer in time")

// client is the HTTP client of a probe.
func (pr *prober) client(p *scenario.Probe) *http.Client {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pr.https[p] == nil {
		pr.https[p] = &http.Client{Transport: &http.Transport{
			DisableKeepAlives: !p.HTTP.Keepalive,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: p.HTTP.Insecure}, // as the file says
		}}
	}
	return pr.https[p]
}

func (pr *prober) tryHTTP(ctx context.Context, p *scenario.Probe) error {
	want := p.HTTP
	req, err := http.NewRequestWithContext(ctx, want.Method, want.URL, strings.NewReader(want.Body))
	if err != nil {
		return err
	}
	for name, value := range want.Headers {
		if strings.EqualFold(name, "host") {
			req.Host = string(value)
		}
		req.Header.Set(name, string(value))
	}
	resp, err := pr.client(p).Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the rest is known
		}
		return inShort(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case resp.StatusCode < want.Status.Low || resp.StatusCode > want.Status.High:
		return fmt.Errorf("status %d, want %v", resp.StatusCode, want.Status)
	case err != nil:
		return fmt.Errorf("status %d, and the answer breaks off: %w", resp.StatusCode, inShort(err))
	case want.Contains != "" && !bytes.Contains(body, []byte(want.Contains)):
		return fmt.Errorf("status %d, and the answer does not contain %q", resp.StatusCode, want.Contains)
	}
	return nil
}

func tryTCP(ctx context.Context, want *scenario.TCP) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", want.Address)
	if err != nil {
		return fmt.Errorf("connect: %w", inShort(err))
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if want.Send != "" {
		if _, err := io.WriteString(conn, want.Send); err != nil {
			return fmt.Errorf("send: %w", inShort(err))
		}
	}
	if want.Expect == "" {
		return nil
	}
	got, buf := []byte(nil), make([]byte, 4096)
	for !bytes.Contains(got, []byte(want.Expect)) {
		if len(got) > 1<<16 {
			return fmt.Errorf("the answer does not contain %q", want.Expect)
		}
		n, err := conn.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil && !bytes.Contains(got, []byte(want.Expect)) {
			return fmt.Errorf("after %s: %w", plural(uint64(len(got)), "byte"), inShort(err))
		}
	}
	return nil
}

// tryCommand runs a command in a process group of its own, which ends with the
// try, and with this process.
func (pr *prober) tryCommand(ctx context.Context, words scenario.Command) error {
	runtime.LockOSThread() // Pdeathsig watches the thread that starts the child
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	var said tail
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := pr.start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if cmd.Process != nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind
	}
	if err == nil {
		return nil
	}
	if line := said.last(); line != "" {
		return fmt.Errorf("%w: %s", inShort(err), line)
	}
	return inShort(err)
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 4096
	t.b = append(t.b, p...)
	if len(t.b) > most {
		t.b = append(t.b[:0], t.b[len(t.b)-most:]...)
	}
	return len(p), nil
}

// last is the last line that says something, cut to a sensible length.
func (t *tail) last() string {
	lines := strings.Split(string(t.b), "\n")
	for _, line := range slices.Backward(lines) {
		if line = strings.TrimSpace(legible(line)); line != "" {
			if letters := []rune(line); len(letters) > 200 {
				line = string(letters[:200]) + " …"
			}
			return line
		}
	}
	return ""
}

// inShort is what went wrong, without where it was going: that is known.
func inShort(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the connection was closed")
	}
	return err
}
