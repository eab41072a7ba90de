package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/injector"
	"github.com/urfave/cli/v2"
)

// target is what the target flags say, read.
type target struct {
	match injector.Matcher
	pick  injector.Pick
	to    []string // --to as typed, --from as typed
	from  []string
	owner string // --cgroup and --uid in words; empty without
	names *names // nil if no host name is among them

	spared []injector.Endpoint // left alone besides, though nobody typed it

	// none says that the flags leave every connection of the namespace that
	// faultctl is run in: neither an address, a port nor a namespace is named.
	none bool
}

// target reads the target flags, namespaces aside. Host names are looked up.
func (h *host) target(c *cli.Context) (*target, error) {
	t := &target{to: words(c.StringSlice("to")), from: words(c.StringSlice("from"))}
	if c.IsSet("to") && len(t.to) == 0 || c.IsSet("from") && len(t.from) == 0 {
		// "$TARGET" of a shell where it is not set must not mean everything
		return nil, usageError("--to or --from is empty").hint("Leave it out if every connection is meant.")
	}
	names := newNames(h)
	if err := t.read(c.Context, names.host()); err != nil {
		return nil, err
	}
	if names.any() {
		t.names = names // what they stand for may change
	} else if err := unmeetable(t.match); err != nil {
		return nil, err
	}
	err := h.owner(c, t)
	if err != nil {
		return nil, err
	}
	t.none = t.wide() && !c.IsSet("netns") && !c.IsSet("pid") && !c.IsSet("container")
	t.pick, err = readPick(c)
	return t, err
}

// read makes the matcher of --to and --from. Host names are looked up.
func (t *target) read(ctx context.Context, h *host) error {
	m := injector.Matcher{Owner: t.match.Owner, Except: slices.Clone(t.spared)}
	for _, text := range t.to {
		rest, except := strings.CutPrefix(text, "!")
		es, err := h.parseTo(ctx, rest)
		if err != nil {
			return targetError("--to "+text, err, toForms)
		}
		if except {
			m.Except = append(m.Except, es...)
		} else {
			m.To = append(m.To, es...)
		}
	}
	for _, text := range t.from {
		if strings.HasPrefix(text, "!") {
			return usageError("--from %s: ! excludes service ends only, with --to", text)
		}
		ps, err := h.parseHost(ctx, text)
		if err != nil {
			return targetError("--from "+text, err, "Write --from HOST or --from CIDR, such as 10.0.0.7, 10.0.0.0/8, fd00::/64 or web-1.internal.")
		}
		m.From = append(m.From, ps...)
	}
	t.match = m
	return nil
}

// targetError says what is wrong with the value of a flag: how it is written, or
// that no name server tells what it means.
func targetError(flag string, err error, forms string) error {
	var dns *net.DNSError
	if errors.As(err, &dns) && !dns.IsNotFound {
		return &exitError{code: exitFailure, err: fmt.Errorf("%s: %w", flag, err),
			advice: "No name server gives an answer here: give the address instead of the name, or write both into /etc/hosts. " +
				"A network namespace that has loopback only reaches none."}
	}
	return usageError("%s: %w", flag, err).hint(forms)
}

// wide reports whether neither an address, a port nor an owner is named.
func (t *target) wide() bool {
	return len(t.match.To) == 0 && len(t.match.From) == 0 && t.match.Owner.Any()
}

const toForms = "Write --to [HOST|CIDR]:PORTS, such as :5432, 10.0.0.5:80,443, 10.0.0.0/8:5432, [fd00::5]:8000-8100 or db.internal:5432; " +
	"a ! before it excludes."

// words splits the values of a repeatable flag at blanks, so that its
// environment variable can hold several.
func words(values []string) []string {
	var ws []string
	for _, v := range values {
		ws = append(ws, strings.Fields(v)...)
	}
	return ws
}

// readPick reads the flags that choose among the connections that match.
func readPick(c *cli.Context) (injector.Pick, error) {
	p := injector.Pick{NewOnly: c.Bool("new-only")}
	for _, n := range []struct {
		flag string
		to   *uint64
		min  uint64
	}{{"every", &p.Every, 1}, {"first", &p.First, 1}, {"skip", &p.Skip, 0}, {"max-connections", &p.Max, 1}} {
		if !c.IsSet(n.flag) {
			continue
		}
		v, err := strconv.ParseUint(c.String(n.flag), 10, 64)
		if err != nil || v < n.min {
			return p, usageError("--%s %s: not a whole number from %d on", n.flag, c.String(n.flag), n.min)
		}
		*n.to = v
	}
	if !c.IsSet("percent") {
		return p, nil
	}
	share, err := parsePercent(c.String("percent"))
	p.Share = share
	return p, err
}

// parsePercent reads 10, 10% or 0.5. Nought is a share too small to choose
// anything, because a Pick takes zero for all.
func parsePercent(text string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	switch {
	case err != nil || math.IsNaN(v):
		return 0, usageError("--percent %s: not a number from 0 to 100", text)
	case v < 0 || v > 100:
		return 0, usageError("--percent %s: lies outside 0 to 100", text)
	}
	return notNought(v / 100), nil
}

