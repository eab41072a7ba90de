package injector

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/rawsock"
	"github.com/faultctl/faultctl/injector/target"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// capabilities is what the kernel can do, found by trying it.
type capabilities struct {
	nftQueue        bool // nft's queue statement (CONFIG_NFT_QUEUE)
	xtQueue         bool // xt's NFQUEUE target through nft_compat
	tableOwner      bool // tables that die with their owner (Linux 5.12)
	verdictPriority bool // verdicts that set the packet's priority (Linux 5.18)
}

// probes counts the tables made only to try something, for their names.
var probes atomic.Uint32

// probeKernel finds out what the kernel can do in the namespace. It reports an
// error if what it lacks, or denies, makes a run impossible.
func probeKernel(netns *os.File) (capabilities, error) {
	c := capabilities{verdictPriority: verdictPriority()}
	// Each try that succeeds makes the kernel wait for all its processors, so
	// what most kernels have is tried at once.
	for _, nft := range []bool{true, false} {
		if enqueueWith(netns, nftables.TableFlagOwner, nft) == nil {
			c.tableOwner, c.nftQueue, c.xtQueue = true, nft, !nft
			return c, nil
		}
	}
	err := tryTable(netns, nftables.TableFlagOwner, nil)
	c.tableOwner = err == nil
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.EINVAL) {
		err = tryTable(netns, 0, nil)
	}
	if err != nil {
		return c, fmt.Errorf("create an nftables table: %w", explain(err))
	}
	err1 := enqueueWith(netns, 0, true)
	c.nftQueue = err1 == nil
	if !c.nftQueue {
		err2 := enqueueWith(netns, 0, false)
		c.xtQueue = err2 == nil
		if !c.xtQueue {
			return c, fmt.Errorf("queue packets to user space: %w: neither nft's queue statement (%v) nor xt's NFQUEUE target (%v)",
				ErrNotSupported, err1, err2)
		}
	}
	return c, nil
}

// verdictPriority goes by the version: a kernel that does not know the attribute
// says nothing, and only a packet could tell.
func verdictPriority() bool {
	major, minor := kernelVersion()
	return major > 5 || major == 5 && minor >= 18
}

// unlessDenied says of a feature that could not be tried for lack of rights
// just that.
func unlessDenied(err error, f Feature) Feature {
	if !f.OK && errors.Is(err, ErrPermission) {
		f.Detail, f.Remedy, f.Denied = "could not be tried without the right to make tables", rights, true
	}
	return f
}

func enqueueWith(netns *os.File, flags nftables.TableFlags, nftQueue bool) error {
	a := &applier{nftQueue: nftQueue}
	return tryTable(netns, flags, a.exprs(rule{isTCP{}, enqueue{nfqueue.First, 1}}))
}

// cgroupMatch finds out whether rules can ask for the cgroup behind a packet.
func cgroupMatch(netns *os.File) error {
	a := &applier{}
	if err := tryTable(netns, 0, a.exprs(rule{isTCP{}, cgroupIs{ID: 1, Level: 1}})); err != nil {
		return fmt.Errorf("match by cgroup: %w", explain(err))
	}
	return nil
}

// probeOwners reports an error if a rule asks for what this kernel cannot tell.
func (c *Config) probeOwners() error {
	for i := range c.Rules {
		if c.Rules[i].Match.Owner.Cgroup != nil {
			return cgroupMatch(c.NetNS)
		}
	}
	return nil
}

// tryTable makes a table with one rule in a chain that no packet meets, and
// takes it out again in the same batch. The chain has no hook: taking a hook
// out makes the kernel drop what sits in the queues of the namespace.
func tryTable(netns *os.File, flags nftables.TableFlags, exprs []expr.Any) error {
	a, err := openNftables(netns)
	if err != nil {
		return err
	}
	defer a.close()
	t := a.conn.CreateTable(&nftables.Table{Name: tableName(os.Getpid(), probes.Add(1)) + "_probe", Family: nftables.TableFamilyINet, Flags: flags})
	if exprs != nil {
		c := a.conn.AddChain(&nftables.Chain{Name: "probe", Table: t})
		a.conn.AddRule(&nftables.Rule{Table: t, Chain: c, Exprs: exprs})
	}
	a.conn.DelTable(t)
	return a.conn.Flush()
}

// kernelVersion returns the version numbers of the running kernel.
func kernelVersion() (major, minor int) {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return 0, 0
	}
	parts := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	if len(parts) < 2 {
		return 0, 0
	}
	major, _ = strconv.Atoi(parts[0])
	minor, _ = strconv.Atoi(parts[1])
	return major, minor
}

