package clients

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const bugsPage = "../../docs/BUGS.md"

const bugsIntro = `# Public bug reports, made repeatable

Each report below is public. It is about a client that lost a connection in a way that hardly anybody can repeat: it took a cloud's
load balancer, 350 s of silence, or a server that closes within the right millisecond. Each has a command here that brings it about
within seconds, against a real server, and a test that runs exactly that command.

- The client runs on a host of its own, as the command of ` + "`faultctl run`" + `; the server, at HOST, is on another one.
- The first command is the client as it was reported, the second one has the remedy that is documented for it. Where
  there is no second one, the remedy lies elsewhere, or none is needed today.
- The output is all that the client printed, compared by the test. "or" separates what depends on the moment. Addresses, ports and
  numbers that change are replaced by words.
- The verdict is faultctl's, see [VERDICTS.md](VERDICTS.md): *timeout* means that the client still waited when its time was up,
  *survived* that the fault arrived and the client got over it, *prevented* that the remedy kept the fault from arising, *unfelt*
  that nothing was at stake, and *never fired* that the client does not do what the fault waits for.
- What the client does is in ` + "`integration/clients/testdata/bugs`" + ` and, if it is written in Go, in ` + "`integration/clients/testdata/goclients`" + `.
- Timeouts are shorter than in the reports.

`

// page writes what the page says of a bug.
func (b *bug) page(p *strings.Builder) {
	fmt.Fprintf(p, "### %s\n\n%s\n\n", b.name, b.what)
	p.WriteString("Reported as " + links(b.reports) + ".\n\n")
	b.play1(p, false)
	if b.remedied() {
		b.play1(p, true)
	}
}

// play1 writes a command, and what the client says.
func (b *bug) play1(p *strings.Builder, remedied bool) {
	got, how := b.without, "As reported"
	if remedied {
		got = b.with
		var settings []string
		for _, r := range strings.Fields(b.remedy) {
			settings = append(settings, "`"+r+"`")
		}
		if b.setting != "" {
			settings = append(settings, b.setting)
		}
		how = "With " + strings.Join(settings, ", ")
	}
	fmt.Fprintf(p, "%s:\n\n```sh\nfaultctl %s\n```\n\n", how, strings.Join(b.arguments(remedied), " "))
	var texts []string
	for text := range strings.SplitSeq(got.text, "|") {
		if text != nothingSaid {
			texts = append(texts, "`"+text+"`")
		}
	}
	says := "The client says " + strings.Join(texts, " or ") + "."
	if len(texts) == 0 {
		says = "The client says nothing."
	}
	fmt.Fprintf(p, "%s Verdict: **%s**.\n\n", says, got.verdict)
}

// links writes reports as links: owner/name#number for an issue, owner/name!number for
// a pull request.
func links(reports []string) string {
	var all []string
	for _, r := range reports {
		url := strings.NewReplacer("#", "/issues/", "!", "/pull/").Replace(r)
		all = append(all, fmt.Sprintf("[%s](https://github.com/%s)", strings.Replace(r, "!", "#", 1), url))
	}
	return strings.Join(all, ", ")
}

// bugsText is the part of the page that TestBugsPage compares.
func bugsText() string {
	var p strings.Builder
	p.WriteString(bugsIntro)
	p.WriteString("## Databases, caches, queues and calls\n\n")
	for i := range bugs {
		if i == len(bugs)-len(httpBugs) {
			p.WriteString("## HTTP\n\n")
		}
		bugs[i].page(&p)
	}
	p.WriteString("## Not played\n\n| report | why |\n|---|---|\n")
	for _, u := range unplayed {
		fmt.Fprintf(&p, "| %s | %s |\n", links(strings.Fields(u.reports)), u.why)
	}
	p.WriteByte('\n')
	return p.String()
}

// bugVersions asks each program for its version.
func bugVersions() string {
	var b strings.Builder
	b.WriteString("## Versions\n\nRecorded with these versions, on Linux.\n\n")
	number := regexp.MustCompile(`\d+\.[\w.]+`)
	for _, pkg := range []string{
		"python3-confluent-kafka", "librdkafka1", "python3-pika", "rabbitmq-server", "python3-pymysql", "mariadb-server-core", "python3-redis", "redis-server",
		"python3-psycopg2", "python3-sqlalchemy", "postgresql-15", "libpostgresql-jdbc-java", "libhikaricp-java", "libokhttp-java", "python3-grpcio", "python3-boto3",
		"python3-requests", "python3-urllib3", "python3-aiohttp", "curl", "haproxy",
	} {
		if out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", pkg).Output(); err == nil && number.Match(out) {
			fmt.Fprintf(&b, "- %s %s\n", pkg, number.Find(out))
		}
	}
	for _, name := range []string{"ioredis", "pg", "redis", "ws"} {
		text, _ := os.ReadFile(filepath.Join(nodeModules(), name, "package.json"))
		if m := regexp.MustCompile(`"version": "([^"]+)"`).FindSubmatch(text); m != nil {
			fmt.Fprintf(&b, "- %s %s, of npm\n", name, m[1])
		}
	}
	text, _ := os.ReadFile("testdata/goclients/go.mod")
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+/(?:pgx/v5|pq|grpc|kfake)) (\S+)$`).FindAllSubmatch(text, -1) {
		fmt.Fprintf(&b, "- %s %s\n", m[1], m[2])
	}
	for _, v := range [][]string{{"Node", "node", "--version"}, {"Go", "go", "env", "GOVERSION"}} {
		if out, err := exec.Command(v[1], v[2:]...).Output(); err == nil {
			fmt.Fprintf(&b, "- %s %s\n", v[0], number.Find(out))
		}
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		fmt.Fprintf(&b, "- Linux %s\n", number.Find(release))
	}
	b.WriteString("\n`make bugs` plays each of them three times; `make docs` runs the programs again and rewrites this page.\n")
	return b.String()
}

// writeBugs writes the page, if every bug was played and the clients said what was
// expected.
func writeBugs(t *testing.T, played, plays int) {
	t.Helper()
	switch {
	case t.Failed():
		t.Error("the page is not written: some bugs failed")
	case played < plays:
		t.Errorf("the page is not written: only %d of %d bugs were played", played, plays)
	default:
		if err := os.WriteFile(filepath.FromSlash(bugsPage), []byte(bugsText()+bugVersions()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// TestBugsPage checks that the page says what the tests assert.
func TestBugsPage(t *testing.T) {
	got, err := os.ReadFile(filepath.FromSlash(bugsPage))
	if err != nil {
		t.Fatal(err)
	}
	if !*update && !strings.HasPrefix(string(got), bugsText()) {
		t.Error("docs/BUGS.md is out of date: make docs")
	}
	for _, b := range bugs {
		if len(b.reports) == 0 || b.without.verdict == "" || b.remedied() != (b.with.verdict != "") {
			t.Errorf("%s: its reports, or what its client says, are missing", b.name)
		}
	}
}
