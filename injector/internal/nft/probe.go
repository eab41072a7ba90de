package nft

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/faultctl/faultctl/injector/internal/kerror"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/faultctl/faultctl/internal/procid"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Capabilities is what the kernel can do, as found by trying it.
type Capabilities struct {
	NFTQueue        bool // nft's queue statement (CONFIG_NFT_QUEUE)
	XTQueue         bool // xt's NFQUEUE target through nft_compat
	TableOwner      bool // tables that die with their owner (Linux 5.12)
	VerdictPriority bool // verdicts that set the packet's priority (Linux 5.18)
}

// Probe finds out what the kernel can do in the namespace; nil means the caller's own.
// It returns an error if a run is impossible because of what the kernel lacks or
// denies.
func Probe(ns *os.File) (Capabilities, error) {
	c := Capabilities{VerdictPriority: VerdictPriority()}
	// Each successful try makes the kernel wait for all its processors, so features that
	// most kernels have are tried together.
	for _, nft := range []bool{true, false} {
		if tryQueue(ns, nftables.TableFlagOwner, nft) == nil {
			c.TableOwner, c.NFTQueue, c.XTQueue = true, nft, !nft
			return c, nil
		}
	}
	err := tryTable(ns, nftables.TableFlagOwner, nil)
	c.TableOwner = err == nil
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.EINVAL) {
		err = tryTable(ns, 0, nil)
	}
	if err != nil {
		return c, fmt.Errorf("create an nftables table: %w", kerror.Explain(err))
	}
	err1 := tryQueue(ns, 0, true)
	c.NFTQueue = err1 == nil
	if !c.NFTQueue {
		err2 := tryQueue(ns, 0, false)
		c.XTQueue = err2 == nil
		if !c.XTQueue {
			return c, fmt.Errorf("queue packets to user space: %w: neither nft's queue statement (%v) nor xt's NFQUEUE target (%v)",
				kerror.ErrNotSupported, err1, err2)
		}
	}
	return c, nil
}

// VerdictPriority reports whether verdicts can set a packet's priority. It goes by the
// version of the kernel: older ones ignore the attribute, and only a packet could show
// that.
func VerdictPriority() bool {
	major, minor := KernelVersion()
	return major > 5 || major == 5 && minor >= 18
}

// tryQueue tries a rule that queues, by nft's queue statement or by xt's target.
func tryQueue(ns *os.File, flags nftables.TableFlags, nftQueue bool) error {
	const queue = 1 // any number will do: no packet reaches the chain
	return tryTable(ns, flags, ruleset.QueueExprs(queue, &ruleset.Env{NFTQueue: nftQueue}))
}

// ProbeCgroup returns an error if rules cannot match the cgroup of a packet.
func ProbeCgroup(ns *os.File) error {
	if err := tryTable(ns, 0, ruleset.CgroupExprs()); err != nil {
		return fmt.Errorf("match by cgroup: %w", kerror.Explain(err))
	}
	return nil
}

// ProbeNames returns an error if rules cannot ask conntrack for the names of translated
// connections, in the families that have any.
func ProbeNames(ns *os.File, nat [2]bool) error {
	for f, has := range nat {
		if !has {
			continue
		}
		family := ruleset.Family(f)
		table := nftables.TableFamilyIPv4
		if family == ruleset.IPv6 {
			table = nftables.TableFamilyIPv6
		}
		if err := tryTableOf(ns, table, 0, ruleset.NamesExprs(family)); err != nil {
			return fmt.Errorf("ask conntrack for the names of translated connections: %w", kerror.Explain(err))
		}
	}
	return nil
}

// tryTable creates a table with one rule in a chain that no packet reaches, and removes
// it in the same batch. The chain has no hook: when a hook is removed, the kernel drops
// the packets in the queues of the namespace.
func tryTable(ns *os.File, flags nftables.TableFlags, exprs []expr.Any) error {
	return tryTableOf(ns, nftables.TableFamilyINet, flags, exprs)
}

func tryTableOf(ns *os.File, family nftables.TableFamily, flags nftables.TableFlags, exprs []expr.Any) error {
	c, err := Open(ns)
	if err != nil {
		return err
	}
	defer c.Close()
	t := c.conn.CreateTable(&nftables.Table{Name: tableName(procid.Self(), probes.Add(1)) + "_probe", Family: family, Flags: flags})
	if exprs != nil {
		chain := c.conn.AddChain(&nftables.Chain{Name: "probe", Table: t})
		c.conn.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: exprs})
	}
	c.conn.DelTable(t)
	return c.conn.Flush()
}

// KernelVersion returns the version of the running kernel, 0.0 if it is not known.
func KernelVersion() (major, minor int) {
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
