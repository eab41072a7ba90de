package gotest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faulttest"
)

func TestMain(m *testing.M) { os.Exit(faulttest.Main(m)) }

// service starts an HTTP service on loopback, and returns its URL and its address
// for To.
func service(t *testing.T) (url, addr string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, "hello")
	}))
	t.Cleanup(s.Close)
	return s.URL, s.Listener.Addr().String()
}

func get(c *http.Client, url string) error {
	r, err := c.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return err
}

// net/http itself repeats a GET on a connection that died while idle.
func TestGetSurvivesAnIdleTimeout(t *testing.T) {
	url, addr := service(t)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	lb := faulttest.Inject(t, &faults.IdleExpire{After: 300 * time.Millisecond}, faulttest.To(addr))
	for range 2 {
		if err := get(client, url); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond) // the load balancer forgets the connection
	}
	if lb.Fired() == 0 {
		t.Error("the idle connection was not struck")
	}
}

// It does not repeat a POST, and should not: the server may have processed it. An
// Idempotency-Key tells net/http that it may.
func TestPostNeedsAKey(t *testing.T) {
	for key, survives := range map[string]bool{"": false, "order-1": true} {
		t.Run("key "+key, func(t *testing.T) {
			url, addr := service(t)
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			faulttest.Inject(t, &faults.IdleExpire{After: 300 * time.Millisecond}, faulttest.To(addr))
			if err := get(client, url); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond)
			req, err := http.NewRequest("POST", url, strings.NewReader("order"))
			if err != nil {
				t.Fatal(err)
			}
			if key != "" {
				req.Header.Set("Idempotency-Key", key)
			}
			r, err := client.Do(req)
			if err == nil {
				r.Body.Close()
			}
			if (err == nil) != survives {
				t.Errorf("POST: %v; survives: %v", err, survives)
			}
		})
	}
}

// The first connection is refused; the second attempt finds a healthy one.
func TestRetryAfterRefused(t *testing.T) {
	url, addr := service(t)
	faulttest.Inject(t, &faults.Refuse{}, faulttest.To(addr), faulttest.First(1))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if err := get(client, url); err == nil {
		t.Error("the first attempt was not refused")
	}
	if err := get(client, url); err != nil {
		t.Errorf("the second attempt: %v", err)
	}
}