// A Feature is something the kernel and the user's rights must allow.
type Feature struct {
	Name   string
	OK     bool
	Needed bool   // without it nothing works; otherwise something is lost, which Remedy says
	Detail string // what was found
	Remedy string // what to do about a miss
	Denied bool   // it is missing for lack of rights: the kernel may well have it
}

const rights = "run as root, or give the binary CAP_NET_ADMIN and CAP_NET_RAW (setcap cap_net_admin,cap_net_raw+ep), or use a user and network namespace of your own (unshare -Urn; faultctl run, verify and demo make one)"

// Probe finds out what this kernel and user can do in the caller's network
// namespace, by trying it. It leaves nothing behind.
func Probe() []Feature {
	major, minor := kernelVersion()
	fs := []Feature{{
		Name: "linux", OK: major > 4 || major == 4 && minor >= 18, Needed: true,
		Detail: fmt.Sprintf("Linux %d.%d", major, minor), Remedy: "Linux 4.18 or newer is needed, 5.18 or newer is best",
	}}
	c, err := probeKernel(nil)
	table := Feature{Name: "nftables", Needed: true, OK: err == nil || c.tableOwner || c.nftQueue || c.xtQueue, Detail: "tables can be made"}
	if !table.OK {
		table.Detail, table.Remedy = err.Error(), remedyFor(err, "load the module nf_tables, or build the kernel with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET")
		table.Denied = errors.Is(err, ErrPermission)
	}
	fs = append(fs, table)
	fs = append(fs, unlessDenied(err, Feature{
		Name: "queue rule", Needed: true, OK: c.nftQueue || c.xtQueue,
		Detail: queueDetail(c),
		Remedy: "load the module nft_queue, or xt_NFQUEUE and nft_compat (CONFIG_NFT_QUEUE, or CONFIG_NETFILTER_XT_TARGET_NFQUEUE and CONFIG_NFT_COMPAT)",
	}))
	fs = append(fs, probeOpen("queue socket", "packets can be received and judged", func() error {
		qs, err := nfqueue.Open(nil, 0, 1, nfqueue.Copying{})
		if err == nil {
			err = qs[0].Close()
		}
		return err
	}, "load the module nfnetlink_queue (CONFIG_NETFILTER_NETLINK_QUEUE)"))
	fs = append(fs, probeOpen("raw socket", "segments can be forged", func() error {
		s, err := rawsock.Open(nil, OwnSign)
		if err == nil {
			err = s.Close()
		}
		return err
	}, rights))
	return append(fs, unlessDenied(err, Feature{
		Name: "table owner", OK: c.tableOwner,
		Detail: "the rules die with the process, kill -9 included",
		Remedy: "Linux 5.12 or newer has it; without it run faultctl cleanup after a crash (until then the queue's bypass lets the traffic go)",
	}), Feature{
		Name: "verdict priority", OK: verdictPriority(),
		Detail: "verdicts change the kernel's sets by themselves",
		Remedy: "Linux 5.18 or newer has it; without it the first segment of each flow waits some 50 µs longer",
	}, probeCgroup())
}

// probeCgroup finds out whether --cgroup and run as root can work.
func probeCgroup() Feature {
	f := Feature{Name: "cgroup match", OK: true, Detail: "connections can be told apart by the cgroup v2 of their process"}
	err := cgroupMatch(nil)
	if err == nil {
		_, _, err = target.CgroupMount()
	}
	if err != nil {
		f.OK, f.Detail = false, err.Error()
		f.Remedy = remedyFor(err, "mount cgroup v2, and load the module nft_socket (CONFIG_NFT_SOCKET, Linux 5.13 or newer); without it --cgroup fails, and run and verify need --isolate")
		f.Denied = errors.Is(err, ErrPermission)
	}
	return f
}

func queueDetail(c capabilities) string {
	switch {
	case c.nftQueue:
		return "nft's queue statement"
	case c.xtQueue:
		return "xt's NFQUEUE target (this kernel lacks nft's queue statement)"
	}
	return "neither nft's queue statement nor xt's NFQUEUE target"
}

func probeOpen(name, detail string, try func() error, remedy string) Feature {
	f := Feature{Name: name, Needed: true, OK: true, Detail: detail}
	if err := try(); err != nil {
		f.OK, f.Detail, f.Remedy = false, err.Error(), remedyFor(err, remedy)
		f.Denied = errors.Is(err, ErrPermission)
	}
	return f
}

func remedyFor(err error, otherwise string) string {
	if errors.Is(err, ErrPermission) {
		return rights
	}
	return otherwise
}

// Preflight reports what would keep Run from beginning, as far as that can be
// found out now: permission, and what the kernel lacks. It makes tables and
// takes them out again at once, and diverts nothing.
func (i *Injector) Preflight() error {
	if _, err := probeKernel(i.cfg.NetNS); err != nil {
		return err
	}
	return i.cfg.probeOwners()
}
