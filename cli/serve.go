package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/faultctl/faultctl/experiment/control"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/toxiproxy"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

func (inv *invocation) serveCommand() *cobra.Command {
	return inv.complete(&cobra.Command{
		Use: "serve [flags]", Short: "start and change runs for other programs, by HTTP",
		Long: "It does nothing until it is asked. GET /openapi.json describes the API, and docs/CONTROL.md explains it. " +
			"It writes no files and runs no commands for others. When it ends, its runs end.",
		Example: "faultctl serve --socket /run/faultctl.sock\n" +
			"faultctl serve --listen 127.0.0.1:8675 --token-file token\n" +
			"curl --unix-socket /run/faultctl.sock -X PUT http://x/v1/experiments/slow \\\n  --json '{\"fault\":\"delay:by=50ms\",\"target\":{\"to\":\":5432\"}}'",
	}, serveFlags(), inv.serve)
}

func serveFlags() []*pflag.Flag {
	return append([]*pflag.Flag{
		valueFlag(runHeading, "socket", "`PATH` listen on this unix socket; whoever may write to it (its owner and group) controls the runs"),
		valueFlag(runHeading, "listen", "`ADDR` listen on this loopback address and port, for those who have the token"),
		valueFlag(runHeading, "token-file", "`FILE` where the token of --listen is written, readable to this user only"),
		valueFlag(runHeading, "idle-exit", "`D` end when nobody has asked for anything and nothing has run for D"),
		toggleFlag(runHeading, "until-eof", "end when standard input does, as when the program that started it has ended"),
		outputFlag(runHeading),
		valueFlag(runHeading, "log-level", "`LEVEL` debug, info, warn or error, on stderr (default warn)"),
	}, toxiproxyFlags()...)
}