// parseTo reads [HOST|CIDR]:PORTS, or a HOST or CIDR alone, which means any
// port.
func (h *host) parseTo(ctx context.Context, text string) ([]injector.Endpoint, error) {
	name, ports, err := splitHostPorts(text)
	if err != nil {
		return nil, err
	}
	ranges := []injector.Endpoint{{}}
	if ports != anyPort {
		ranges = ranges[:0]
		for _, piece := range strings.Split(ports, ",") {
			e, err := parsePorts(piece)
			if err != nil {
				return nil, err
			}
			ranges = append(ranges, e)
		}
	}
	prefixes := []netip.Prefix{{}}
	if name != "" {
		if prefixes, err = h.parseHost(ctx, name); err != nil {
			return nil, err
		}
	}
	var es []injector.Endpoint
	for _, p := range prefixes {
		for _, r := range ranges {
			r.Prefix = p
			es = append(es, r)
		}
	}
	return es, nil
}

// anyPort is what splitHostPorts returns where no ports are given.
const anyPort = ""

// splitHostPorts cuts the host from the ports. An IPv6 address stands in
// brackets, or alone.
func splitHostPorts(text string) (name, ports string, err error) {
	if inside, ok := strings.CutPrefix(text, "["); ok {
		name, ports, ok := strings.Cut(inside, "]")
		switch {
		case !ok:
			return "", "", errors.New("the bracket is never closed")
		case name == "":
			return "", "", errors.New("the brackets are empty")
		case ports == "":
			return name, anyPort, nil
		case ports[0] == '/': // the rest of a CIDR
			bits, ports, _ := strings.Cut(ports, ":")
			if ports != "" {
				ports = ":" + ports
			}
			return "", "", fmt.Errorf("an IPv6 CIDR stands in brackets as a whole: did you mean [%s%s]%s?", name, bits, ports)
		case ports[0] != ':' || len(ports) == 1:
			return "", "", fmt.Errorf("behind the bracket stands %q, not :PORTS", ports)
		}
		return name, ports[1:], nil
	}
	switch strings.Count(text, ":") {
	case 0:
		if text == "" {
			return "", "", errors.New("it is empty")
		}
		if _, err := parsePorts(text); err == nil {
			return "", "", fmt.Errorf("a port stands behind a colon: did you mean :%s?", text)
		}
		return text, anyPort, nil
	case 1:
		name, ports, _ := strings.Cut(text, ":")
		if ports == "" {
			return "", "", errors.New("no port behind the colon")
		}
		return name, ports, nil
	}
	if _, rest, isURL := strings.Cut(text, "://"); isURL {
		return "", "", fmt.Errorf("a target is no URL: did you mean %s?", strings.SplitN(rest, "/", 2)[0])
	}
	if _, err := netip.ParsePrefix(text); err == nil {
		return "", "", fmt.Errorf("an IPv6 CIDR stands in brackets: did you mean [%s]?", text)
	}
	i := strings.LastIndexByte(text, ':')
	if _, err := netip.ParsePrefix(text[:i]); err == nil {
		return "", "", fmt.Errorf("an IPv6 CIDR stands in brackets: did you mean [%s]%s?", text[:i], text[i:])
	}
	if _, err := netip.ParseAddr(text[:i]); err != nil {
		return "", "", fmt.Errorf("an IPv6 address stands in brackets: did you mean [%s]?", text)
	}
	return "", "", fmt.Errorf("an IPv6 address stands in brackets: did you mean [%s]%s or [%s]?", text[:i], text[i:], text)
}

// parsePorts reads a port or a range of them.
func parsePorts(piece string) (injector.Endpoint, error) {
	first, last, isRange := strings.Cut(piece, "-")
	if !isRange {
		last = first
	}
	low, err := parsePort(first)
	if err != nil {
		return injector.Endpoint{}, err
	}
	high, err := parsePort(last)
	if err == nil && high < low {
		err = fmt.Errorf("the port range %s runs backwards", piece)
	}
	return injector.Endpoint{LowPort: low, HiPort: high}, err
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a port from 1 to 65535", s)
	}
	return uint16(n), nil
}

// lookupPatience is how long a name server may take.
const lookupPatience = 5 * time.Second

// parseHost reads an address, a CIDR, or a host name, which stands for every
// address it resolves to.
func (h *host) parseHost(ctx context.Context, text string) ([]netip.Prefix, error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if p, err := netip.ParsePrefix(bare); err == nil {
		if p.Addr().Is4In6() && p.Bits() >= 96 { // as packets carry it
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return []netip.Prefix{p.Masked()}, nil
	}
	if a, err := netip.ParseAddr(bare); err == nil {
		return []netip.Prefix{single(a)}, nil
	}
	switch {
	case strings.Contains(bare, "/"):
		return nil, fmt.Errorf("%q is not a CIDR", bare)
	case bare == "", strings.ContainsAny(bare, ":!, []%*"), strings.Trim(bare, "0123456789.") == "":
		return nil, fmt.Errorf("%q is neither an address, a CIDR nor a host name", bare)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	addrs, err := h.lookup(ctx, bare)
	if err != nil {
		return nil, fmt.Errorf("look up the host name: %w", err)
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("the host name %s has no address", bare)
	}
	ps := make([]netip.Prefix, len(addrs))
	for i, a := range addrs {
		ps[i] = single(a)
	}
	return ps, nil
}

// single is the prefix of one address, as packets carry it.
func single(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen())
}
