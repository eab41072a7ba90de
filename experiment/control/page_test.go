package control

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestPageNeedsNothingElse holds that the page names nothing outside of itself, and that
// browsers are told to let it do nothing but ask its server.
func TestPageNeedsNothingElse(t *testing.T) {
	for _, bad := range []string{"http://", "https://", "@import", "url(", "<iframe", "innerHTML", "eval(", " style=", "localStorage", "document.cookie"} {
		if bytes.Contains(page, []byte(bad)) {
			t.Errorf("the page holds %q", bad)
		}
	}
	h, _, _ := server(t)
	guarded := Guard(WithPage(h), "secret")
	rec := httptest.NewRecorder()
	req := httptest.NewRequest("GET", "/", nil)
	req.Host = "127.0.0.1:8675"
	guarded.ServeHTTP(rec, req)
	if policy := rec.Header().Get("Content-Security-Policy"); rec.Code != 200 || !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("%d, %v", rec.Code, rec.Header())
	}
	for _, tc := range []struct {
		method, path string
		want         int
		headers      []string
	}{
		{"GET", "/", 421, []string{"Host: evil.example"}},
		{"GET", "/", 403, []string{"Origin: http://evil.example"}},
		{"POST", "/", 401, nil},
		{"GET", "/v1/process", 401, nil},
		{"GET", "/metrics", 401, nil},
		{"DELETE", "/v1/experiments", 401, nil},
		{"GET", "/healthz", 200, nil},
		{"GET", "/healthz", 421, []string{"Host: evil.example"}},
	} {
		if status, body := send(t, guarded, tc.method, tc.path, "", tc.headers...); status != tc.want {
			t.Errorf("%s %s %q: %d, want %d: %.200s", tc.method, tc.path, tc.headers, status, tc.want, body)
		}
	}
}
