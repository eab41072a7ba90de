package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

// kind is a kind of harm.
type kind struct {
	name   string // on the page
	expect string // what must come of it
	play   func(w *world, k *kind, rng *rand.Rand) error

	played, skipped int
	why             string // it was skipped
	failed          []string
}

// skip says that this machine cannot play the kind.
func (k *kind) skip(why string) error {
	k.skipped++
	k.why = why
	return nil
}

// kinds are all kinds. Every second kind is a SIGKILL, so that half of all instances are
// killed.
func kinds() (all []kind) {
	kill := kind{name: "SIGKILL, at a random moment of its first 0.4 s", expect: "rules gone", play: sigkill}
	for _, k := range []kind{
		{name: "another signal (TERM, INT, HUP, QUIT, ABRT, SEGV, BUS; PIPE and USR1, which it ignores), at a random moment", expect: "rules gone, or it goes on", play: anySignal},
		{name: "SIGSTOP", expect: "the watchdog ends it within 4 s", play: sigstop},
		{name: "`nft flush ruleset` by somebody else", expect: "it goes on, and ends cleanly", play: flushed},
		{name: "two instances, one killed", expect: "the other goes on", play: two},
		{name: "an interface of the host vanishes", expect: "it goes on, and ends cleanly", play: interfaceGone},
		{name: "its report and capture on a full disk", expect: "it says so, exit code 1", play: diskFull},
		{name: "nobody reads its output", expect: "it goes on, and ends within 10 s of SIGTERM", play: unread},
		{name: "its output is closed", expect: "it ends by itself, rules gone", play: closed},
		{name: "6 or 20 open files allowed (`ulimit -n`)", expect: "it says so, exit code 5", play: fewFiles},
		{name: "24 MB of memory allowed (cgroup), under load", expect: "killed or not, rules gone", play: outOfMemory},
		{name: "its network namespace is deleted under it", expect: "it ends cleanly", play: netnsGone},
	} {
		all = append(all, kill, k)
	}
	return all
}

// sudden ends an instance by a signal that it cannot or does not handle, and waits until
// its rules are gone.
func (w *world) sudden(p *instance, s syscall.Signal, left int) error {
	in, err := w.tables()
	if err != nil {
		return err
	}
	p.signal(s)
	took, err := w.cleared(left, 5*time.Second)
	if err == nil && in > left {
		w.clears = append(w.clears, took)
	}
	_, ended := p.end(10 * time.Second)
	if s != syscall.SIGKILL && ended != nil && strings.Contains(ended.Error(), "it broke") && (s == syscall.SIGQUIT || s == syscall.SIGABRT || s == syscall.SIGSEGV || s == syscall.SIGBUS) {
		ended = nil // these ask Go for its stacks
	}
	if err == nil {
		_, err = w.cleared(left, 2*time.Second) // nothing came later
	}
	return errors.Join(err, ended, w.unharmed())
}

// unharmed reports whether both connections still talk.
func (w *world) unharmed() error {
	for name, t := range map[string]*talk{"the struck connection": w.struck, "the bystander": w.bystander} {
		if err := t.progress(15 * time.Second); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// ends ends an instance by SIGTERM, as a clean stop.
func (w *world) ends(p *instance, left int) error {
	p.signal(syscall.SIGTERM)
	code, err := p.end(10 * time.Second)
	if err == nil && code != 143 {
		err = fmt.Errorf("exit code %d after SIGTERM: %s", code, p.stderr())
	}
	_, gone := w.cleared(left, time.Second)
	return errors.Join(err, gone, w.unharmed())
}

// judge starts an instance that judges, and waits until it is ready.
func (w *world) judge(line string, more ...string) (*instance, error) {
	p, err := w.start(line, false, append(judging[:len(judging):len(judging)], more...)...)
	if err == nil {
		if err = p.wait(); err != nil {
			p.kill()
			<-p.ended
		}
	}
	return p, err
}

func sigkill(w *world, _ *kind, rng *rand.Rand) error {
	return atAnyMoment(w, rng, syscall.SIGKILL)
}

func anySignal(w *world, _ *kind, rng *rand.Rand) error {
	all := []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGPIPE, syscall.SIGUSR1}
	s := all[rng.IntN(len(all))]
	if s == syscall.SIGPIPE || s == syscall.SIGUSR1 { // Go ignores both, but for SIGPIPE from a write to stdout
		p, err := w.judge(plain)
		if err != nil {
			return err
		}
		p.signal(s)
		return w.ends(p, 0)
	}
	return atAnyMoment(w, rng, s)
}

func atAnyMoment(w *world, rng *rand.Rand, s syscall.Signal) error {
	p, err := w.start(plain, false, judging...)
	if err != nil {
		return err
	}
	if rng.IntN(2) == 0 { // after the rules are in, however slow the machine is
		if err := p.wait(); err != nil {
			return err
		}
	}
	time.Sleep(time.Duration(rng.Int64N(int64(400 * time.Millisecond))))
	return w.sudden(p, s, 0)
}

func sigstop(w *world, _ *kind, _ *rand.Rand) error {
	p, err := w.judge(plain)
	if err != nil {
		return err
	}
	p.signal(syscall.SIGSTOP)
	_, gone := w.cleared(0, 4*time.Second)
	_, ended := p.end(5 * time.Second)
	return errors.Join(gone, ended, w.unharmed())
}

func flushed(w *world, k *kind, _ *rand.Rand) error {
	if _, err := exec.LookPath("nft"); err != nil {
		return k.skip("nft is not installed")
	}
	p, err := w.judge(plain)
	if err != nil {
		return err
	}
	w.host.Do(exec.Command("nft", "flush", "ruleset").Run) // it may be refused: the table has an owner
	if n, err := w.tables(); err != nil || n == 0 {
		return errors.Join(fmt.Errorf("%d tables after the flush", n), err, w.ends(p, 0))
	}
	return w.ends(p, 0)
}

func two(w *world, _ *kind, _ *rand.Rand) error {
	p, err := w.judge(plain)
	if err != nil {
		return err
	}
	q, err := w.judge(plain)
	if err != nil {
		return errors.Join(err, w.ends(p, 0))
	}
	return errors.Join(w.sudden(q, syscall.SIGKILL, 1), w.ends(p, 0))
}

func interfaceGone(w *world, _ *kind, _ *rand.Rand) error {
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "gone0"}, PeerName: "gone1"}
	h := w.host.Netlink()
	if err := h.LinkAdd(link); err != nil {
		return err
	}
	at, _ := netlink.ParseAddr("198.51.100.1/24")
	if err := errors.Join(h.AddrAdd(link, at), h.LinkSetUp(link)); err != nil {
		return errors.Join(err, h.LinkDel(link))
	}
	p, err := w.judge(plain, "--to", "198.51.100.1:80")
	deleted := h.LinkDel(link)
	if err != nil {
		return err
	}
	return errors.Join(deleted, w.ends(p, 0))
}

