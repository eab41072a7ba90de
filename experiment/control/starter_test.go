package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
)

// server is an API that starts runs of a fake engine. started counts its engines.
func server(t *testing.T) (h http.Handler, s *Starter, started *atomic.Int32) {
	started = new(atomic.Int32)
	sys := experiment.NewSystem()
	sys.Proc = t.TempDir()
	sys.Start = func(ctx context.Context, cfg injector.Config) (experiment.Engine, error) {
		started.Add(1)
		e := &engine{done: make(chan struct{})}
		cfg.OnEvent(injector.Event{Kind: injector.Ready, Time: time.Now()})
		context.AfterFunc(ctx, func() { close(e.done) })
		return e, nil
	}
	sys.Translations = func(*os.File, target.Matcher) ([]injector.Translation, error) { return nil, nil }
	g := NewRegistry("serve", nil)
	s = NewStarter(t.Context(), sys, g)
	t.Cleanup(func() { s.Close() })
	return g.Handler(), s, started
}

// ask sends a request and returns its status and body.
func send(t *testing.T, h http.Handler, method, path, body string, headers ...string) (int, string) {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Host = "127.0.0.1:8000"
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		if name == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	text, _ := io.ReadAll(rec.Result().Body)
	return rec.Code, string(text)
}

// TestPut holds that a run is started, left alone, changed or replaced by what is
// asked, and that nothing is touched by what is wrong.
func TestPut(t *testing.T) {
	h, _, started := server(t)
	for _, step := range []struct {
		name, body string
		status     int
		started    int32
		says       string
	}{
		{"slow", `{"fault":"delay:by=50ms","target":{"to":":5432"}}`, 201, 1, `"state":"running"`},
		{"slow", `{"fault":"delay:by=50ms","target":{"to":":5432"}}`, 200, 1, `delay:by=50ms`},
		{"slow", `{"fault":"delay:by=80ms","target":{"to":":5432","percent":20}}`, 200, 1, `delay:by=80ms`},
		{"slow", `{"fault":"reset","target":{"to":":5432"}}`, 201, 2, `"reset"`},
		{"slow", `{"fault":"rset","target":{"to":":5432"}}`, 422, 2, `did you mean`},
		{"slow", `{"fault":"reset","target":{"too":":5432"}}`, 422, 2, `did you mean`},
		{"other", `{"fault":"reset","command":["sh"]}`, 422, 2, `runs no commands for others`},
		{"other", `{"fault":"reset","pcap":"/etc/passwd"}`, 422, 2, `"field":"pcap"`},
		{"other", `{"fault":"reset","target":{"to":":1"}}`, 201, 3, `"name":"other"`},
		{"a%20b", `{"fault":"reset","target":{"to":":1"}}`, 422, 3, `no name of a run`},
		{"slow", `{`, 400, 3, ``},
		{"slow", `{"target":{"to":":1"}}`, 422, 3, `fault`},
	} {
		status, body := send(t, h, "PUT", "/v1/experiments/"+step.name, step.body)
		if status != step.status || started.Load() != step.started || !strings.Contains(body, step.says) {
			t.Errorf("%s %s: %d, %d started, want %d, %d and %q:\n%s", step.name, step.body, status, started.Load(), step.status, step.started, step.says, body)
		}
	}
	_, body := send(t, h, "GET", "/v1/experiments", "")
	var list struct{ Experiments []Experiment }
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Experiments) != 2 || list.Experiments[1].Name != "slow" && list.Experiments[0].Name != "slow" {
		t.Errorf("%v: %s", err, body)
	}
	if status, _ := send(t, h, "DELETE", "/v1/experiments/slow", ""); status != 200 {
		t.Error(status)
	}
	await(t, func() bool { status, _ := send(t, h, "GET", "/v1/experiments/slow", ""); return status == 404 })
}

func await(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come")
		}
	}
}

