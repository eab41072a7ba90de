// Package toxiproxy plays the same calls against Toxiproxy's server and ours.
package toxiproxy

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment/toxiproxy"
)

var (
	calls = flag.Int("calls", 1500, "how many calls TestSameAnswers makes")
	seed  = flag.Uint64("seed", 1, "decides which")
)

// The proxies of ours listen on one loopback address, theirs on another.
const ours, theirs = "127.0.71.1", "127.0.71.2"

// TestSameAnswers holds that random calls, many of them wrong, are answered with the
// same status, headers and body by Toxiproxy's server and by ours.
func TestSameAnswers(t *testing.T) {
	real := startReal(t)
	server := &toxiproxy.Server{Seed: 1}
	t.Cleanup(server.Close)
	own := httptest.NewServer(server.Handler())
	t.Cleanup(own.Close)
	g := &generator{r: rand.New(rand.NewPCG(*seed, 0)), ports: freePorts(t, 3)}
	client := &http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	statuses := map[int]int{}
	for n := range *calls {
		c := g.next()
		a, b := c.make(t, client, own.URL, ours), c.make(t, client, real, theirs)
		if a.text() != b.text() {
			t.Fatalf("call %d with -seed %d, after\n%s\n%s\nis answered\n%s\nand by Toxiproxy\n%s", n, *seed, strings.Join(g.recent, "\n"), c, a.text(), b.text())
		}
		statuses[a.status]++
		if c.path == "/reset" && a.status == http.StatusInternalServerError { // what was reset before is chance
			for _, name := range names {
				gone := call{method: "DELETE", path: "/proxies/" + strings.ReplaceAll(name, " ", "%20")}
				gone.make(t, client, own.URL, ours)
				gone.make(t, client, real, theirs)
			}
		}
	}
	t.Logf("answers by status: %v", statuses)
	for _, status := range []int{200, 201, 204, 400, 403, 404, 405, 409, 500} {
		if *calls >= 1500 && statuses[status] == 0 {
			t.Errorf("no call was answered with %d", status)
		}
	}
}

// startReal starts Toxiproxy's server, and returns where it answers.
func startReal(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "toxiproxy-server")
	build := exec.Command("go", "build", "-o", bin, "github.com/Shopify/toxiproxy/v2/cmd/server")
	build.Dir = "../bench/toxiproxy"
	if out, err := build.CombinedOutput(); err != nil {
		if os.Getenv("FAULTCTL_REQUIRE") == "1" {
			t.Fatalf("Toxiproxy cannot be built: %v\n%s", err, out)
		}
		t.Skipf("Toxiproxy cannot be built: %v\n%s", err, out)
	}
	port := freePorts(t, 1)[0]
	cmd := exec.Command(bin, "-host", theirs, "-port", port)
	cmd.Env = append(os.Environ(), "LOG_LEVEL=disabled")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	url := "http://" + net.JoinHostPort(theirs, port)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if resp, err := http.Get(url + "/version"); err == nil {
			resp.Body.Close()
			return url
		}
		if time.Now().After(deadline) {
			t.Fatal("Toxiproxy does not answer")
		}
	}
}

// freePorts are ports below the ephemeral ones on which nothing listens.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for try := 0; len(ports) < n && try < 1000; try++ {
		port := fmt.Sprint(10000 + rand.IntN(20000))
		l, err := net.Listen("tcp", ":"+port)
		if err != nil {
			continue
		}
		l.Close()
		ports = append(ports, port)
	}
	if len(ports) < n {
		t.Fatal("no free ports")
	}
	return ports
}

// call is a request; @ in it stands for the address of the server's proxies.
type call struct{ method, path, body, agent string }

func (c call) String() string { return c.method + " " + c.path + " " + c.body }

type reply struct {
	status  int
	headers []string
	body    string
}

func (r reply) text() string {
	return fmt.Sprintf("%d\n%s\n%s", r.status, strings.Join(r.headers, "\n"), r.body)
}

var (
	drawnPort = regexp.MustCompile(`(@|\[::\]):(3[2-9]|[4-6]\d)\d{3}\b`)
	requestID = regexp.MustCompile(`^[0-9a-v]{20}$`)
	version   = regexp.MustCompile(`"version": "[^"]+"`)
)

