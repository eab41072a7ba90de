package injector

import (
	"errors"
	"fmt"

	"github.com/faultctl/faultctl/injector/internal/nfqueue"
	"github.com/faultctl/faultctl/injector/internal/nft"
	"github.com/faultctl/faultctl/injector/internal/rawsock"
	"github.com/faultctl/faultctl/injector/target"
)

// unlessDenied returns the error of a feature that could not be tried for lack of
// privileges, and otherwise nothing.
func unlessDenied(err error, f Feature) Feature {
	if !f.OK && errors.Is(err, ErrPermission) {
		f.Detail, f.Remedy, f.Denied = "could not be tried without the right to make tables", rights, true
	}
	return f
}

// probeOwners reports an error if a rule selects an owner that this kernel cannot
// match.
func (c *Config) probeOwners() error {
	for i := range c.Rules {
		if c.Rules[i].Match.Owner.Cgroup != nil {
			return nft.ProbeCgroup(c.NetNS)
		}
	}
	return nil
}

// A Feature is something that faultctl needs from the kernel and from the user's
// privileges.
type Feature struct {
	Name   string
	OK     bool
	Needed bool   // without it nothing works; otherwise only what Remedy names is lost
	Detail string // what was found
	Remedy string // what to do about a miss
	Denied bool   // it is missing for lack of privileges: the kernel may have it
}

const rights = "CAP_NET_ADMIN and CAP_NET_RAW are needed"

// Probe finds out what this kernel and user can do in the caller's network namespace,
// by trying it. It leaves nothing behind.
func Probe() []Feature {
	major, minor := nft.KernelVersion()
	fs := []Feature{{
		Name: "linux", OK: major > 4 || major == 4 && minor >= 18, Needed: true,
		Detail: fmt.Sprintf("Linux %d.%d", major, minor), Remedy: "Linux 4.18 or newer is needed, 5.18 or newer is best",
	}}
	c, err := nft.Probe(nil)
	table := Feature{Name: "nftables", Needed: true, OK: err == nil || c.TableOwner || c.NFTQueue || c.XTQueue, Detail: "tables can be created"}
	if !table.OK {
		table.Detail, table.Remedy = err.Error(), remedyFor(err, "load the module nf_tables, or build the kernel with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET")
		table.Denied = errors.Is(err, ErrPermission)
	}
	fs = append(fs, table)
	fs = append(fs, unlessDenied(err, Feature{
		Name: "queue rule", Needed: true, OK: c.NFTQueue || c.XTQueue,
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
		s, err := rawsock.Open(nil, 0)
		if err == nil {
			err = s.Close()
		}
		return err
	}, rights))
	return append(fs, unlessDenied(err, Feature{
		Name: "table owner", OK: c.TableOwner,
		Detail: "the rules die with the process, kill -9 included",
		Remedy: "Linux 5.12 or newer has it; without it run faultctl cleanup after a crash (until then the queue's bypass lets the traffic pass)",
	}), Feature{
		Name: "verdict priority", OK: nft.VerdictPriority(),
		Detail: "verdicts change the kernel's sets by themselves",
		Remedy: "Linux 5.18 or newer has it; without it the first segment of each flow waits some 50 µs longer",
	}, probeCgroup())
}

// probeCgroup finds out whether --cgroup and run as root can work.
func probeCgroup() Feature {
	f := Feature{Name: "cgroup match", OK: true, Detail: "connections can be told apart by the cgroup v2 of their process"}
	err := nft.ProbeCgroup(nil)
	if err == nil {
		_, _, err = target.CgroupMount()
	}
	if err != nil {
		f.OK, f.Detail = false, err.Error()
		f.Remedy = remedyFor(err, "mount cgroup v2, and load the module nft_socket (CONFIG_NFT_SOCKET, Linux 5.13 or newer); without it --cgroup fails, and run and verify cannot tell the command's connections from others in its network namespace")
		f.Denied = errors.Is(err, ErrPermission)
	}
	return f
}

func queueDetail(c nft.Capabilities) string {
	switch {
	case c.NFTQueue:
		return "nft's queue statement"
	case c.XTQueue:
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

// preflight reports what would keep a run from beginning, as far as that can be found
// out in advance: permissions, and features that the kernel lacks. It creates tables
// and removes them at once, and diverts nothing.
func (i *Injector) preflight() error {
	if _, err := nft.Probe(i.cfg.NetNS); err != nil {
		return err
	}
	return i.cfg.probeOwners()
}