// TestLease holds that a run whose owner stops renewing it ends, and that one whose
// owner does goes on.
func TestLease(t *testing.T) {
	h, s, _ := server(t)
	const spec = `{"fault":"reset","target":{"to":":1"}}`
	if status, body := send(t, h, "PUT", "/v1/experiments/short?lease=50ms", spec); status != 201 || !strings.Contains(body, `"lease":`) {
		t.Fatal(status, body)
	}
	if status, _ := send(t, h, "PUT", "/v1/experiments/long?lease=1h", spec); status != 201 {
		t.Fatal(status)
	}
	await(t, func() bool { status, _ := send(t, h, "GET", "/v1/experiments/short", ""); return status == 404 })
	before := s.get("long").until
	if status, _ := send(t, h, "POST", "/v1/experiments/long/renew", ""); status != 200 || !s.get("long").until.After(before) {
		t.Error(status)
	}
	for path, want := range map[string]int{"short/renew": 404, "x?lease=5": 422, "x?lease=-1s": 422} {
		method, body := "POST", ""
		if strings.Contains(path, "lease=") {
			method, body = "PUT", spec
		}
		if status, text := send(t, h, method, "/v1/experiments/"+path, body); status != want {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}

// TestManyRuns holds that runs that come and go leave nothing.
func TestManyRuns(t *testing.T) {
	h, s, _ := server(t)
	for i := range 300 {
		if status, body := send(t, h, "PUT", fmt.Sprintf("/v1/experiments/n%d?lease=1h", i), `{"fault":"reset","target":{"to":":1"}}`); status != 201 {
			t.Fatal(status, body)
		}
		send(t, h, "DELETE", fmt.Sprintf("/v1/experiments/n%d", i), "")
	}
	await(t, func() bool { return !s.reg.Busy() })
	await(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.owned) == 0 })
}

// TestGuard holds that nothing is changed by whoever lacks the token, or by a web page.
func TestGuard(t *testing.T) {
	inner, _, started := server(t)
	h := Guard(inner, "secret")
	const spec = `{"fault":"reset","target":{"to":":1"}}`
	token := "Authorization: Bearer secret"
	for _, tc := range []struct {
		want    int
		headers []string
	}{
		{401, nil},
		{401, []string{"Authorization: Bearer secre"}},
		{401, []string{"Authorization: Basic secret"}},
		{421, []string{token, "Host: evil.example"}},
		{421, []string{token, "Host: 10.0.0.1:8000"}},
		{403, []string{token, "Origin: http://evil.example"}},
		{403, []string{token, "Origin: null"}},
		{415, []string{token, "Content-Type: text/plain"}},
		{415, []string{token, "Content-Type: application/x-www-form-urlencoded"}},
	} {
		if status, body := send(t, h, "PUT", "/v1/experiments/x", spec, tc.headers...); status != tc.want || started.Load() != 0 || !strings.Contains(body, `"title"`) {
			t.Errorf("%q: %d, want %d; %s", tc.headers, status, tc.want, body)
		}
	}
	for _, host := range []string{"127.0.0.1:8000", "localhost:8000", "[::1]:8000", "localhost"} {
		if status, body := send(t, h, "PUT", "/v1/experiments/x", spec, token, "Host: "+host, "Origin: http://"+host); status/100 != 2 {
			t.Errorf("%s: %d %s", host, status, body)
		}
	}
}

// TestOpenAPI holds that the document names every path, and says of each answer what
// it may be.
func TestOpenAPI(t *testing.T) {
	text, err := OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Summary     string
			Responses   map[string]any
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("%v, %s", err, doc.OpenAPI)
	}
	for path, methods := range map[string]string{
		"/v1/process": "get delete", "/v1/process/pause": "post", "/v1/process/resume": "post", "/v1/experiments": "get delete",
		"/v1/experiments/{name}": "get put patch delete", "/v1/experiments/{name}/pause": "post", "/v1/experiments/{name}/resume": "post",
		"/v1/experiments/{name}/renew": "post", "/v1/connections": "get", "/v1/events": "get",
		"/v1/connections/{id}/strike": "post", "/v1/connections/{id}/spare": "post", "/v1/faults": "get", "/healthz": "get", "/metrics": "get",
	} {
		for method := range strings.FieldsSeq(methods) {
			if op := doc.Paths[path][method]; op.Summary == "" || op.OperationID == "" || op.Responses["200"] == nil {
				t.Errorf("%s %s: %+v", method, path, op)
			}
		}
		if len(doc.Paths[path]) != len(strings.Fields(methods)) {
			t.Errorf("%s has others: %v", path, doc.Paths[path])
		}
	}
}