func (c call) make(t *testing.T, client *http.Client, url, address string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), c.method, url+c.path, strings.NewReader(strings.ReplaceAll(c.body, "@", address)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", c.agent)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", c, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := reply{status: resp.StatusCode}
	for _, name := range []string{"Content-Type", "X-Content-Type-Options", "Allow", "Location"} {
		r.headers = append(r.headers, name+": "+resp.Header.Get(name))
	}
	r.headers = append(r.headers, fmt.Sprintf("request ID: %t", requestID.MatchString(resp.Header.Get("X-Toxiproxy-Request-Id"))))
	body := strings.ReplaceAll(string(text), address, "@")
	body = version.ReplaceAllString(body, `"version": "V"`)
	r.body = drawnPort.ReplaceAllString(body, "$1:drawn") // of port 0, and as their length is that of the others
	return r
}

// generator makes calls.
type generator struct {
	r      *rand.Rand
	ports  []string
	recent []string
}

var names = []string{"a", "b", "c", "with space"}

func pick[T any](g *generator, from ...T) T { return from[g.r.IntN(len(from))] }

func (g *generator) often() bool { return g.r.IntN(8) != 0 }

func (g *generator) next() (c call) {
	defer func() {
		g.recent = append(g.recent, c.String())
		g.recent = g.recent[max(0, len(g.recent)-12):]
	}()
	c.agent = "test"
	if g.r.IntN(60) == 0 {
		c.agent = "Mozilla/5.0"
	}
	proxy := "/proxies/" + strings.ReplaceAll(pick(g, names...), " ", "%20")
	toxic := proxy + "/toxics/" + pick(g, "latency_downstream", "bandwidth_upstream", "t1", "t2", "limit_data_downstream", "timeout_Upstream")
	switch g.r.IntN(16) {
	case 0, 1:
		c.method, c.path, c.body = "POST", "/proxies", g.mangled(g.proxy(true))
	case 2:
		c.method, c.path, c.body = "POST", "/populate", g.mangled(g.proxies())
	case 3:
		c.method, c.path = "POST", pick(g, "/reset", proxy, proxy)
		c.body = g.update()
	case 4, 5:
		c.method, c.path, c.body = pick(g, "POST", "PATCH"), proxy, g.update()
	case 6:
		c.method, c.path = "DELETE", pick(g, proxy, toxic, toxic)
	case 7, 8:
		c.method, c.path = "GET", pick(g, "/proxies", proxy, proxy+"/toxics", toxic, "/version")
	case 9:
		c.method = pick(g, "GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS")
		c.path = pick(g, "/", "/nothing", "/proxies/", "/proxies", "/proxies/a/", "/proxies/a/toxics/", "/proxies/a/toxics/b/c", "//proxies", "/proxies/../version", "/version/", "/metrics", "/reset", "/populate", "/version", "/proxies/a/other", "/proxies/./a")
	case 10, 11, 12, 13:
		c.method, c.path, c.body = "POST", proxy+"/toxics", g.mangled(g.toxic())
	default:
		c.method, c.path, c.body = pick(g, "POST", "PATCH"), toxic, g.toxicUpdate()
	}
	return c
}

func (g *generator) listen() string {
	return pick(g, "@:0", "@:"+g.ports[0], "@:"+g.ports[0], "@:"+g.ports[1], "@:"+g.ports[2], "nonsense", "@:99999", "", "@", "@:http-nonsense", ":0")
}

func (g *generator) upstream() string {
	return pick(g, "127.0.0.1:1", "127.0.0.1:1", "nowhere.invalid:80", "no address", "")
}

func (g *generator) proxy(name bool) map[string]any {
	p := map[string]any{}
	if name && g.often() {
		p["name"] = pick(g, append(names, "")...)
	}
	if g.often() {
		p["listen"] = g.listen()
	}
	if g.often() {
		p["upstream"] = g.upstream()
	}
	if !g.often() {
		p["enabled"] = pick[any](g, true, false, nil)
	}
	if g.r.IntN(30) == 0 {
		p[pick(g, "name", "listen", "upstream", "enabled")] = pick[any](g, 5, "text", true, []int{1}, map[string]int{})
	}
	return p
}

