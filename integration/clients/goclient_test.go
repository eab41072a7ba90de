package clients

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// goClientEnv makes the test binary a client; its value is keep or close.
const goClientEnv = "FAULTCTL_GO_CLIENT"

// playGoClient is that client. Its arguments are those of the clients in
// testdata.
func playGoClient() {
	args := os.Args[1:]
	pause, _ := strconv.ParseFloat(args[4], 64)
	limit, _ := strconv.Atoi(args[5])
	tries, method, data := 1, "GET", []byte(nil)
	switch play(args[2]) {
	case call:
		tries = 2
	case upload:
		method, data = "POST", body
	}
	client := &http.Client{
		Timeout: time.Duration(limit) * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: os.Getenv(goClientEnv) == "close",
			DialContext: (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
				Enable: true, Idle: time.Second, Interval: time.Second, Count: 2,
			}}).DialContext,
		},
	}
	for again := range tries {
		if again > 0 {
			time.Sleep(time.Duration(pause * float64(time.Second)))
		}
		req, err := http.NewRequest(method, "http://"+net.JoinHostPort(args[0], args[1])+args[3], bytes.NewReader(data))
		if err != nil {
			fmt.Println(err)
			return
		}
		res, err := client.Do(req)
		if err == nil {
			if res.StatusCode != http.StatusOK {
				fmt.Println("HTTP", res.StatusCode)
			}
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println("fine")
}
