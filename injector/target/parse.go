package target

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A Resolver looks up the addresses of a host name.
type Resolver func(ctx context.Context, name string) ([]netip.Addr, error)

// ParseEndpoints reads [HOST|CIDR]:PORTS, or a HOST or CIDR alone, which means any
// port. A host name stands for every address that lookup returns. The unspecified
// address, 0.0.0.0 or ::, means every address of either family, as it does for a
// listening service, and needs a port, because no packet carries it. The error
// says what is wrong with the text, or wraps that of lookup.
func ParseEndpoints(ctx context.Context, text string, lookup Resolver) ([]Endpoint, error) {
	name, ports, err := splitHostPorts(text)
	if err != nil {
		return nil, err
	}
	ranges := []Endpoint{{}}
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
	switch a, err := netip.ParseAddr(name); {
	case name == "":
	case err == nil && a.Unmap().IsUnspecified():
		if ports == anyPort {
			return nil, fmt.Errorf("%s means every address, and no port is given", name)
		}
	default:
		if prefixes, err = ParseHosts(ctx, name, lookup); err != nil {
			return nil, err
		}
	}
	var es []Endpoint
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
			return "", "", errors.New("no port after the colon")
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
func parsePorts(piece string) (Endpoint, error) {
	first, last, isRange := strings.Cut(piece, "-")
	if !isRange {
		last = first
	}
	low, err := ParsePort(first)
	if err != nil {
		return Endpoint{}, err
	}
	high, err := ParsePort(last)
	if err == nil && high < low {
		err = fmt.Errorf("the port range %s runs backwards", piece)
	}
	return Endpoint{LowPort: low, HighPort: high}, err
}

// ParsePort reads a port from 1 to 65535.
func ParsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a port from 1 to 65535", s)
	}
	return uint16(n), nil
}

// lookupPatience is how long a name server may take.
const lookupPatience = 5 * time.Second

// ParseHosts reads an address, a CIDR, or a host name, which stands for every
// address that lookup returns.
func ParseHosts(ctx context.Context, text string, lookup Resolver) ([]netip.Prefix, error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if p, err := netip.ParsePrefix(bare); err == nil {
		if p.Addr().Is4In6() && p.Bits() >= 96 { // as packets carry it
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return []netip.Prefix{p.Masked()}, nil
	}
	if a, err := netip.ParseAddr(bare); err == nil {
		return []netip.Prefix{Single(a)}, nil
	}
	switch {
	case strings.Contains(bare, "/"):
		return nil, fmt.Errorf("%q is not a CIDR", bare)
	case bare == "", strings.ContainsAny(bare, ":!, []%*"), strings.Trim(bare, "0123456789.") == "":
		return nil, fmt.Errorf("%q is neither an address, a CIDR nor a host name", bare)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	addrs, err := lookup(ctx, bare)
	if err != nil {
		return nil, fmt.Errorf("look up the host name: %w", err)
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("the host name %s has no address", bare)
	}
	ps := make([]netip.Prefix, len(addrs))
	for i, a := range addrs {
		ps[i] = Single(a)
	}
	return ps, nil
}
