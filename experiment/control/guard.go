package control

import (
	"crypto/subtle"
	"encoding/json"
	"mime"
	"net"
	"net/http"
	"strings"

	"github.com/faultctl/faultctl/experiment/event"
)

// Guard protects an API that listens on a loopback address. A request must have the
// token, be sent to the machine itself by a name of it (which DNS rebinding does not),
// come from no web page of another origin, and write JSON only, which a form cannot.
// What tells nothing of the runs is answered without the token: /healthz, and the page
// at / if the handler has one.
func Guard(h http.Handler, token string) http.Handler {
	refuse := func(w http.ResponseWriter, status int, detail, advice string) {
		w.Header().Set("Content-Type", "application/problem+json")
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="faultctl"`)
		}
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(&Problem{Status: status, Title: http.StatusText(status), Detail: detail, Code: int(event.CodeRefused), Advice: advice})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		origin := r.Header.Get("Origin")
		switch {
		case !isLoopbackName(r.Host):
			refuse(w, http.StatusMisdirectedRequest, "the Host header names another machine", "Use 127.0.0.1, [::1] or localhost.")
		case origin != "" && origin != "http://"+r.Host:
			refuse(w, http.StatusForbidden, "the request comes from a web page of another origin", "")
		case r.Method == http.MethodGet && (r.URL.Path == "/healthz" || r.URL.Path == "/"):
			h.ServeHTTP(w, r)
		case !bearer || subtle.ConstantTimeCompare([]byte(given), []byte(token)) != 1:
			refuse(w, http.StatusUnauthorized, "the token is missing or wrong", "Send Authorization: Bearer TOKEN; faultctl serve says in which file the token is.")
		case r.ContentLength != 0 && kind != "application/json" && kind != "application/merge-patch+json":
			refuse(w, http.StatusUnsupportedMediaType, "a body must be JSON", "Send Content-Type: application/json.")
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// isLoopbackName reports whether a Host header names the machine itself.
func isLoopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