// serve starts and changes runs for others until a signal arrives.
func (inv *invocation) serve(c *call) error {
	toxiproxyAt := c.String("toxiproxy")
	if len(c.words) == 1 && toxiproxyAt == toxiproxyAddr { // --toxiproxy ADDR
		toxiproxyAt, c.words = c.words[0], nil
	}
	if err := noArguments(c); err != nil {
		return err
	}
	problems := emptyFlags(c)
	idle := time.Duration(0)
	if c.IsSet("idle-exit") && c.String("idle-exit") != "" {
		var err error
		if idle, err = words.ParseDuration(c.String("idle-exit")); err != nil || idle <= 0 {
			problems = append(problems, event.Usagef("idle-exit", "it is a duration above 0, such as 5m").WithValue(c.String("idle-exit")))
		}
	}
	socket, listen, file := c.String("socket"), c.String("listen"), c.String("token-file")
	handed, err := activated(firstActivated)
	if err != nil {
		return event.Failuref("", "take the sockets of systemd: %w", err)
	}
	switch {
	case len(problems) > 0:
	case socket == "" && listen == "" && toxiproxyAt == "" && len(handed) == 0:
		problems = append(problems, usageError("serve: where? Give --socket, --listen or --toxiproxy").WithAdvice("faultctl serve --socket /run/faultctl.sock"))
	case listen != "" && file == "":
		problems = append(problems, usageError("serve: --listen needs --token-file: whoever has the token may use the address"))
	}
	if len(problems) > 0 {
		return problems
	}
	ctx, release := inv.untilSignal(c.Context())
	defer release()
	sys := inv.system()
	g := control.NewRegistry("serve", inv.args)
	runs := control.NewStarter(ctx, sys, g)
	g.Stop = inv.interrupt
	toxi, problems := inv.toxiproxyServer(c, runs)
	if len(problems) > 0 {
		return problems
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	serveOn := func(l net.Listener, h http.Handler, where string) {
		serving.Go(func() {
			if err := control.ServeOn(ctx, l, h); err != nil {
				cancel(event.Failuref("", "serve %s: %w", where, err))
			}
		})
		if !inv.json {
			fmt.Fprintf(inv.stdout, "listening on %s\n", where)
		}
	}
	if listen != "" {
		l, err := listenLoopback(listen)
		if err != nil {
			return err
		}
		token, err := writeToken(file)
		if err != nil {
			l.Close()
			return event.Failuref("", "write %s: %w", file, aboutFile(err))
		}
		defer os.Remove(file)
		serveOn(l, control.Guard(control.WithPage(g.Handler()), token), "http://"+l.Addr().String()+", token in "+file)
		if inv.terminal && !inv.json { // a log must not have the token
			fmt.Fprintf(inv.stdout, "web page: http://%s/#token=%s\n", l.Addr(), token)
		}
	}
	for _, l := range handed {
		serveOn(l, g.Handler(), l.Addr().String()+", of systemd")
	}
	if c.Bool("until-eof") {
		go func() {
			io.Copy(io.Discard, inv.stdin)
			cancel(nil)
		}()
	}
	if socket != "" {
		l, err := listenSocket(socket)
		if err != nil {
			return event.Failuref("", "listen on %s: %w", socket, aboutFile(err))
		}
		serveOn(l, g.Handler(), socket)
	}
	if toxi != nil {
		l, err := listenToxiproxy(toxiproxyAt)
		if err != nil {
			return err
		}
		defer toxi.Close()
		if err := makeProxies(toxi, c.String("proxies")); err != nil {
			l.Close()
			return err
		}
		serveOn(l, toxi.Handler(), "http://"+l.Addr().String()+" for clients of Toxiproxy")
	}
	if toxi == nil { // whose proxies may listen on any port later
		inv.giveUp(inv.needsOfServe())
	}
	if l, err := inv.controlListener(g); err == nil && l != nil { // ps, stop and the others reach it too
		serving.Go(func() { g.Serve(ctx, l) })
	}
	telling, told := context.WithCancel(context.Background()) // of the ends too
	defer told()
	serving.Go(func() { inv.tellOf(telling, g) })
	err = inv.untilIdle(ctx, runs, idle, toxi)
	err = errors.Join(err, runs.Close())
	for n := 0; g.Busy() && n < 200; n++ { // the events of an end come some milliseconds later
		time.Sleep(10 * time.Millisecond)
	}
	told()
	cancel(nil)
	serving.Wait()
	if cut := cutShort(ctx); err == nil && cut != nil {
		return cut
	}
	return err
}

// untilIdle returns when ctx is done, or when nothing was asked, nothing ran and no
// proxy had a connection for that long; zero is no limit.
func (inv *invocation) untilIdle(ctx context.Context, runs *control.Starter, idle time.Duration, toxi *toxiproxy.Server) error {
	for {
		wait := time.Hour
		if idle > 0 {
			if toxi != nil && toxi.Busy() {
				runs.Touch()
			}
			if wait = idle - runs.Idle(); wait <= 0 {
				return nil
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			var broke *event.Error
			if errors.As(context.Cause(ctx), &broke) && cutShort(ctx) == nil {
				return broke
			}
			return nil
		}
	}
}

// tellOf prints what becomes of runs.
func (inv *invocation) tellOf(ctx context.Context, g *control.Registry) {
	for name, e := range g.Follow(ctx) {
		at := e.When()
		if inv.json {
			inv.events.Write(at, e)
			continue
		}
		says := ""
		switch e := e.(type) {
		case event.Started:
			says = "started: " + strings.Join(e.Rules[0].Faults, " and ")
		case event.Ready:
			says = "ready: the next matching packet is judged"
		case event.Changed:
			says = "changed " + strings.Join(e.Set, ", ") + actor(e.By)
		case event.Paused:
			says = "paused" + actor(e.By)
		case event.Resumed:
			says = "resumed" + actor(e.By)
		case event.Picked:
			says = e.Flow.Client + " is to be struck" + actor(e.By)
		case event.Spared:
			says = e.Flow.Client + " is spared" + actor(e.By)
		case event.Stopped:
			says = "stopped" + actor(e.By)
		case event.Ended:
			says = fmt.Sprintf("ended after %s: %s chosen %d, fired %d", e.Duration, e.Fault, e.Chosen, e.Fired)
		default:
			continue
		}
		fmt.Fprintf(inv.stdout, "%s  %s: %s\n", at.Format(clockTime), name, says)
	}
}

// listenSocket listens on a unix socket that its owner and group can use. One that a
// process left behind which is gone is replaced.
func listenSocket(path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, errors.New("another process listens there")
	} else if st, statErr := os.Lstat(path); errors.Is(err, unix.ECONNREFUSED) && statErr == nil && st.Mode().Type() == os.ModeSocket {
		os.Remove(path)
	}
	old := unix.Umask(0o777) // nobody connects before the mode is right
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// listenLoopback listens on a loopback address. Others would need TLS, by which both
// ends know each other, and are refused.
func listenLoopback(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, event.Usagef("listen", "it is an address and a port, such as 127.0.0.1:8675").WithValue(addr)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, event.Refusedf("listen", "other machines could reach that address").WithValue(addr).
			WithAdvice("Listen on 127.0.0.1, and forward it: ssh -L 8675:127.0.0.1:8675 HOST.")
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, event.Failuref("", "listen on %s: %w", addr, errors.Unwrap(err))
	}
	return l, nil
}

// writeToken writes a new token into a file that only this user can read.
func writeToken(file string) (token string, err error) {
	token = rand.Text()
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	f, err := os.OpenFile(filepath.Clean(file), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = fmt.Fprintln(f, token)
	return token, errors.Join(err, f.Close())
}
