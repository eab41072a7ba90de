package holdout

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/explain/capture"
	"github.com/faultctl/faultctl/lab"
)

var update = flag.Bool("update", false, "write the table of docs/EXPLAIN.md")

func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }

// sceneOf is something that programs do, recorded at three places.
type sceneOf struct {
	name  string
	truth string // the faults of the catalogue that this is; the first is the right name, the others are twins of it
	needs string // programs
	play  func(*scene)
}

// scene is one that is played. What fails ends the scene, by a panic that play
// recovers.
type scene struct {
	*sceneOf
	lab   *lab.Lab
	dir   string
	began []*program
}

type failure struct{ error }

func (s *scene) must(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// program is one that was started in a host.
type program struct {
	*exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
	err   bytes.Buffer
}

// answer has a program go on that waits for a line.
func (p *program) answer() { io.WriteString(p.in, "\n") }

// python is the system's Python where there is one: what a version manager puts before
// it starts slowly.
func python(name string) string {
	const system = "/usr/bin/python3"
	if name == "python3" {
		if _, err := os.Stat(system); err == nil {
			return system
		}
	}
	return name
}

func (s *scene) start(n *lab.Node, name string, args ...string) *program {
	name = python(name)
	p := &program{Cmd: exec.Command(name, args...)}
	p.Dir, p.Stderr = s.dir, &p.err
	var err error
	p.in, err = p.StdinPipe()
	s.must(err)
	out, err := p.StdoutPipe()
	s.must(err)
	p.lines = bufio.NewReader(out)
	s.must(n.Do(p.Start))
	s.began = append(s.began, p)
	return p
}

// says waits until a program prints a line.
func (s *scene) says(p *program, want string) {
	line, err := p.lines.ReadString('\n')
	if err != nil || !strings.Contains(line, want) {
		panic(failure{fmt.Errorf("%s prints %q, not %q: %v: %s", p.Path, line, want, err, &p.err)})
	}
}

// ended waits until a program ends, whatever its status.
func (s *scene) ended(p *program) {
	io.Copy(io.Discard, p.lines)
	p.Wait()
	s.began = slices.DeleteFunc(s.began, func(q *program) bool { return q == p })
}

func (s *scene) kill(p *program) {
	p.Process.Kill()
	s.ended(p)
}

// try runs a client, which may well fail.
func (s *scene) try(n *lab.Node, name string, args ...string) { s.ended(s.start(n, name, args...)) }

// run runs a command that must not fail.
func (s *scene) run(n *lab.Node, name string, args ...string) {
	s.must(n.Do(func() error {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s %q: %w: %s", name, args, err, out)
		}
		return nil
	}))
}

func (s *scene) sysctl(n *lab.Node, name, value string) { s.must(n.Sysctl(name, value)) }

// serve starts the server and waits until it listens.
func (s *scene) serve(name string, args ...string) {
	p := s.start(s.lab.Server, name, args...)
	if !eventually(func() bool { return s.lab.Server.Listens(s.service()) }) {
		p.Process.Signal(syscall.SIGQUIT)
		s.ended(p)
		panic(failure{fmt.Errorf("%s does not listen: %v: %s", name, p.ProcessState, &p.err)})
	}
}

// eventually waits until it holds, at most a minute: programs start slowly on a busy
// machine.
func eventually(holds func() bool) bool {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if lab.Eventually(holds) {
			return true
		}
	}
	return false
}

func (s *scene) service() netip.AddrPort { return netip.AddrPortFrom(s.lab.Server.V4, 8080) }

// connected waits until a connection to the service is established.
func (s *scene) connected() {
	if !eventually(func() bool {
		var out []byte
		err := s.lab.Client.Do(func() (err error) {
			out, err = os.ReadFile("/proc/thread-self/net/tcp")
			return err
		})
		return err == nil && bytes.Contains(out, []byte(":1F90 01 ")) // port 8080, established
	}) {
		panic(failure{errors.New("no connection is established")})
	}
}

func (s *scene) file(name, content string) string {
	path := filepath.Join(s.dir, name)
	s.must(os.WriteFile(path, []byte(content), 0o644))
	return path
}

// vantages are where tcpdump records: the client, the router on the client's side, and
// the server.
var vantages = []string{"client", "router", "server"}

// recorded is what explain says of a scene from each vantage; empty: nothing.
type recorded struct {
	sceneOf
	says  [3]string
	right [3]bool // the right name is among those
	wrong [3]bool // a wrong name is sure
	skip  string  // which program is missing
	err   error
}

// record plays a scene.
func (c sceneOf) record(dir string) (r recorded) {
	r.sceneOf = c
	for _, program := range append(strings.Fields(c.needs), "tcpdump") {
		if _, err := exec.LookPath(program); err != nil {
			r.skip = program
			return r
		}
	}
	s := &scene{sceneOf: &c, dir: dir}
	defer func() {
		for _, p := range slices.Clone(s.began) {
			s.kill(p)
		}
		if s.lab != nil {
			s.lab.Close()
		}
		switch p := recover().(type) {
		case nil:
		case failure:
			r.err = p.error
		default:
			panic(p)
		}
	}()
	var err error
	s.lab, err = lab.NewIPv4()
	s.must(err)
	var dumps []*program
	for i, n := range []*lab.Node{s.lab.Client, s.lab.Router, s.lab.Server} {
		link := "eth0"
		if n == s.lab.Router {
			link = "c0"
		}
		d := s.start(n, "tcpdump", "-i", link, "-U", "-Z", "root", "-w", filepath.Join(dir, vantages[i]), "--immediate-mode", "tcp port 8080 or icmp")
		if !lab.Eventually(func() bool {
			info, err := os.Stat(filepath.Join(dir, vantages[i]))
			return err == nil && info.Size() >= 24
		}) {
			panic(failure{fmt.Errorf("tcpdump: %s", &d.err)})
		}
		dumps = append(dumps, d)
	}
	c.play(s)
	time.Sleep(50 * time.Millisecond) // what is on its way: there is no condition to wait for
	for _, d := range dumps {
		d.Process.Signal(syscall.SIGINT)
		s.ended(d)
	}
	for i, v := range vantages {
		s.must(r.read(i, filepath.Join(dir, v), s.service()))
	}
	return r
}

