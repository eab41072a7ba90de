package scenario

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

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/redact"
	"github.com/faultctl/faultctl/internal/words"
)

// A Prober asks the probes of a scenario. Several goroutines may use it, each for
// a probe of its own.
type Prober struct {
	mu      sync.Mutex
	clients map[*Probe]*http.Client

	// ShowSecrets keeps secrets in what commands print when they fail. It is set
	// before use.
	ShowSecrets bool

	makeCage func() (place.Cage, error)
	loose    func() (place.Cage, error) // in place of that one, if it cannot be made
	cage     place.Cage                 // nil: none was made yet
	as       *place.Account             // who runs commands; nil: the user who runs faultctl
}

// NewProber returns a Prober. makeCage makes the cage for the commands of probes,
// so that none of their children outlives this process. If makeCage fails, loose makes
// one from which commands are killed when this process ends, and their children when
// the try ends.
func NewProber(makeCage, loose func() (place.Cage, error)) *Prober {
	return &Prober{clients: map[*Probe]*http.Client{}, makeCage: makeCage, loose: loose}
}

// proberOn is the Prober of a system. Without root no cage can keep a command in
// the network namespace that it must probe.
func proberOn(sys *experiment.System) *Prober {
	pr := NewProber(func() (place.Cage, error) {
		if sys.Caged || os.Geteuid() != 0 {
			return nil, injector.ErrPermission
		}
		return sys.MakeCage(nil)
	}, sys.LooseCage)
	pr.ShowSecrets = sys.ShowSecrets
	if as, err := sys.AccountOf(""); err == nil && !sys.Caged { // else it is the user who called sudo already, or an error of run's
		pr.as = as
	}
	return pr
}

// start starts a command in the cage.
func (pr *Prober) start(cmd *exec.Cmd) (place.Process, error) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pr.cage == nil {
		box, err := pr.makeCage()
		if err != nil {
			box, err = pr.loose()
		}
		if err != nil {
			return nil, err
		}
		pr.cage = box
	}
	return pr.cage.Start(cmd)
}

// Close ends the processes that commands left running. No probe may be
// running.
func (pr *Prober) Close() error {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	for _, c := range pr.clients {
		c.CloseIdleConnections()
	}
	box := pr.cage
	pr.cage = nil
	if box == nil {
		return nil
	}
	return errors.Join(box.Empty(), box.Close())
}

// Try asks a probe once. The error says in words why it failed; nil: it passed.
func (pr *Prober) Try(ctx context.Context, p *Probe) error {
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
		return fmt.Errorf("no answer within %s", p.Timeout)
	}
	return err
}

var errNoAnswer = errors.New("no answer in time")

// client is the HTTP client of a probe.
func (pr *Prober) client(p *Probe) *http.Client {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	if pr.clients[p] == nil {
		pr.clients[p] = &http.Client{Transport: &http.Transport{
			DisableKeepAlives: !p.HTTP.Keepalive,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: p.HTTP.Insecure}, // as the file says
		}}
	}
	return pr.clients[p]
}

func (pr *Prober) tryHTTP(ctx context.Context, p *Probe) error {
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

func tryTCP(ctx context.Context, want *TCP) error {
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
			return fmt.Errorf("after %s: %w", words.Plural(uint64(len(got)), "byte"), inShort(err))
		}
	}
	return nil
}

// tryCommand runs a command in a process group of its own, which is killed
// when the try or this process ends.
func (pr *Prober) tryCommand(ctx context.Context, argv Command) error {
	runtime.LockOSThread() // a command in a loose cage ends with the thread that started it
	defer runtime.UnlockOSThread()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	place.Become(cmd, pr.as)
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	proc, err := pr.start(cmd)
	w.Close()
	if err != nil {
		return inShort(err)
	}
	var said tail
	read := make(chan struct{})
	go func() {
		defer close(read)
		io.Copy(&said, r)
	}()
	stop := context.AfterFunc(ctx, func() { proc.Signal(syscall.SIGKILL) })
	status, err := proc.Wait() // and what it left behind in its group is killed
	stop()
	r.SetReadDeadline(time.Now().Add(time.Second)) // somebody may have moved away and keep the pipe open
	<-read
	switch {
	case err != nil:
	case status.Signaled():
		err = fmt.Errorf("signal: %s", status.Signal())
	case status.ExitStatus() != 0:
		err = fmt.Errorf("exit status %d", status.ExitStatus())
	default:
		return nil
	}
	if !pr.ShowSecrets {
		said.b = []byte(redact.For(argv, os.Environ()).Text(string(said.b)))
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

// last is the last line that is not empty, cut to a sensible length.
func (t *tail) last() string {
	lines := strings.Split(string(t.b), "\n")
	for _, line := range slices.Backward(lines) {
		if line = strings.TrimSpace(words.Legible(line)); line != "" {
			if letters := []rune(line); len(letters) > 200 {
				line = string(letters[:200]) + " …"
			}
			return line
		}
	}
	return ""
}

// inShort is the error without the address, which is known.
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
