package clients

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/strike"
	"github.com/faultctl/faultctl/lab"
)

var update = flag.Bool("update", false, "write docs/CLIENTS.md and docs/BUGS.md")

func TestMain(m *testing.M) {
	if os.Getenv(goClientEnv) != "" {
		playGoClient()
		return
	}
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		f.Value.Set("10") // these tests spend most of their time waiting
	}
	code := lab.Main(m.Run)
	if base != "" {
		os.RemoveAll(base)
	}
	os.Exit(code)
}

// base is a directory that the database's user may traverse.
var base string

func makeBase(t *testing.T) {
	t.Helper()
	if base != "" {
		return
	}
	var err error
	if base, err = os.MkdirTemp("", "clients"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(base, 0o711); err != nil {
		t.Fatal(err)
	}
}

// trial is one client under one cause.
type trial struct {
	t     *testing.T
	cause cause
	prog  program
	lab   *lab.Lab
	dir   string // for its files only
}

// TestClients checks what real programs report under each reset cause.
func TestClients(t *testing.T) {
	makeBase(t)
	var played atomic.Int64
	t.Run("trial", func(t *testing.T) {
		for _, cause := range causes {
			for _, prog := range programs {
				if prog.never != nil && prog.never(cause) {
					continue
				}
				t.Run(cause.id()+"/"+strings.NewReplacer(" ", "-", ",", "", "/", ".").Replace(prog.name), func(t *testing.T) {
					t.Parallel()
					prog.require(t)
					try(t, cause, prog)
					played.Add(1)
				})
			}
		}
	})
	if *update {
		writeDocs(t, int(played.Load()))
	}
}

// TestEveryCause checks that every reset cause of the catalogue is tested.
func TestEveryCause(t *testing.T) {
	played := map[string]bool{}
	for _, c := range causes {
		played[c.fault()] = true
	}
	for _, k := range faults.Catalog {
		if k.Group == "reset" && !played[k.Name] && untried[k.Name] == "" {
			t.Errorf("no client is tested under %s", k.Name)
		}
	}
}

// try runs a client under a cause and checks what it reports. On a machine that is
// too busy for the client's timeouts the report may differ, but not three times.
func try(t *testing.T, cause cause, prog program) {
	for n := 1; ; n++ {
		wrong := attempt(t, cause, prog)
		switch {
		case wrong == "":
			return
		case n == 3:
			t.Error(wrong)
			return
		}
		t.Logf("trying again: %s", wrong)
	}
}

// attempt runs a client under a cause and returns what is wrong with its report.
func attempt(t *testing.T, cause cause, prog program) (wrong string) {
	build := lab.NewIPv4 // there are hundreds of labs
	if cause.v6 {
		build = lab.New
	}
	l, err := build()
	if err != nil {
		t.Fatalf("build the lab: %v", err)
	}
	t.Cleanup(l.Close)
	dir, err := os.MkdirTemp(base, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &trial{t: t, cause: cause, prog: prog, lab: l, dir: dir}
	c.shortTimeouts()
	prog.serve(c)
	run := c.inject()
	var out, errs bytes.Buffer
	cmd := prog.command(c)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if cmd.Env == nil {
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C"}
	}
	begin := time.Now()
	p, err := start(l.Client, cmd)
	if err != nil {
		t.Fatal(err)
	}
	patience := 2*cause.seconds() + 6
	if !slices.Contains(want(cause, prog), waiting) {
		patience += 30 // the program may start slowly on a busy machine
	}
	ended := p.within(time.Duration(patience) * time.Second)
	took := time.Since(begin)
	stats := run.Stats().Rules[0]
	got := report(out.String(), errs.String(), ended, int(stats.Chosen))
	if got == fine && want(cause, prog)[0] == retried && stats.Chosen > 1 {
		got = retried
	}
	t.Logf("%v, %d connections: %s", took.Round(10*time.Millisecond), stats.Chosen, got)
	if stats.Faults[0].Fired == 0 {
		return fmt.Sprintf("the fault never fired: %+v", stats)
	}
	return c.check(got)
}

// shortTimeouts makes the client's kernel give up sooner than by default.
func (c *trial) shortTimeouts() {
	c.t.Helper()
	values := map[string]string{"tcp_syn_linear_timeouts": "0", "tcp_syn_retries": "1", "tcp_retries2": "3"}
	if c.cause.play == wait {
		values["tcp_keepalive_time"], values["tcp_keepalive_intvl"], values["tcp_keepalive_probes"] = "1", "1", "2"
	}
	for name, value := range values {
		if err := c.lab.Client.Sysctl(filepath.Join("net/ipv4", name), value); err != nil && !os.IsNotExist(err) {
			c.t.Fatal(err)
		}
	}
}

// inject injects the cause on the router until the end of the test.
func (c *trial) inject() *injector.Injector {
	c.t.Helper()
	request := c.prog.request
	if request == "" {
		request = "request"
	}
	rule := injector.Rule{Faults: []injector.NamedModel{strike.Fault(c.t, strings.ReplaceAll(c.cause.spec, "REQUEST", request))}}
	for _, port := range []uint16{80, 5432, 6379} {
		rule.Match.To = append(rule.Match.To, target.Endpoint{LowPort: port, HighPort: port})
	}
	inj, stop := strike.Begin(c.t, injector.Config{NetNS: c.lab.Router.NS, Rules: []injector.Rule{rule}})
	c.t.Cleanup(stop)
	return inj
}

// varying is what changes from run to run in a report, and what replaces it.
var varying = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`\b10\.77\.1\.\d+(:| port )\d+`), "client"},
	{regexp.MustCompile(`\b10\.77\.2\.\d+(:| port )\d+`), "server"},
	{regexp.MustCompile(`\b10\.77\.2\.\d+`), "server"},
	{regexp.MustCompile(`\[?\bfd77:1::1\]?(:| port )\d+`), "client"},
	{regexp.MustCompile(`\[?\bfd77:2::1\]?(:| port )\d+`), "server"},
	{regexp.MustCompile(`\[?\bfd77:2::1\b\]?`), "server"},
	{regexp.MustCompile(`127\.0\.0\.1(:| port )8080`), "proxy"},
	{regexp.MustCompile(`\b\d+ (ms|milliseconds)\b`), "N $1"},
	{regexp.MustCompile(`^(curl: \(22\)|This probably means|before or while|Is the server running|connection to server was lost|psql:<stdin>:1: error: connection to server was lost).*`), ""},
	{regexp.MustCompile(`\b\d+ out of \d+ bytes\b`), "some bytes"},
	{regexp.MustCompile(`IncompleteRead\(\d+ bytes read, \d+ more expected\)`), "IncompleteRead(N bytes read, N more expected)"},
}

// report is what the client printed, in one line. A client that prints only that
// it succeeded reports no error.
func report(out, errs string, ended bool, connections int) string {
	var lines []string
	success := false
	for l := range strings.SplitSeq(out+"\n"+errs, "\n") {
		l = strings.Join(strings.Fields(l), " ")
		for _, v := range varying {
			l = v.re.ReplaceAllString(l, v.by)
		}
		switch l {
		case "", "HTTP 000":
		case "fine", "HTTP 200", "PONG", "OK", "1", "8388608":
			success = true
		default:
			lines = append(lines, l)
		}
	}
	switch {
	case !ended:
		lines = append(lines, waiting)
	case len(lines) == 0 && success:
		lines = append(lines, fine)
	case len(lines) == 0:
		lines = append(lines, "exits silently")
	}
	return strings.Join(lines, "; ")
}
