// Command goclients has the clients of docs/BUGS.md that are written in Go, and two
// servers. It is a module of its own: faultctl needs none of what they need.
//
//	goclients CLIENT HOST [SETTING=VALUE…]
//	goclients SERVER HOST:PORT
package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

var clients = map[string]func(host string, o options) error{
	"pgx": pgxClient, "lib-pq": pqClient, "http-post": postClient, "http2": http2Client, "grpc": grpcClient,
}

var servers = map[string]func(at string) error{"kafka-server": kafkaServer, "grpc-server": grpcServer}

// options are the settings of a client, such as MaxConnIdleTime=1s.
type options map[string]string

func (o options) duration(name string) time.Duration {
	d, err := time.ParseDuration(o[name])
	if o[name] != "" && err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	return d
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: goclients CLIENT HOST [SETTING=VALUE…]")
		os.Exit(2)
	}
	name, at, o := os.Args[1], os.Args[2], options{}
	for _, a := range os.Args[3:] {
		k, v, _ := strings.Cut(a, "=")
		o[k] = v
	}
	var err error
	switch {
	case clients[name] != nil:
		err = clients[name](at, o)
	case servers[name] != nil:
		err = servers[name](at)
	default:
		err = fmt.Errorf("there is no %s", name)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// twice calls f, pauses, and calls it again.
func twice(pause time.Duration, f func() error) error {
	if err := f(); err != nil {
		return fmt.Errorf("the first time: %w", err)
	}
	time.Sleep(pause)
	if err := f(); err != nil {
		return err
	}
	fmt.Println("fine")
	return nil
}