func (g *generator) proxies() []any {
	all := []any{}
	for range g.r.IntN(4) {
		all = append(all, g.proxy(true))
	}
	if g.r.IntN(40) == 0 {
		all = append(all, pick[any](g, 5, "text", nil))
	}
	return all
}

func (g *generator) update() string {
	if g.r.IntN(3) == 0 {
		return pick(g, `{"enabled":false}`, `{"enabled":true}`, `{}`)
	}
	return g.mangled(g.proxy(false))
}

var attributes = map[string][]string{
	"latency": {"latency", "jitter"}, "bandwidth": {"rate"}, "slow_close": {"delay"}, "timeout": {"timeout"}, "reset_peer": {"timeout"},
	"slicer": {"average_size", "size_variation", "delay"}, "limit_data": {"bytes"}, "noop": {}, "unknown": {"x"}, "": {}, "Latency": {"latency"},
}

func (g *generator) kind() string {
	return pick(g, "latency", "latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data", "noop", "unknown", "", "Latency")
}

// settings are valid attributes, some of them of other toxics.
func (g *generator) settings(kind string) map[string]any {
	all := map[string]any{}
	for _, name := range append(attributes[kind], "other") {
		if g.often() {
			all[name] = pick[any](g, 0, 1, 100, -5, 1<<40, nil)
		}
	}
	return all
}

// wrong are attributes of which one is wrong.
func (g *generator) wrong(kind string) map[string]any {
	all := map[string]any{}
	if names := attributes[kind]; len(names) > 0 {
		all[pick(g, names...)] = pick[any](g, "text", 1.5, true, []int{}, json.Number("1e99"))
	}
	return all
}

func (g *generator) toxicity() any {
	return pick[any](g, 0, 1, 0.5, 0.1, 1e-10, 0.123456789, 7, -1)
}

func (g *generator) toxic() map[string]any {
	kind := g.kind()
	t := map[string]any{"type": kind}
	if g.r.IntN(3) == 0 {
		t["name"] = pick(g, "t1", "t2", "t2", "")
	}
	if g.r.IntN(2) == 0 {
		t["stream"] = pick(g, "upstream", "downstream", "Upstream", "DOWNSTREAM", "sideways", "")
	}
	if g.r.IntN(2) == 0 {
		t["toxicity"] = g.toxicity()
	}
	switch g.r.IntN(8) {
	case 0:
		t["attributes"] = pick[any](g, nil, 5, "text", []int{}, map[string]any{})
	case 1:
		t["attributes"] = g.wrong(kind)
	case 2:
	default:
		t["attributes"] = g.settings(kind)
	}
	if g.r.IntN(30) == 0 {
		t[pick(g, "name", "stream", "toxicity", "type")] = pick[any](g, "text", 5, true, []int{}, json.Number("1e99"))
	}
	return t
}

// toxicUpdate is right, or wrong alone: where a part of an update is wrong, Toxiproxy
// takes the rest, and ours nothing.
func (g *generator) toxicUpdate() string {
	kind := g.kind()
	switch g.r.IntN(10) {
	case 0:
		return text(map[string]any{"attributes": g.wrong(kind)})
	case 1:
		return text(map[string]any{"toxicity": pick[any](g, "text", true, json.Number("1e99"))})
	case 2:
		return pick(g, "", "null", "[]", "5", "{", `{"attributes":null}`, `{"attributes":[]}`, `{"attributes":5}`, `{"name":"other"}`)
	}
	u := map[string]any{"attributes": g.settings(kind)}
	if g.r.IntN(2) == 0 {
		u["toxicity"] = g.toxicity()
	}
	return text(u)
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// mangled is a body, now and then one that is none.
func (g *generator) mangled(v any) string {
	body := text(v)
	switch g.r.IntN(24) {
	case 0:
		return body[:g.r.IntN(len(body))]
	case 1:
		return pick(g, "", "null", "[]", "{}", "5", `"text"`, "[5]", "{\"name\":", body+" and more", string(bytes.Repeat([]byte(" "), 3))+body)
	}
	return body
}
