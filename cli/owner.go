package cli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/urfave/cli/v2"
)

// owner reads --cgroup and --uid into t.
func (h *host) owner(c *cli.Context, t *aim) error {
	var flags, words []string
	if c.IsSet("uid") {
		id, err := userID(c.String("uid"))
		if err != nil {
			return usageError("--uid %s: %w", c.String("uid"), err)
		}
		t.match.Owner.UID = &id
		flags, words = append(flags, "--uid"), append(words, "user "+c.String("uid"))
	}
	if c.IsSet("cgroup") {
		group, err := h.cgroup(c.String("cgroup"))
		if errors.Is(err, injector.ErrConfig) {
			return usageError("--cgroup %s: %s", c.String("cgroup"), strings.TrimPrefix(err.Error(), injector.ErrConfig.Error()+": ")).
				hint("Give its directory, or its path as the line 0:: of /proc/PID/cgroup has it.")
		}
		if err != nil {
			return fmt.Errorf("--cgroup %s: %w", c.String("cgroup"), err)
		}
		t.match.Owner.Cgroup = group
		flags, words = append(flags, "--cgroup"), append(words, "cgroup "+group.Path)
	}
	t.owner = strings.Join(words, " in ")
	if len(flags) > 0 && !c.IsSet("netns") && !c.IsSet("pid") && !c.IsSet("container") && h.onlyForwarded(&t.match) {
		return usageError("%s: neither end of a connection from %s to %s is on this host", strings.Join(flags, ", "), strings.Join(t.from, ", "), strings.Join(t.to, ", ")).
			hint("The kernel knows whose a packet is only where there is a local socket, not where it forwards. Name the network namespace that one end lives in, with --netns or --pid.")
	}
	return nil
}

// userID reads the name or number of a user.
func userID(text string) (uint32, error) {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return uint32(n), nil
	}
	u, err := user.Lookup(text)
	if err != nil {
		return 0, errors.New("there is no such user")
	}
	n, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(n), err
}

// onlyForwarded reports whether m names both ends of its connections and this
// host is neither of them.
func (h *host) onlyForwarded(m *target.Matcher) bool {
	local := h.local()
	here := func(p netip.Prefix) bool { return !p.IsValid() || slices.ContainsFunc(local, p.Contains) }
	return len(m.To) > 0 && len(m.From) > 0 && len(local) > 0 &&
		!slices.ContainsFunc(m.To, func(e target.Endpoint) bool { return here(e.Prefix) }) &&
		!slices.ContainsFunc(m.From, here)
}

// localAddrs lists the addresses of this network namespace, loopback's whole
// network by one of them.
func localAddrs() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var addrs []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			addrs = append(addrs, p.Addr().Unmap())
		}
	}
	return addrs
}