// read has a capture explained.
func (r *recorded) read(i int, path string, service netip.AddrPort) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var found []explain.Finding
	if _, err := capture.Explain(f, func(f explain.Finding) { found = append(found, f) }, nil); err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(f explain.Finding) bool { return f.Server.Port() != service.Port() })
	if len(found) == 0 {
		return nil
	}
	explain.Sort(found)
	v := found[len(found)-1].Verdict // what comes before is how the scene was set up
	r.says[i] = v.String()
	names := append([]string{v.Cause}, v.Twins...)
	r.right[i] = slices.ContainsFunc(names, func(n string) bool { return slices.Contains(strings.Fields(r.truth), n) })
	r.wrong[i] = v.Certainty == explain.Sure && !r.right[i]
	return nil
}

// play plays all scenes, several at a time: most of the time they wait.
func play(t *testing.T) []recorded {
	t.Helper()
	all := make([]recorded, len(scenes))
	const atOnce = 5
	room := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, c := range scenes {
		dir := t.TempDir()
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			all[i] = c.record(dir)
		})
	}
	wg.Wait()
	return all
}

const (
	page  = "../../docs/EXPLAIN.md"
	head  = "## Captures that no rule was made from\n"
	after = "\n## What cannot be told\n"
)

// section is the part of the page about all scenes.
func section(all []recorded) string {
	var b strings.Builder
	seen, named := 0, 0
	for _, r := range all {
		for i, says := range r.says {
			if says != "" {
				seen++
			}
			if r.right[i] {
				named++
			}
		}
	}
	b.WriteString(head + "\n")
	fmt.Fprintf(&b, "tcpdump recorded these in network namespaces, of programs that have nothing to do with faultctl. They were tried when the rules were\n"+
		"finished, and this is what came of it: of %d captures that show something, %d are given the right name, alone or among those that look the\n"+
		"same from there (✘: it is not). `go test ./integration/holdout` plays them again and compares; with `-update` it writes this table.\n\n", seen, named)
	b.WriteString("| what happened | it is | at the client | on the router | at the server |\n|---|---|---|---|---|\n")
	for _, r := range all {
		fmt.Fprintf(&b, "| %s | %s |", r.name, strings.Join(strings.Fields(r.truth), " or "))
		for i, says := range r.says {
			switch {
			case says == "":
				says = "–"
			case !r.right[i]:
				says = "✘ " + says
			}
			fmt.Fprintf(&b, " %s |", says)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// row is the line of the page about a scene.
func row(text, name string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| "+name+" |") {
			return line
		}
	}
	return ""
}

// as reports whether the page says of the scene what came of it. That a RST may be that
// of a proxy (rst-close) depends on whether the answer was acknowledged before it came,
// which differs from one time to another.
func (r *recorded) as(page string) bool {
	but := func(s string) string { return strings.ReplaceAll(s, "rst-close or reset", "reset") }
	return but(row(section([]recorded{*r}), r.name)) == but(row(page, r.name))
}

// TestHoldout plays the scenes: no name is both sure and wrong, and the page says what
// comes of it. On a busy machine a scene may differ now and then.
func TestHoldout(t *testing.T) {
	all := play(t)
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	begin, end := strings.Index(text, head), strings.Index(text, after)
	complete := true
	for i := range all {
		r := &all[i]
		const tries = 4
		for n := 1; n < tries && r.skip == "" && !*update && r.err == nil && !r.as(text); n++ {
			t.Logf("%s: played again: %q", r.name, r.says)
			all[i] = r.record(t.TempDir())
		}
		switch {
		case r.skip != "":
			complete = false
			if os.Getenv("FAULTCTL_REQUIRE") == "1" {
				t.Errorf("%s: there is no %s here", r.name, r.skip)
			}
			continue
		case r.err != nil:
			t.Errorf("%s: %v", r.name, r.err)
			continue
		}
		for v, wrong := range r.wrong {
			if wrong {
				t.Errorf("%s, %s: surely wrong: %s", r.name, vantages[v], r.says[v])
			}
		}
		if is := row(section([]recorded{*r}), r.name); !*update && !r.as(text) {
			t.Errorf("docs/EXPLAIN.md is out of date: run go test ./integration/holdout -update. It is\n%s, and it says\n%s", is, row(text, r.name))
		}
	}
	if *update && complete && !t.Failed() && end >= 0 {
		if begin < 0 {
			begin = end + 1
		}
		if err := os.WriteFile(page, []byte(text[:begin]+section(all)+text[end:]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !complete {
		t.Skip("some programs are missing: the other scenes were played")
	}
}