func diskFull(w *world, k *kind, _ *rand.Rand) error {
	dir, err := os.MkdirTemp("", "full")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"); err != nil {
		return k.skip("tmpfs: " + err.Error())
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	p, err := w.judge(plain, "--pcap", filepath.Join(dir, "x.pcap"), "--report", filepath.Join(dir, "x.html"))
	if err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond) // the capture grows
	p.signal(syscall.SIGTERM)
	code, err := p.end(10 * time.Second)
	if err == nil && (code == 0 || !strings.Contains(p.stderr(), "no space left")) {
		err = fmt.Errorf("exit code %d, and it says: %s", code, p.stderr())
	}
	_, gone := w.cleared(0, time.Second)
	return errors.Join(err, gone, w.unharmed())
}

func unread(w *world, _ *kind, _ *rand.Rand) error {
	p, err := w.start(plain, true, judging...)
	if err != nil {
		return err
	}
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if n, err := w.tables(); err != nil || n > 0 {
			break
		}
		if time.Since(begun) > 30*time.Second {
			p.kill()
			return errors.New("its rules are not in")
		}
	}
	return w.ends(p, 0)
}

func closed(w *world, _ *kind, _ *rand.Rand) error {
	p, err := w.start(plain, true, judging...)
	if err != nil {
		return err
	}
	p.stdout.Close()
	_, ended := p.end(30 * time.Second)
	_, gone := w.cleared(0, time.Second)
	return errors.Join(ended, gone, w.unharmed())
}

func fewFiles(w *world, _ *kind, rng *rand.Rand) error {
	n := []int{6, 20}[rng.IntN(2)]
	p, err := w.start("ulimit -n "+strconv.Itoa(n)+"; "+plain, false, judging...)
	if err != nil {
		return err
	}
	code, err := p.end(20 * time.Second)
	if err == nil && (code != 5 || !strings.Contains(p.stderr(), "ulimit -n")) {
		err = fmt.Errorf("exit code %d, and it says: %s", code, p.stderr())
	}
	_, gone := w.cleared(0, time.Second)
	return errors.Join(err, gone, w.unharmed())
}

func outOfMemory(w *world, k *kind, _ *rand.Rand) error {
	group := "/sys/fs/cgroup/faultctl-chaos-" + strconv.Itoa(os.Getpid())
	if err := os.Mkdir(group, 0o755); err != nil {
		return k.skip("cgroup: " + err.Error())
	}
	defer os.Remove(group)
	if err := errors.Join(os.WriteFile(group+"/memory.max", []byte("24M"), 0o644), os.WriteFile(group+"/memory.oom.group", []byte("1"), 0o644)); err != nil {
		return k.skip("no memory controller for cgroups: " + err.Error())
	}
	p, err := w.start("echo $$ >"+group+"/cgroup.procs && "+plain, false, judging...)
	if err != nil {
		return err
	}
	select {
	case <-p.ended: // the kernel has killed it
	case <-time.After(500 * time.Millisecond):
		p.signal(syscall.SIGTERM)
	}
	_, ended := p.end(10 * time.Second)
	_, gone := w.cleared(0, 5*time.Second)
	return errors.Join(ended, gone, w.unharmed())
}

func netnsGone(w *world, k *kind, _ *rand.Rand) error {
	if os.Geteuid() != 0 || exec.Command("ip", "netns", "add", nsName()).Run() != nil {
		return k.skip("`ip netns add` is not possible")
	}
	p, err := w.start(plain, false, "inject", "delay", "--by", "1ms", "--to", ":80", "--netns", nsName(), "--duration", "10m", "-o", "json")
	if err == nil {
		err = p.wait()
	}
	deleted := exec.Command("ip", "netns", "del", nsName()).Run()
	if err != nil {
		return errors.Join(err, deleted)
	}
	return errors.Join(deleted, w.ends(p, 0))
}

func nsName() string { return "faultctl-chaos-" + strconv.Itoa(os.Getpid()) }
