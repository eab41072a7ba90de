package control

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"regexp"
)

// page is the web page: one file, which asks for nothing but the API.
//
//go:embed page.html
var page []byte

// pagePolicy has browsers run and apply only what is in the page, ask only the server
// that it came from, and show it in no other page.
var pagePolicy = "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" +
	"; script-src '" + hashOf("script") + "'; style-src '" + hashOf("style") + "'"

// hashOf is the hash of the text of an element of the page.
func hashOf(element string) string {
	text := regexp.MustCompile(`(?s)<` + element + `>(.*?)</` + element + `>`).FindSubmatch(page)[1]
	sum := sha256.Sum256(text)
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// WithPage is an API that has the web page at its root. The page tells nothing by itself:
// it asks the API, with a token that a person gives it.
func WithPage(api http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", api)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		w.Write(page)
	})
	return mux
}
