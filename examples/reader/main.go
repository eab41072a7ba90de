// Reader is a program that subscribes to events and then only reads, and the
// service that pushes them. When its connection breaks, it subscribes again from
// the next event on. There are two variants of the reader:
//
//	reader            waits forever
//	reader -keepalive lets the kernel probe whether the other end is still there
//
// Try it: faultctl verify --plan plan.txt --timeout 5s -- ./reader
package main

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"os"
	"time"
)

var keepalive = flag.Bool("keepalive", false, "turn TCP keepalive on")

const (
	events = 6
	pause  = 3 // before this event there is a pause
)

func main() {
	flag.Parse()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err)
	}
	go serve(ln)
	next := 1
	for attempts := 0; next <= events; attempts++ {
		if attempts == 10 {
			fail(fmt.Errorf("no event %d after %d attempts", next, attempts))
		}
		time.Sleep(time.Duration(min(attempts, 1)) * 20 * time.Millisecond)
		next = read(ln.Addr().String(), next)
	}
	fmt.Println("every event arrived")
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "reader:", err)
	os.Exit(1)
}

// read reads events, starting with next, until the connection ends, and returns
// the event to continue with.
func read(addr string, next int) int {
	d := net.Dialer{Timeout: 5 * time.Second, KeepAlive: -1}
	if *keepalive {
		d.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 2}
	}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return next
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "from %d\n", next); err != nil {
		return next
	}
	for r := bufio.NewReader(c); next <= events; {
		line, err := r.ReadString('\n')
		if err != nil {
			fmt.Println("subscribing again:", err)
			return next
		}
		if line == fmt.Sprintf("event %d\n", next) {
			next++
		}
	}
	return next
}

// serve pushes events to subscribers, and closes the connection after the event
// that follows the pause.
func serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			n := 0
			if _, err := fmt.Fscanf(c, "from %d\n", &n); err != nil {
				return
			}
			for ; n <= events; n++ {
				wait := 50 * time.Millisecond
				if n == pause {
					wait = 1300 * time.Millisecond
				}
				time.Sleep(wait)
				if _, err := fmt.Fprintf(c, "event %d\n", n); err != nil || n == pause {
					return
				}
			}
		}()
	}
}
