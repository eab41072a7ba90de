package faultctl

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment/control"
	"github.com/faultctl/faultctl/experiment/event"
)

const defaultSocket = "/run/faultctl.sock"

// A Server is a faultctl that does the work. Any goroutine may call its methods.
type Server struct {
	*control.Client
	address string

	stdin io.Closer // of a process that Start started
	ended chan struct{}
}

// Connect returns the faultctl at the path of a unix socket, or at a URL, for which it
// needs the token. It does not connect yet.
func Connect(address, token string) (*Server, error) {
	c, err := control.NewClient(address, token)
	if err != nil {
		return nil, err
	}
	return &Server{Client: c, address: address}, nil
}

// Start starts program, or if that is empty what FAULTCTL_BIN names or the faultctl on
// PATH. It ends with this process, however that ends, or by Close.
func Start(program string) (*Server, error) {
	if program = cmp.Or(program, os.Getenv("FAULTCTL_BIN")); program == "" {
		var err error
		if program, err = exec.LookPath("faultctl"); err != nil {
			return nil, event.Failuref("", "there is no faultctl").
				WithAdvice("Install it, name its program in FAULTCTL_BIN, or start faultctl serve --socket " + defaultSocket + ".")
		}
	}
	s, err := Connect(filepath.Join(os.TempDir(), "faultctl-"+strings.ToLower(rand.Text()[:16])+".sock"), "") // faultctl removes it
	if err != nil {
		return nil, err
	}
	var said bytes.Buffer
	cmd := exec.Command(program, "serve", "--socket", s.address, "--until-eof")
	cmd.Stdout, cmd.Stderr = &said, &said
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); name != "FAULTCTL_LISTEN" && name != "FAULTCTL_TOKEN_FILE" && name != "FAULTCTL_IDLE_EXIT" {
			cmd.Env = append(cmd.Env, v)
		}
	}
	// Its input is a pipe that nobody writes to: it ends when this process does.
	if s.stdin, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, event.Failuref("", "start %s: %w", program, err)
	}
	s.ended = make(chan struct{})
	go func() {
		cmd.Wait()
		close(s.ended)
	}()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		_, err := s.Process(context.Background())
		if err == nil {
			return s, nil
		}
		select {
		case <-s.ended:
			err = errors.New(strings.TrimSpace(said.String()))
		default:
			if time.Now().Before(deadline) {
				continue
			}
		}
		s.Close()
		return nil, event.Failuref("", "%s serve does not answer: %w", program, err)
	}
}

// Close ends what Start started, and returns when it has ended. It does nothing for
// another.
func (s *Server) Close() {
	if s.stdin != nil {
		s.stdin.Close()
		<-s.ended
	}
}

var (
	chosen   *Server
	choosing sync.Mutex
)

// Default is the faultctl that the environment names, or one that is started once:
// FAULTCTL_URL with FAULTCTL_TOKEN or FAULTCTL_TOKEN_FILE, FAULTCTL_SOCKET, a start of
// FAULTCTL_BIN, /run/faultctl.sock if this user may use it, or a start of the faultctl on
// PATH, in this order.
func Default() (*Server, error) {
	choosing.Lock()
	defer choosing.Unlock()
	if chosen != nil && !chosen.over() {
		return chosen, nil
	}
	var err error
	chosen, err = choose()
	return chosen, err
}

func (s *Server) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

func choose() (*Server, error) {
	if address := os.Getenv("FAULTCTL_URL"); address != "" {
		token := os.Getenv("FAULTCTL_TOKEN")
		if file := os.Getenv("FAULTCTL_TOKEN_FILE"); token == "" && file != "" {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			token = strings.TrimSpace(string(text))
		}
		return Connect(address, token)
	}
	if address := os.Getenv("FAULTCTL_SOCKET"); address != "" {
		return Connect(address, "")
	}
	if os.Getenv("FAULTCTL_BIN") == "" {
		s, err := Connect(defaultSocket, "")
		if err != nil {
			return nil, err
		}
		if _, err := s.Process(context.Background()); err == nil {
			return s, nil
		}
	}
	return Start("")
}
