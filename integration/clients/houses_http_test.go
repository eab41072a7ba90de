package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// serveHTTP serves HTTP/1.1 on port 80, and HTTP/1.1 and HTTP/2 over TLS on port 443.
func (h *lodging) serveHTTP() error {
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	var orders sync.Map
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "fine\n")
	})
	for path, size := range map[string]int{"/page": 64 << 10, "/large": 1 << 20} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(size))
			w.Write(body[:size])
		})
	}
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { // an answer that takes a while
		select {
		case <-time.After(6 * time.Second):
			io.WriteString(w, `"fine"`+"\n")
		case <-stop:
		}
	})
	mux.HandleFunc("/early", func(w http.ResponseWriter, r *http.Request) { // without reading the body
		w.Header().Set("Connection", "close")
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	})
	mux.HandleFunc("/order/", func(w http.ResponseWriter, r *http.Request) { // each order by its path
		io.Copy(io.Discard, r.Body)
		n, _ := orders.LoadOrStore(r.URL.Path, new(atomic.Int64))
		fmt.Fprintf(w, "carried out %d times\n", n.(*atomic.Int64).Add(1))
	})
	mux.HandleFunc("/order", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "ordered\n")
	})
	plain := &http.Server{Handler: mux}
	secure := &http.Server{Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}}
	h.closers = append(h.closers, func() { close(stop); plain.Close(); secure.Close() })
	return h.lab.Server.Do(func() error {
		ln, err := net.Listen("tcp", h.host()+":80")
		if err != nil {
			return err
		}
		go plain.Serve(ln)
		if ln, err = net.Listen("tcp", h.host()+":443"); err == nil {
			go secure.ServeTLS(ln, "", "")
		}
		return err
	})
}

// selfSigned makes a certificate that nobody knows.
func selfSigned() (c tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"server"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
