package toxiproxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path"
	"strings"
)

// Version is what GET /version answers: clients ask which parts of the API there are.
const Version = "2.12.0"

// maxBody is how long a request's body may be.
const maxBody = 16 << 20

// Handler is the API.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// answer writes what a request is answered.
type answer struct {
	http.ResponseWriter
	r *http.Request
}

// serve answers a request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.asked()
	if clean := cleaned(r.URL.Path); clean != r.URL.Path {
		u := *r.URL
		u.Path = clean
		w.Header().Set("Location", u.String())
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	handle, known := s.route(r.Method, strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/"))
	switch {
	case !known:
		http.NotFound(w, r)
		return
	case handle == nil:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("X-Toxiproxy-Request-Id", requestID())
	if strings.HasPrefix(r.UserAgent(), "Mozilla/") { // a web page of whatever origin
		http.Error(w, "User agent not allowed", http.StatusForbidden)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := handle(answer{w, r}); err != nil {
		w.Header().Set("Content-Type", "application/json")
		text, _ := json.Marshal(statusOf(err)) // two plain fields
		http.Error(w, string(text), statusOf(err).StatusCode)
	}
}

// route is what answers a request to a path; nil, true: the path has no such method.
func (s *Server) route(method string, at []string) (handle func(answer) error, known bool) {
	methods := map[string]func(answer) error{}
	switch n := len(at); {
	case n == 1 && at[0] == "version":
		methods["GET"] = s.version
	case n == 1 && at[0] == "reset":
		methods["POST"] = s.reset
	case n == 1 && at[0] == "populate":
		methods["POST"] = s.populate
	case n == 1 && at[0] == "proxies":
		methods["GET"], methods["POST"] = s.index, s.create
	case n == 1 && at[0] == "metrics" && s.Metrics != nil:
		return func(a answer) error { s.Metrics.ServeHTTP(a, a.r); return nil }, true
	case n == 2 && at[0] == "proxies" && at[1] != "":
		update := func(a answer) error { return s.update(a, at[1]) }
		methods["GET"], methods["POST"], methods["PATCH"] = func(a answer) error { return s.show(a, at[1]) }, update, update
		methods["DELETE"] = func(a answer) error { return s.remove(a, at[1]) }
	case n == 3 && at[0] == "proxies" && at[1] != "" && at[2] == "toxics":
		methods["GET"] = func(a answer) error { return s.toxicIndex(a, at[1]) }
		methods["POST"] = func(a answer) error { return s.toxicCreate(a, at[1]) }
	case n == 4 && at[0] == "proxies" && at[1] != "" && at[2] == "toxics" && at[3] != "":
		update := func(a answer) error { return s.toxicUpdate(a, at[1], at[3]) }
		methods["GET"], methods["POST"], methods["PATCH"] = func(a answer) error { return s.toxicShow(a, at[1], at[3]) }, update, update
		methods["DELETE"] = func(a answer) error { return s.toxicRemove(a, at[1], at[3]) }
	default:
		return nil, false
	}
	return methods[method], true
}

// cleaned is a path without dots and double slashes; a slash at its end stays.
func cleaned(p string) string {
	if p == "" || p[0] != '/' {
		p = "/" + p
	}
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// requestID is 20 letters and digits, as clients find them in logs.
func requestID() string {
	id := make([]byte, 20)
	for i := range id {
		id[i] = "0123456789abcdefghijklmnopqrstuv"[rand.IntN(32)]
	}
	return string(id)
}

// json answers with a value.
func (a answer) json(status int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	a.Header().Set("Content-Type", "application/json")
	a.WriteHeader(status)
	a.Write(text) // the client is gone if it fails
	return nil
}

func (a answer) nothing() error {
	a.WriteHeader(http.StatusNoContent)
	return nil
}

// decode reads the first JSON value of the body.
func (a answer) decode(into any) error {
	if err := json.NewDecoder(a.r.Body).Decode(into); err != nil {
		return badBody(err)
	}
	return nil
}

func (s *Server) version(a answer) error {
	a.Header().Set("Content-Type", "application/json;charset=utf-8")
	fmt.Fprintf(a, "{\"version\": \"%s\"}\n", Version)
	return nil
}

// ApiError is an error as the API answers it.
type ApiError struct {
	Message    string `json:"error"`
	StatusCode int    `json:"status"`
}

func (e *ApiError) Error() string { return e.Message }

// The errors that clients know.
var (
	errProxyNotFound = &ApiError{"proxy not found", http.StatusNotFound}
	errProxyExists   = &ApiError{"proxy already exists", http.StatusConflict}
	errToxicNotFound = &ApiError{"toxic not found", http.StatusNotFound}
	errToxicExists   = &ApiError{"toxic already exists", http.StatusConflict}
	errStream        = &ApiError{"stream was invalid, can be either upstream or downstream", http.StatusBadRequest}
	errToxicType     = &ApiError{"invalid toxic type", http.StatusBadRequest}
)

func badBody(err error) error {
	return &ApiError{"bad request body: " + err.Error(), http.StatusBadRequest}
}

func missing(what string) error {
	return &ApiError{"missing required field: " + what, http.StatusBadRequest}
}

// statusOf is any error as the API answers it.
func statusOf(err error) *ApiError {
	var known *ApiError
	if errors.As(err, &known) {
		return known
	}
	return &ApiError{err.Error(), http.StatusInternalServerError}
}
