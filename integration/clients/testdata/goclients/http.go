package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// request makes a request and reads the answer.
func request(client *http.Client, method, url, key string) error {
	req, err := http.NewRequest(method, url, strings.NewReader("x"))
	if err != nil {
		return err
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// postClient makes two POST requests, the second one on a connection that was idle.
func postClient(host string, o options) error {
	client := &http.Client{Transport: &http.Transport{}}
	return twice(4*time.Second, func() error { return request(client, "POST", "http://"+host+"/order", o["Idempotency-Key"]) })
}

// http2Client makes requests over one HTTP/2 connection, with a timeout each.
func http2Client(host string, o options) error {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	if d := o.duration("SendPingTimeout"); d > 0 {
		transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: d, PingTimeout: d}
	}
	client := &http.Client{Transport: transport, Timeout: 4 * time.Second}
	failed := 0
	var last error
	for n := range 4 {
		if n > 0 {
			time.Sleep(time.Second)
		}
		if err := request(client, "GET", "https://"+host+"/", ""); err != nil {
			failed, last = failed+1, err
		}
	}
	if failed > 0 {
		fmt.Printf("%d of 4 requests failed: %v\n", failed, last)
	}
	if failed == 3 {
		return fmt.Errorf("there was no other connection")
	}
	fmt.Println("fine")
	return nil
}
