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

Real programs talk to real servers under every fault that resets a connection or makes it hang. A test checks each line below,
and fails if a client reports something else.

- Client and server are separate hosts, and the fault is injected on a router between them. They use IPv4; the last section
  lists what is different over IPv6.
- In the two lines with a proxy, the proxy is on the client's side: the fault is between the proxy and its backend.
- Unless stated otherwise, every program has a timeout of 2 s for its calls, if it supports one. redis-cli does not. psql has
  one for the connect, and for the rest tcp_user_timeout, here 3 s.
- The client's kernel gives up sooner than by default: a connect after 3 s, a retransmission after about 6 s, and a keepalive
  probe after 3 s. The defaults are two minutes, a quarter of an hour, and two hours.
- "or" separates reports that depend on when the program looks. "no error, on a second connection" means that the program
  noticed the failure, reconnected, and did not report it.
- Addresses, ports and times are replaced by words.

## Worth knowing

- **Java distinguishes reads from writes.** A plain Socket reports ` + "`Connection reset`" + ` from read, and ` + "`Connection reset by peer`" + ` or
  ` + "`Broken pipe`" + ` from write. Python, curl and Go have one text for both.
- **psql does not distinguish a reset from a close.** libpq reports ` + "`server closed the connection unexpectedly`" + ` for both.
- **redis-cli reports the kernel's ETIMEDOUT as** ` + "`recv timeout`" + `.
- **Java's HttpClient hides the errno of a connect.** ` + "`ConnectException`" + ` without a text can be a refusal or a timeout.
- **Node may mistake a reset for the end of the stream.** When the RST arrives together with the last data, libuv reports the
  end of the stream. fetch always does so when the response has no length. If only the end of the connection marks the end of
  the response, a truncated response then looks complete.
- **fetch may never settle.** When the reset comes right after the connect, its promise may stay pending. A process that has
  nothing else to do then exits silently.
- **HAProxy forwards such a truncated response as complete**; nginx breaks the connection to its client.
- **A program that reuses connections may not notice at all.** curl, Go, Java's HttpClient and nginx repeat a GET on a new
  connection if the old one died while idle. Python's http.client, psql and redis-cli do not. No program retries when it
  receives nothing at all.
- **Node's agent does not repeat a request.** A GET that meets the reset is ` + "`ECONNRESET`" + `, with ` + "`req.reusedSocket`" + `: repeat it
  yourself. That it has no error below is because its sockets send TCP keepalive probes after a second: the agent learns of the
  end during the pause, and opens another connection. fetch does the same if it sees the end of the stream before it writes.
- **HAProxy does not repeat a request either.** It closes the connection to its client without an answer, and the client may
  repeat it: curl does.
- **"Administratively prohibited" differs over IPv6.** A router's ICMP error of that code is EHOSTUNREACH over IPv4 and EACCES
  over IPv6; Java turns the latter into a ` + "`BindException`" + `.
- **An ICMP error may arrive after connect has succeeded.** Linux wakes a poll for it before it sets the errno on the socket. A
  program that reads SO_ERROR in between takes the socket for connected, and its first write fails with the errno. This happens
  in about one of several hundred connects.

`

// heading writes the cause's heading and what the client does and gets.
func (c cause) heading(p *strings.Builder) {
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
	does := "The client makes " + c.play.String()
	if c.pause > 0 {
		does += fmt.Sprintf(", with a pause of %g s between them", c.pause)
	}
	if c.limit > 0 {
		does += fmt.Sprintf(", with a timeout of %d s", c.limit)
	}
	fmt.Fprintf(p, "%s. The kernel reports: %s.\n\n", does, c.meets)
}

// tables is the part of the page that TestPage compares.
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
		c.heading(&p)
		c.table(&p, programs)
	}
	p.WriteString("## Over IPv6\n\nRepeated over IPv6. Only clients that report something different from IPv4 are listed.\n\n")
	for _, c := range causes {
		if !c.v6 {
			continue
		}
		c.heading(&p)
		other := slices.DeleteFunc(slices.Clone(programs), c.sameOverIPv4)
		if len(other) == 0 {
			p.WriteString("Every client reports the same as over IPv4.\n\n")
			continue
		}
		c.table(&p, other)
	}
	return p.String()
}

// sameOverIPv4 says whether the program reports the same when the cause is
// injected over IPv4.
func (c cause) sameOverIPv4(prog program) bool {
	n := slices.IndexFunc(causes, func(o cause) bool {
		return !o.v6 && o.spec == c.spec && o.play == c.play && o.limit == c.limit && o.pause == c.pause
	})
	return n >= 0 && slices.Equal(want(c, prog), want(causes[n], prog))
}

// table writes what the programs report.
func (c cause) table(p *strings.Builder, programs []program) {
	p.WriteString("| client | reports |\n|---|---|\n")
	for _, prog := range programs {
		if prog.never != nil && prog.never(c) {
			continue
		}
		texts := want(c, prog)
		for i, text := range texts {
			if !strings.HasPrefix(text, fine) && text != waiting {
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
	b.WriteString("## Versions\n\nRecorded with these versions, on Linux.\n\n")
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
	b.WriteString("\n`make docs` runs the programs again and rewrites this page; `make deps` installs the programs.\n")
	return b.String()
}

// writeDocs writes the page, if every client ran under every cause and reported
// what was expected.
func writeDocs(t *testing.T, played int) {
	t.Helper()
	trials := 0
	for _, c := range causes {
		for _, p := range programs {
			if p.never == nil || !p.never(c) {
				trials++
			}
		}
	}
	switch {
	case t.Failed():
		t.Error("the page is not written: some clients failed")
	case played < trials:
		t.Errorf("the page is not written: only %d of %d trials ran", played, trials)
	default:
		if err := os.WriteFile(filepath.FromSlash(page), []byte(intro+tables()+versions()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// TestPage checks that the page says what the tests assert.
func TestPage(t *testing.T) {
	got, err := os.ReadFile(filepath.FromSlash(page))
	if err != nil {
		t.Fatal(err)
	}
	if !*update && !strings.HasPrefix(string(got), intro+tables()) {
		t.Error("docs/CLIENTS.md is out of date: make docs")
	}
}
