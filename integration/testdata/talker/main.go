// Talker is a service and its client in one container. It opens one connection
// after another over loopback, and sends a line back and forth on each.
package main

import (
	"bufio"
	"fmt"
	"net"
	"time"
)

func main() {
	ln, err := net.Listen("tcp", "127.0.0.1:5432")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				panic(err)
			}
			go func() {
				defer c.Close()
				for lines := bufio.NewScanner(c); lines.Scan(); {
					fmt.Fprintln(c, lines.Text())
				}
			}()
		}
	}()
	for range time.Tick(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", "127.0.0.1:5432"); err == nil {
			c.SetDeadline(time.Now().Add(time.Second))
			fmt.Fprintln(c, "hello")
			_, err = bufio.NewReader(c).ReadString('\n')
			fmt.Println(err)
			c.Close()
		}
	}
}
