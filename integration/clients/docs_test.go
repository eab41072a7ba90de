package clients

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults"
)

const page = "../../docs/CLIENTS.md"

const intro = `# What clients report

Real programs against real servers, under every fault that resets a connection or lets it hang. Each line below is asserted
by a test; a client that says something else fails it.

- Client and server are hosts of their own, and a router between them plays the fault. They speak IPv4; the last section tells
  what differs over IPv6.
- In the two lines through a proxy, the proxy is on the client's side: the fault lies between the proxy and its backend.
- Every program has a limit of 2 s for its calls, if it knows such a limit and nothing else is said. redis-cli knows none.
  psql has one for the connect, and tcp_user_timeout, here 3 s, for the rest.
- The client's kernel gives up sooner than by default: a connect after 3 s, a retransmission after some 6 s, a keepalive
  probe after 3 s. By default these times are two minutes, a quarter of an hour, and two hours.
- "or" parts what depends on the moment at which the program looks. "no error, on a second connection" is a program that
  noticed, connected again and said nothing.
- Addresses, ports and times are replaced by words.

## What is worth knowing

- **Java tells reading from writing.** A plain Socket reports ` + "`Connection reset`" + ` from read, and ` + "`Connection reset by peer`" + ` or
  ` + "`Broken pipe`" + ` from write. Python, curl and Go have one text for both.
- **psql does not tell a reset from a close.** libpq reports ` + "`server closed the connection unexpectedly`" + ` for both.
- **redis-cli calls the kernel's ETIMEDOUT** ` + "`recv timeout`" + `.
- **Java's HttpClient hides the errno of a connect.** ` + "`ConnectException`" + ` without a text is a refusal as well as a timeout.
- **Node may take a reset for the end of the stream.** When the RST arrives together with the last data, libuv reports the
  end. fetch always does so when the answer has no length. Where only the end of the connection tells the end of the answer, a
  cut answer then looks whole.
- **fetch may never answer.** When the reset comes right after the connect, its promise may stay unsettled. A process with
  nothing else to do then ends without a word.
- **HAProxy hands the end of such an answer on as a whole one**; nginx breaks the connection to its client.
- **Who reuses connections may not notice at all.** curl, Go, Java's HttpClient, Node's agent and both proxies repeat a GET on
  a new connection if the old one died idle. Python's http.client, psql and redis-cli do not. fetch does if it sees the end
  before it writes, and not if the reset comes after. No program repeats where nothing comes back.
- **Forbidden reads differently over IPv6.** A router's "administratively prohibited" is EHOSTUNREACH over IPv4 and EACCES over
  IPv6; Java makes a ` + "`BindException`" + ` of it.
- **An ICMP error may come after connect has succeeded.** Linux wakes a poll for it before the socket has its errno. A program
  that asks for SO_ERROR in between takes the socket for connected, and its first write fails with the errno, in one of some
  hundred connects.

`

// blame is how the page tells of a cause.
func (c cause) blame(p *strings.Builder) {
	spec := strings.NewReplacer("at=REQUEST,", "", ",at=REQUEST", "", ":at=REQUEST", "").Replace(c.spec)
	if strings.HasPrefix(c.spec, "reset:at=REQUEST") || strings.HasPrefix(c.spec, "stall:") {
		spec = strings.ReplaceAll(c.spec, "REQUEST", "request")
	}
	name, knobs, _ := strings.Cut(spec, ":")
	command := name
	for knob := range strings.FieldsFuncSeq(knobs, func(r rune) bool { return r == ',' }) {
		k, value, has := strings.Cut(knob, "=")
		command += " --" + k
		if has {
			command += " " + value
		}
	}
	fmt.Fprintf(p, "### `%s`\n\n", command)
	does := "The client plays " + c.play.String()
	if c.pause > 0 {
		does += fmt.Sprintf(", with a pause of %g s between them", c.pause)
	}
	if c.limit > 0 {
		does += fmt.Sprintf(", with a limit of %d s", c.limit)
	}
	fmt.Fprintf(p, "%s. The kernel tells it: %s.\n\n", does, c.meets)
}

