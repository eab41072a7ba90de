package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/faultctl/faultctl/lab"
)

const (
	bulkPort    = 6400
	churnPort   = 6401
	connections = 50 // of redis-benchmark
	churners    = 8
)

// figures are what was measured of a setup under the workloads.
type figures struct {
	rps, p50, p99 float64 // Redis: requests per second; milliseconds
	mbps          float64 // bulk: megabytes per second
	churn         float64 // connections per second

	packets, cpu float64 // Redis: packets that entered user space; processor time of the tool meanwhile, in microseconds
}

// add adds g, multiplied by part.
func (f *figures) add(g *figures, part float64) {
	f.rps += g.rps * part
	f.p50 += g.p50 * part
	f.p99 += g.p99 * part
	f.mbps += g.mbps * part
	f.churn += g.churn * part
}

// turn is what was measured of one setup in one round, and the mean of the direct
// traffic right before and after it. The setup is compared with that, because what
// else the machine does changes within a round.
type turn struct {
	figures
	direct figures
}

// workload is one kind of load.
type workload struct {
	port uint16
	core bool // only for setups that have core set
	run  func(*benchmark, netip.AddrPort, *figures) error
}

// loads measures all setups in turns under the three workloads.
func (b *benchmark) loads() error {
	closeBulk, err := b.serve(bulkPort, func(c net.Conn) { io.Copy(io.Discard, c) })
	if err != nil {
		return err
	}
	defer closeBulk()
	closeChurn, err := b.serve(churnPort, func(c net.Conn) { // the server closes first, so that the client's ports are free at once
		buf := make([]byte, 64)
		if n, err := c.Read(buf); err == nil {
			c.Write(buf[:n])
		}
	})
	if err != nil {
		return err
	}
	defer closeChurn()
	if err := b.lab.Client.Sysctl("net/ipv4/ip_local_port_range", "1024 65000"); err != nil {
		return err
	}
	workloads := []workload{{bulkPort, true, (*benchmark).bulkTurn}, {churnPort, true, (*benchmark).churnTurn}}
	if b.missing["redis"] == "" {
		redis, err := b.redis()
		if err != nil {
			return err
		}
		defer redis()
		workloads = append(workloads, workload{servicePort, false, (*benchmark).redisTurn})
	}
	for _, w := range b.setups() {
		if b.only == nil || w.start == nil || b.only.MatchString(w.name) {
			b.result.setups = append(b.result.setups, w)
		}
	}
	b.result.turns = make([][]turn, len(b.result.setups))
	for round := range b.rounds {
		turns := make([]turn, len(b.result.setups))
		for _, l := range workloads {
			if err := b.round(l, round, turns); err != nil {
				return err
			}
		}
		for i, t := range turns {
			b.result.turns[i] = append(b.result.turns[i], t)
		}
	}
	if b.missing["redis"] == "" && b.missing["a profile"] == "" {
		return b.profile()
	}
	return nil
}

// round gives each setup a turn under one workload, with a turn of direct traffic
// between any two.
func (b *benchmark) round(l workload, number int, turns []turn) error {
	var before, sum figures
	if err := l.run(b, netip.AddrPortFrom(b.host.V4, l.port), &before); err != nil {
		return fmt.Errorf("direct: %w", err)
	}
	direct, took := 0, 1
	sum.add(&before, 1)
	for i := range b.result.setups {
		i = (i + number*5) % len(b.result.setups) // no setup always follows the same one
		w, t := &b.result.setups[i], &turns[i]
		if w.start == nil {
			direct = i
			continue
		}
		if l.core && !w.core {
			continue
		}
		if err := b.with(w, l, &t.figures); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		var after figures
		if err := l.run(b, netip.AddrPortFrom(b.host.V4, l.port), &after); err != nil {
			return fmt.Errorf("direct: %w", err)
		}
		t.direct.add(&before, 0.5)
		t.direct.add(&after, 0.5)
		sum.add(&after, 1)
		before, took = after, took+1
	}
	turns[direct].figures.add(&sum, 1/float64(took))
	turns[direct].direct = turns[direct].figures
	return nil
}

// with runs a load while the setup's tool runs.
func (b *benchmark) with(w *setup, l workload, f *figures) error {
	var t *tool
	if w.start != nil {
		var err error
		if t, err = w.start(b, l.port); err != nil {
			return err
		}
	}
	at := netip.AddrPortFrom(b.host.V4, l.port)
	if w.proxy {
		at = netip.AddrPortFrom(b.host.V4, proxyPort)
	}
	err := l.run(b, at, f)
	if e := t.stop(); err == nil {
		err = e
	}
	if t != nil && l.port == servicePort {
		f.packets, f.cpu = float64(t.packets), float64(t.cpu.Microseconds())
	}
	return err
}

