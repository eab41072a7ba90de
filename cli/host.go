package cli

import (
	"context"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/faultctl/faultctl/cli/internal/text"
	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/control"
	"github.com/faultctl/faultctl/experiment/demo"
	"github.com/faultctl/faultctl/experiment/scenario"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/cage"
	"github.com/faultctl/faultctl/internal/rights"
	"github.com/faultctl/faultctl/internal/sandbox"
	"github.com/faultctl/faultctl/lab"
	"github.com/gdamore/tcell/v2"
	"golang.org/x/term"
)

// host is the environment that a command runs in. Tests replace it.
type host struct {
	sys *experiment.System

	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool          // stdout is one: live line and colours
	progress       time.Duration // how often a plain line says how far a run is where there is no terminal; 0 never
	width          int           // of the terminal, or of what is printed to none
	screen         func() int    // width of the terminal as it is now

	signals func() (c <-chan os.Signal, stop func())
	exit    func(code int) // ends the process at once, at a second signal

	probe        func() []injector.Feature
	probeInside  func() []featureJSON // probe in namespaces of its own
	rights       func() rights.Rights
	cleanup      func() ([]string, error)
	cleanupCages func() ([]string, error)

	ask       func(context.Context, *scenario.Probe) error // tries a probe once; nil: as scenario.Prober does
	play      func(context.Context, faults.Spec) (*demo.Story, error)
	mustEnter func() bool // a demo needs namespaces of its own first
	enter     func() (code int, err error)

	listen        func(*control.Registry) (*net.UnixListener, error)                  // makes the socket by which runs are reached; nil: they are not
	find          func(context.Context) (all []*control.Found, hidden int, err error) // finds those of others
	newScreen     func() (tcell.Screen, error)                                        // of top; nil: the terminal
	interrupt     func()                                                              // ends the process cleanly, as SIGTERM does
	handedControl *os.File                                                            // the socket that the process outside made; nil: it did not

	handed      *os.File // where the process outside listens for scrapes of the metrics; nil: it does not
	relay       func() (c <-chan os.Signal, stop func())
	mustIsolate func() bool // a command needs namespaces of its own
	enterCage   func(signals <-chan os.Signal, hand ...*os.File) (code int, err error)

	childIn, childOut, childErr *os.File // of commands

	audit   func(line string) error        // writes to the host's log; nil: nothing is written there
	sandbox func(...sandbox.Need) error    // gives all rights up that the needs do not name; nil: keeps them
	launch  func() (*cage.Launcher, error) // has commands started with the rights of now; nil: they have those of then
}

// goInside adapts h to a process in namespaces of its own.
func (h *host) goInside(signals <-chan os.Signal) {
	h.sys.Caged = true
	if hands := cage.Handed(); len(hands) > 0 {
		h.handed = hands[0]
		if len(hands) > 1 {
			h.handedControl = hands[1]
		}
	}
	signals, h.interrupt = withInterrupt(signals)
	h.listen = nil // nobody could connect to it here
	h.relay = func() (<-chan os.Signal, func()) { return signals, func() {} }
	h.signals = func() (<-chan os.Signal, func()) { return endings(signals) }
	h.sys.MakeCage = func(*os.File) (cage.Cage, error) { return cage.NewNetns() }
}

// withInterrupt adds SIGTERM to the signals when interrupt is called.
func withInterrupt(signals <-chan os.Signal) (all <-chan os.Signal, interrupt func()) {
	c := make(chan os.Signal, 8)
	go func() {
		for s := range signals {
			c <- s
		}
	}()
	return c, func() { c <- syscall.SIGTERM }
}

// endings are those of the relayed signals that end a run.
func endings(relayed <-chan os.Signal) (<-chan os.Signal, func()) {
	c, done := make(chan os.Signal, 2), make(chan struct{})
	go func() {
		for {
			select {
			case s := <-relayed:
				if t, ok := s.(cage.FromTerminal); ok {
					s = syscall.Signal(t)
				}
				if s == syscall.SIGINT || s == syscall.SIGTERM || s == syscall.SIGHUP {
					c <- s
				}
			case <-done:
				return
			}
		}
	}()
	return c, func() { close(done) }
}

// thisHost is the real environment.
func thisHost() *host {
	screen := func() int {
		width, _, err := term.GetSize(int(os.Stdout.Fd()))
		if err != nil || width == 0 {
			return defaultWidth
		}
		return width
	}
	h := &host{
		sys:   experiment.NewSystem(),
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		terminal: term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("TERM") != "dumb",
		width:    screen(),
		screen:   screen,
		progress: time.Minute,
		signals:  notify, exit: os.Exit,
		probe: injector.Probe, probeInside: probeInside, rights: rights.Own,
		cleanup: injector.Cleanup, cleanupCages: cage.Cleanup,
		listen: (*control.Registry).Listen, find: control.Find,
		interrupt: func() { syscall.Kill(os.Getpid(), syscall.SIGTERM) },
		relay:     cage.Relay, enterCage: cage.Enter,
		mustIsolate: func() bool { r := rights.Own(); return !r.Root || !r.Enough() },
		childIn:     os.Stdin, childOut: os.Stdout, childErr: os.Stderr,
		audit: new(auditLog).write, sandbox: enterSandbox, launch: cage.NewLauncher,
		play: demo.Play, mustEnter: lab.MustEnter, enter: lab.Enter,
	}

	return h
}

// notify returns the signals that end a run. Until stop nothing stops this process,
// see cage.StayAwake.
func notify() (c <-chan os.Signal, stop func()) {
	ends := make(chan os.Signal, 2)
	signal.Notify(ends, cage.Heeded(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)...)
	rest := cage.StayAwake()
	return ends, func() { signal.Stop(ends); rest() }
}

// defaultWidth is that of text which is printed to no terminal.
const defaultWidth = 92

// columns is how wide text may be: as wide as the terminal, within reason.
func (h *host) columns() int { return min(max(h.width, 60), 100) }

// paint follows NO_COLOR (no-color.org) and colours on a terminal only.
func (h *host) paint() text.Paint { return text.Paint(h.terminal && h.sys.Getenv("NO_COLOR") == "") }
