package cli

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/control"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/toxiproxy"
	"github.com/spf13/pflag"
)

const toxiproxyAddr = "127.0.0.1:8474"

func toxiproxyFlags() []*pflag.Flag {
	at := valueFlag(toxiproxyHeading, "toxiproxy", "`[ADDR]` answer Toxiproxy's clients at this address and port (default "+toxiproxyAddr+"); everybody who reaches it controls its proxies")
	at.NoOptDefVal = toxiproxyAddr
	return []*pflag.Flag{
		at,
		toggleFlag(toxiproxyHeading, "transparent", "proxies listen nowhere: toxics strike the connections to the upstream itself"),
		valueFlag(toxiproxyHeading, "proxies", "`FILE` make the proxies of this JSON file at the start"),
		valueFlag(toxiproxyHeading, "seed", "`N` decides which connections a toxic with a toxicity strikes"),
		toggleFlag(toxiproxyHeading, "proxy-metrics", "answer GET /metrics with the bytes that proxies forwarded"),
		toggleFlag(toxiproxyHeading, "runtime-metrics", "answer GET /metrics with figures about this process"),
	}
}

// toxiproxyArgs is the command line of a program that is called as Toxiproxy's server
// is, by a link of that name, as one of faultctl. Others are returned as they are.
func toxiproxyArgs(args []string, getenv func(string) string, out io.Writer) (_ []string, done bool, code int) {
	if len(args) == 0 {
		return args, false, 0
	}
	if name := filepath.Base(args[0]); name != "toxiproxy" && name != "toxiproxy-server" {
		return args, false, 0
	}
	fs := flag.NewFlagSet(filepath.Base(args[0]), flag.ContinueOnError)
	fs.SetOutput(out)
	host := fs.String("host", "localhost", "where the API listens")
	port := fs.String("port", "8474", "where the API listens")
	config := fs.String("config", "", "JSON `file` of the proxies that there are at the start")
	seed := fs.Int64("seed", 0, "decides which connections are struck by a toxic with a toxicity (default: drawn)")
	proxies := fs.Bool("proxy-metrics", false, "answer GET /metrics with the bytes that proxies forwarded")
	process := fs.Bool("runtime-metrics", false, "answer GET /metrics with figures about this process")
	version := fs.Bool("version", false, "print the version of the API")
	switch err := fs.Parse(args[1:]); {
	case err == flag.ErrHelp:
		return nil, true, exitOK
	case err != nil:
		return nil, true, exitUsage
	case *version:
		fmt.Fprintf(out, "toxiproxy-server version %s\n", toxiproxy.Version)
		return nil, true, exitOK
	}
	as := []string{args[0], "serve", "--toxiproxy=" + net.JoinHostPort(*host, *port), "--log-level=" + logLevelOf(getenv("LOG_LEVEL"))}
	if *config != "" {
		as = append(as, "--proxies="+*config)
	}
	fs.Visit(func(f *flag.Flag) {
		if f.Name == "seed" {
			as = append(as, "--seed="+strconv.FormatUint(uint64(*seed), 10))
		}
	})
	if *proxies {
		as = append(as, "--proxy-metrics")
	}
	if *process {
		as = append(as, "--runtime-metrics")
	}
	return as, false, 0
}

// logLevelOf is a LOG_LEVEL as ours has it.
func logLevelOf(level string) string {
	switch level = strings.ToLower(level); level {
	case "trace", "debug":
		return "debug"
	case "info", "error":
		return level
	case "fatal", "panic", "disabled":
		return "error"
	}
	return "warn"
}

// toxiproxyServer makes the server that the flags ask for; nil: they ask for none.
func (inv *invocation) toxiproxyServer(c *call, runs *control.Starter) (s *toxiproxy.Server, problems event.Problems) {
	if !c.IsSet("toxiproxy") {
		for _, name := range []string{"transparent", "proxies", "seed", "proxy-metrics", "runtime-metrics"} {
			if c.IsSet(name) {
				problems = append(problems, usageError("serve: --%s needs --toxiproxy", name))
			}
		}
		return nil, problems
	}
	s = &toxiproxy.Server{Seed: rand.Uint64(), Transparent: c.Bool("transparent"), Asked: runs.Touch}
	if text := c.String("seed"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			problems = append(problems, event.Usagef("seed", "it is a whole number").WithValue(text))
		}
		s.Seed = n
	}
	rights := inv.rights()
	if rights.Enough() {
		s.Runs = starterRuns{runs}
	} else if s.Why = rights.Advice(); !strings.Contains(s.Why, "--cap-add NET_ADMIN") {
		s.Why += " In a container: --cap-add NET_ADMIN --cap-add NET_RAW."
	}
	if s.Transparent && s.Runs == nil {
		problems = append(problems, usageError("serve: --transparent strikes packets").WithAdvice(s.Why))
	}
	s.Metrics = s.MetricsHandler(c.Bool("proxy-metrics"), c.Bool("runtime-metrics"))
	return s, problems
}

// makeProxies makes the proxies of a file.
func makeProxies(s *toxiproxy.Server, file string) error {
	if file == "" {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return event.Usagef("proxies", "%w", aboutFile(err)).WithValue(file)
	}
	defer f.Close()
	if _, err := s.Populate(f); err != nil {
		return event.Usagef("proxies", "%w", err).WithValue(file)
	}
	return nil
}

// listenToxiproxy listens for Toxiproxy's clients.
func listenToxiproxy(addr string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, event.Usagef("toxiproxy", "it is an address and a port, such as "+toxiproxyAddr).WithValue(addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, event.Failuref("", "%w", err)
	}
	return l, nil
}

// starterRuns are toxiproxy.Runs that a Starter starts.
type starterRuns struct{ *control.Starter }

// Put implements toxiproxy.Runs.
func (r starterRuns) Put(ctx context.Context, name string, spec experiment.Spec) error {
	_, err := r.Starter.Put(ctx, name, nil, spec, 0)
	return err
}