// redis starts a server on the host and returns a function that stops it.
func (b *benchmark) redis() (func(), error) {
	cmd := exec.Command("redis-server", "--bind", b.host.V4.String(), "--port", strconv.Itoa(servicePort),
		"--save", "", "--appendonly", "no", "--protected-mode", "no", "--daemonize", "no", "--dir", b.dir)
	if err := b.host.Do(cmd.Start); err != nil {
		return nil, err
	}
	stop := func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	if !lab.Eventually(func() bool {
		c, err := b.dial(netip.AddrPortFrom(b.host.V4, servicePort))
		if err == nil {
			c.Close()
		}
		return err == nil
	}) {
		stop()
		return nil, fmt.Errorf("redis-server does not answer")
	}
	return stop, nil
}

func (b *benchmark) redisTurn(at netip.AddrPort, f *figures) error {
	return b.redisClients(at, connections, b.requests, f)
}

// redisClients runs that many concurrent clients, which make that many requests
// together.
func (b *benchmark) redisClients(at netip.AddrPort, clients, requests int, f *figures) error {
	args := []string{"-h", at.Addr().String(), "-p", strconv.Itoa(int(at.Port())), "-t", "get", "-c", strconv.Itoa(clients),
		"-n", strconv.Itoa(requests), "--csv"}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "redis-benchmark", args...)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := b.lab.Client.Do(cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("redis-benchmark: %w", err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) < 2 || len(rows[1]) < 7 {
		return fmt.Errorf("redis-benchmark says %v, %v", rows, err)
	}
	for col, to := range map[int]*float64{1: &f.rps, 4: &f.p50, 6: &f.p99} {
		if *to, err = strconv.ParseFloat(rows[1][col], 64); err != nil {
			return err
		}
	}
	return nil
}

// serve accepts connections on a port of the host and calls answer for each.
func (b *benchmark) serve(port uint16, answer func(net.Conn)) (func(), error) {
	var ln net.Listener
	err := b.host.Do(func() (err error) {
		ln, err = net.Listen("tcp", netip.AddrPortFrom(b.host.V4, port).String())
		return err
	})
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				answer(c)
			}()
		}
	}()
	return func() { ln.Close() }, nil
}

// dial connects from the client's host.
func (b *benchmark) dial(at netip.AddrPort) (c net.Conn, err error) {
	err = b.lab.Client.Do(func() error {
		c, err = net.DialTimeout("tcp", at.String(), 5*time.Second)
		return err
	})
	return c, err
}

// bulkTurn is one stream that never pauses.
func (b *benchmark) bulkTurn(at netip.AddrPort, f *figures) error {
	c, err := b.dial(at)
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, 256<<10)
	start, sent := time.Now(), 0
	c.SetDeadline(start.Add(b.each + 10*time.Second))
	for time.Since(start) < b.each {
		n, err := c.Write(buf)
		if err != nil {
			return fmt.Errorf("bulk: %w", err)
		}
		sent += n
	}
	f.mbps = float64(sent) / 1e6 / time.Since(start).Seconds()
	return nil
}

// churnTurn is short connections: connect, one request, close.
func (b *benchmark) churnTurn(at netip.AddrPort, f *figures) error {
	ctx, cancel := context.WithTimeout(context.Background(), b.each)
	defer cancel()
	var done, failed atomic.Uint64
	var wg sync.WaitGroup
	start := time.Now()
	for range churners {
		wg.Go(func() {
			b.lab.Client.Do(func() error { // once per goroutine: its thread stays in the namespace
				for ctx.Err() == nil {
					if exchange(at) != nil {
						failed.Add(1)
						return nil
					}
					done.Add(1)
				}
				return nil
			})
		})
	}
	wg.Wait()
	if failed.Load() > 0 {
		return fmt.Errorf("churn: %d of %d clients failed", failed.Load(), churners)
	}
	f.churn = float64(done.Load()) / time.Since(start).Seconds()
	return nil
}

func exchange(at netip.AddrPort) error {
	c, err := net.DialTimeout("tcp", at.String(), 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	_, err = io.ReadAll(c)
	return err
}
