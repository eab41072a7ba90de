package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// samples is how many samples of a soak are on the page.
const samples = 12

// sample is what an instance takes at a moment.
type sample struct {
	at             time.Duration
	rss            int // kB
	files, threads int
	connections    uint64 // made so far
}

// soakFor keeps one instance under a load of short connections, all of which it judges,
// and writes what it took.
func soakFor(exe string, long time.Duration, page string) error {
	w, err := newWorld(exe)
	if err != nil {
		return err
	}
	defer w.close()
	metrics := netip.AddrPortFrom(w.host.V4, 9187).String()
	p, err := w.judge(plain, "--metrics", metrics, "--duration", (long + time.Hour).String())
	if err != nil {
		return err
	}
	var made, failed atomic.Uint64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() { w.short(stop, &made, &failed) })
	}
	begun, all := time.Now(), []sample(nil)
	for i := range samples + 1 {
		at := long * time.Duration(i+1) / (samples + 1)
		select {
		case <-time.After(at - time.Since(begun)):
		case <-p.ended:
			return fmt.Errorf("it ended: %s", p.stderr())
		}
		s, err := measure(p.cmd.Process.Pid)
		if err != nil {
			return err
		}
		s.at, s.connections = time.Since(begun), made.Load()
		all = append(all, s)
	}
	close(stop)
	load.Wait()
	err = w.ends(p, 0)
	if e := write(page, "soak", soakText(long, all, made.Load(), failed.Load())); e != nil {
		return e
	}
	if failed.Load() > 0 {
		err = errors.Join(err, fmt.Errorf("%d connections failed", failed.Load()))
	}
	return errors.Join(err, steady(all))
}

// short opens one connection after the other, each with one exchange.
func (w *world) short(stop <-chan struct{}, made, failed *atomic.Uint64) {
	at := netip.AddrPortFrom(w.host.V4, struckPort).String()
	w.host.Do(func() error {
		for {
			select {
			case <-stop:
				return nil
			default:
			}
			c, err := net.DialTimeout("tcp", at, 20*time.Second)
			if err == nil {
				c.SetDeadline(time.Now().Add(20 * time.Second))
				if _, err = c.Write([]byte("x")); err == nil {
					_, err = io.ReadFull(c, make([]byte, 1))
				}
				c.Close()
			}
			if made.Add(1); err != nil {
				failed.Add(1)
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

// measure reads what a process takes.
func measure(pid int) (s sample, err error) {
	dir := "/proc/" + strconv.Itoa(pid)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		switch name {
		case "VmRSS":
			s.rss = n
		case "Threads":
			s.threads = n
		}
	}
	fds, err := os.ReadDir(dir + "/fd")
	s.files = len(fds)
	return s, err
}

// steady reports what grew without end in the second half of a soak. Memory may grow by a
// quarter: the garbage collector comes when it likes.
func steady(all []sample) error {
	half, last := all[len(all)/2], all[len(all)-1]
	switch {
	case last.files > half.files+2:
		return fmt.Errorf("%d open files, and %d at half time", last.files, half.files)
	case last.threads > half.threads+4:
		return fmt.Errorf("%d threads, and %d at half time", last.threads, half.threads)
	case last.rss > half.rss*5/4+8<<10:
		return fmt.Errorf("%d MB, and %d at half time", last.rss>>10, half.rss>>10)
	}
	return nil
}

func soakText(long time.Duration, all []sample, made, failed uint64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## A long run\n\nOne instance that judged every segment of short connections for %v (%s): %d connections, of which %d failed.\nThe clock of the host is not changed: faultctl measures time by the monotonic clock, which steps do not move.\n\n", long, where(), made, failed)
	fmt.Fprintf(&b, "| after | connections | resident memory | open files | threads |\n|---|---|---|---|---|\n")
	for _, s := range all {
		fmt.Fprintf(&b, "| %v | %d | %.1f MB | %d | %d |\n", s.at.Round(time.Second), s.connections, float64(s.rss)/1024, s.files, s.threads)
	}
	b.WriteString("\n")
	return b.String()
}