// tables is the part of the page that the test asserts.
func tables() string {
	var p strings.Builder
	last := ""
	for _, c := range causes {
		if c.v6 {
			continue
		}
		if kind, err := faults.Find(c.fault()); err == nil && c.fault() != last {
			last = c.fault()
			fmt.Fprintf(&p, "## %s\n\n%s\n\n", last, kind.Cause)
		}
		c.blame(&p)
		c.table(&p, programs)
	}
	p.WriteString("## Over IPv6\n\nPlayed again over IPv6; only clients that report something else than over IPv4 are listed.\n\n")
	for _, c := range causes {
		if !c.v6 {
			continue
		}
		c.blame(&p)
		other := slices.DeleteFunc(slices.Clone(programs), c.sameOverIPv4)
		if len(other) == 0 {
			p.WriteString("Each client reports what it reports over IPv4.\n\n")
			continue
		}
		c.table(&p, other)
	}
	return p.String()
}

// sameOverIPv4 says whether the program reports nothing else where the cause is
// played over IPv4.
func (c cause) sameOverIPv4(prog program) bool {
	n := slices.IndexFunc(causes, func(o cause) bool {
		return !o.v6 && o.spec == c.spec && o.play == c.play && o.limit == c.limit && o.pause == c.pause
	})
	return n >= 0 && slices.Equal(want(c, prog), want(causes[n], prog))
}

// table tells what the programs report.
func (c cause) table(p *strings.Builder, programs []program) {
	p.WriteString("| client | reports |\n|---|---|\n")
	for _, prog := range programs {
		if prog.never != nil && prog.never(c) {
			continue
		}
		texts := want(c, prog)
		for i, text := range texts {
			if !strings.HasPrefix(text, fine) && text != waitsOn {
				texts[i] = "`" + text + "`"
			}
		}
		fmt.Fprintf(p, "| %s | %s |\n", prog.name, strings.Join(texts, " or "))
	}
	p.WriteByte('\n')
}

// versions asks each program for its version.
func versions() string {
	var b strings.Builder
	b.WriteString("## Versions\n\nRecorded with these, on Linux.\n\n")
	number := regexp.MustCompile(`\d+\.[\w.]+`)
	for _, v := range []struct {
		name string
		args []string
	}{
		{"Python", []string{python(), "--version"}},
		{"OpenJDK", []string{"java", "--version"}},
		{"Node", []string{"node", "--version"}},
		{"Go", []string{"go", "env", "GOVERSION"}},
		{"curl", []string{"curl", "--version"}},
		{"nginx", []string{"nginx", "-v"}},
		{"HAProxy", []string{"haproxy", "-v"}},
		{"Redis", []string{"redis-server", "--version"}},
		{"PostgreSQL", []string{postgresProgram("psql"), "--version"}},
	} {
		out, err := exec.Command(v.args[0], v.args[1:]...).CombinedOutput()
		if err != nil {
			continue
		}
		fmt.Fprintf(&b, "- %s %s\n", v.name, number.Find(out))
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		fmt.Fprintf(&b, "- Linux %s\n", number.Find(release))
	}
	b.WriteString("\n`make docs` runs the programs again and writes this page; `make deps` installs them.\n")
	return b.String()
}

// writeDocs writes the page, if every cell has been played and was as expected.
func writeDocs(t *testing.T, played int) {
	t.Helper()
	cells := 0
	for _, c := range causes {
		for _, p := range programs {
			if p.never == nil || !p.never(c) {
				cells++
			}
		}
	}
	switch {
	case t.Failed():
		t.Error("the page is not written: some clients failed")
	case played < cells:
		t.Errorf("the page is not written: %d of %d were played", played, cells)
	default:
		if err := os.WriteFile(filepath.FromSlash(page), []byte(intro+tables()+versions()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// TestPage holds that the page says what is asserted.
func TestPage(t *testing.T) {
	got, err := os.ReadFile(filepath.FromSlash(page))
	if err != nil {
		t.Fatal(err)
	}
	if !*update && !strings.HasPrefix(string(got), intro+tables()) {
		t.Error("docs/CLIENTS.md is out of date: make docs")
	}
}
