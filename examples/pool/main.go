// Pool is a program that keeps its connections to a database in a pool, and the
// database. There are two variants of the pool:
//
//	pool            hands out connections without checking them
//	pool -validate  pings an idle connection before it hands it out, and retries a query on a new one
//
// Try it: faultctl verify --plan ../plan.txt -- ./pool
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

var validate = flag.Bool("validate", false, "validate a connection on borrow")

func main() {
	flag.Parse()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err)
	}
	go serve(ln)
	p := &pool{addr: ln.Addr().String()}
	for n := range 6 {
		if n == 3 {
			time.Sleep(1300 * time.Millisecond) // no request for a while
		}
		if err := p.query(fmt.Sprintf("select %d", n)); err != nil {
			fail(fmt.Errorf("query %d: %w", n, err))
		}
	}
	fmt.Println("every query answered")
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "pool:", err)
	os.Exit(1)
}

// pool holds one connection, which is enough for the example.
type pool struct {
	addr string
	idle *conn
}

type conn struct {
	net.Conn
	r *bufio.Reader
}

// query borrows a connection, sends a query, and returns the connection.
func (p *pool) query(q string) error {
	c, err := p.borrow()
	if err != nil {
		return err
	}
	err = c.ask(q)
	if err != nil && *validate { // a select may be repeated
		c.Close()
		if c, err = p.dial(); err != nil {
			return err
		}
		err = c.ask(q)
	}
	if err != nil {
		c.Close()
		return err
	}
	p.idle = c
	return nil
}

func (p *pool) borrow() (*conn, error) {
	c := p.idle
	p.idle = nil
	if c == nil {
		return p.dial()
	}
	if *validate && c.ask("ping") != nil {
		c.Close()
		return p.dial()
	}
	return c, nil
}

// dial connects, with retries, because databases restart.
func (p *pool) dial() (*conn, error) {
	var errs []error
	for try := range 4 {
		time.Sleep(time.Duration(try) * 50 * time.Millisecond)
		d := net.Dialer{Timeout: 5 * time.Second, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 5}}
		c, err := d.Dial("tcp", p.addr)
		if err == nil {
			return &conn{c, bufio.NewReader(c)}, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (c *conn) ask(q string) error {
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintln(c, q); err != nil {
		return err
	}
	answer, err := c.r.ReadString('\n')
	if err == nil && strings.TrimSpace(answer) != "answer to "+q {
		err = fmt.Errorf("the database says %q", answer)
	}
	return err
}

// serve is the database.
func serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			r := bufio.NewReader(c)
			for {
				q, err := r.ReadString('\n')
				if err == nil {
					_, err = io.WriteString(c, "answer to "+q)
				}
				if err != nil {
					return
				}
			}
		}()
	}
}
