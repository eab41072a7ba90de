// App is what the pods of the test cluster run: a service, its clients, and the
// process that holds a pod's namespaces.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const usage = "app pause | serve ADDR | ask ADDR…"

func main() {
	switch {
	case len(os.Args) == 1 || os.Args[1] == "pause":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
		<-c
	case os.Args[1] == "serve" && len(os.Args) == 3:
		serve(os.Args[2])
	case os.Args[1] == "ask" && len(os.Args) > 2:
		ask(os.Args[2:])
	default:
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
}

// serve answers each line with the same line.
func serve(addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			continue
		}
		go func() {
			defer c.Close()
			for in := bufio.NewReader(c); ; {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if _, err := c.Write([]byte(line)); err != nil {
					return
				}
			}
		}()
	}
}

// ask has three clients for each address: one that connects anew each time, one that
// keeps its connection busy, and one whose connection is idle for three seconds. Each
// prints a line for each request: the address, the client, and ok or what went wrong.
func ask(addrs []string) {
	var all sync.WaitGroup
	for _, addr := range addrs {
		all.Go(func() { client(addr, "new", 300*time.Millisecond, false) })
		all.Go(func() { client(addr, "kept", 300*time.Millisecond, true) })
		all.Go(func() { client(addr, "idle", 3*time.Second, true) })
	}
	all.Wait()
}

func client(addr, name string, every time.Duration, keep bool) {
	var c net.Conn
	for {
		err := func() (err error) {
			if c == nil {
				if c, err = net.DialTimeout("tcp", addr, 900*time.Millisecond); err != nil {
					c = nil
					return err
				}
			}
			c.SetDeadline(time.Now().Add(1500 * time.Millisecond))
			if _, err := c.Write([]byte("hello\n")); err != nil {
				return err
			}
			_, err = bufio.NewReader(c).ReadString('\n')
			return err
		}()
		says := "ok"
		if err != nil {
			says = "error: " + err.Error()
		}
		fmt.Println(addr, name, says)
		if c != nil && (err != nil || !keep) {
			c.Close()
			c = nil
		}
		time.Sleep(every)
	}
}
