package control

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzBody checks that no body of a request makes the API panic or answer with a status of
// 500, and that none starts a run of a command or writes a file.
func FuzzBody(f *testing.F) {
	for _, body := range []string{
		`{"fault":"delay:by=50ms","target":{"to":":5432"}}`, `{"fault":"reset","command":["sh"]}`, `{"fault":"reset","pcap":"/etc/passwd"}`,
		`{"fault":[],"target":[]}`, `{"fault":"reset","while":"reboot"}`, `{"set":{"percent":5}}`, `{"lease":"1s","fault":"reset"}`, `[`, `null`, "\x00", `{"fault":{"reset":{"at":{}}}}`,
	} {
		f.Add(body, "PUT", "/v1/experiments/x")
	}
	f.Add(`{"target":{"percent":10}}`, "PATCH", "/v1/experiments/x")
	f.Add("", "GET", "/v1/events?after=-1&limit=x")
	f.Add("", "DELETE", "/v1/experiments/%2e%2e")
	f.Fuzz(func(t *testing.T, body, method, path string) {
		h, s, _ := server(t)
		if !strings.HasPrefix(path, "/v1/experiments") || strings.Contains(path, "events") { // a stream of events does not end
			path = "/v1/experiments/x"
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1:8000"+path, strings.NewReader(body))
		if err != nil {
			return
		}
		req.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		if rec.Code == http.StatusInternalServerError {
			t.Errorf("%s %s %q: %s", method, path, body, rec.Body)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, o := range s.owned {
			if spec := o.run.Spec(); spec.Command != nil || spec.Pcap != "" || spec.Reports != nil {
				t.Errorf("a run of %+v", spec)
			}
		}
	})
}
