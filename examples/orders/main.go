// Orders is a client that places orders, and the service that accepts them. Each
// order has its own connection. There are three variants of the client:
//
//	orders                    does not retry: one broken connection, one lost order
//	orders -retry             retries, and places an order twice if only the answer was lost
//	orders -retry -idempotent gives each order a key, by which the service recognizes it
//
// Try it: faultctl verify --plan ../plan.txt -- ./orders
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

var (
	retry      = flag.Bool("retry", false, "retry on a new connection")
	idempotent = flag.Bool("idempotent", false, "give each order a key")
)

func main() {
	flag.Parse()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err)
	}
	shop := &service{seen: map[string]bool{}}
	go shop.serve(ln)

	const orders = 4
	for n := range orders {
		if err := place(ln.Addr().String(), n); err != nil {
			fail(fmt.Errorf("order %d: %w", n, err))
		}
	}
	if got := shop.placed(); got != orders {
		fail(fmt.Errorf("%d orders were wanted and %d were placed", orders, got))
	}
	fmt.Println("all orders placed, each once")
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "orders:", err)
	os.Exit(1)
}

// place places an order, with as many attempts as the variant makes.
func place(addr string, n int) error {
	key := ""
	if *idempotent {
		key = fmt.Sprintf("key-%d", n)
	}
	attempts := 1
	if *retry {
		attempts = 4
	}
	var errs []error
	for try := range attempts {
		time.Sleep(time.Duration(try) * 50 * time.Millisecond)
		err := attempt(addr, n, key)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func attempt(addr string, n int, key string) error {
	// Keepalive is on, as it should be behind a firewall.
	d := net.Dialer{Timeout: 5 * time.Second, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 5}}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if n == 0 {
		time.Sleep(1300 * time.Millisecond) // it connects early, and sends later
	}
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintf(c, "order %d %s\n", n, key); err != nil {
		return err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if answer != "placed\n" {
		return fmt.Errorf("the service says %q", answer)
	}
	return nil
}

// service answers one request per connection, and closes it.
type service struct {
	mu     sync.Mutex
	orders int
	seen   map[string]bool // keys of orders that were placed
}

func (s *service) serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			line, err := bufio.NewReader(c).ReadString('\n')
			if err != nil {
				return
			}
			s.order(strings.TrimSpace(line))
			fmt.Fprintln(c, "placed")
		}()
	}
}

func (s *service) order(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := strings.Fields(line); len(w) == 3 {
		if s.seen[w[2]] {
			return // it was placed before, and its answer was lost
		}
		s.seen[w[2]] = true
	}
	s.orders++
}

func (s *service) placed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.orders
}
