package cli

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/injector"
	"github.com/urfave/cli/v2"
)

func targetFlags() []cli.Flag {
	const category = "TARGET"
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "to", Category: category, Usage: "the service end, `[HOST|CIDR]:PORTS`; repeatable; ! excludes"},
		&cli.StringSliceFlag{Name: "from", Category: category, Usage: "the client end, `HOST|CIDR`; repeatable"},
		&cli.StringFlag{Name: "netns", Category: category, Usage: "work in the network namespace `NAME|PATH`"},
		&cli.IntFlag{Name: "pid", Category: category, Usage: "work in the network namespace of process `PID`"},
		&cli.StringFlag{Name: "percent", Category: category, Usage: "strike this share `P` of the connections, sticky and seeded"},
		&cli.Uint64Flag{Name: "every", Category: category, Usage: "strike every `N`th connection"},
		&cli.Uint64Flag{Name: "first", Category: category, Usage: "strike only the first `N` connections"},
		&cli.Uint64Flag{Name: "skip", Category: category, Usage: "leave the first `N` connections alone"},
		&cli.Uint64Flag{Name: "max-connections", Category: category, Usage: "stop choosing after `N` connections: the blast radius"},
		&cli.BoolFlag{Name: "new-only", Category: category, Usage: "leave connections alone that were open before"},
	}
}

// target reads the target flags. It reports whether any of --to and --from was
// given.
func target(c *cli.Context) (m injector.Matcher, p injector.Pick, named bool, err error) {
	for _, text := range c.StringSlice("to") {
		rest, except := strings.CutPrefix(text, "!")
		es, err := parseTo(rest)
		if err != nil {
			return m, p, false, err
		}
		if except {
			m.Except = append(m.Except, es...)
		} else {
			m.To = append(m.To, es...)
		}
	}
	for _, text := range c.StringSlice("from") {
		ps, err := parseHost("from", text)
		if err != nil {
			return m, p, false, err
		}
		m.From = append(m.From, ps...)
	}
	p = injector.Pick{
		Skip: c.Uint64("skip"), First: c.Uint64("first"), Every: c.Uint64("every"), Max: c.Uint64("max-connections"),
		NewOnly: c.Bool("new-only"),
	}
	for _, name := range []string{"every", "first", "max-connections"} {
		if c.IsSet(name) && c.Uint64(name) == 0 {
			return m, p, false, usageError("--%s 0 would strike no connection: give 1 or more", name)
		}
	}
	p.Share, err = parsePercent(c.String("percent"))
	return m, p, len(m.To) > 0 || len(m.From) > 0, err
}

func parsePercent(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil {
		return 0, usageError("--percent %s: not a number", text)
	}
	if !(v > 0 && v <= 100) {
		return 0, usageError("--percent %s: lies outside of 0 (not included) to 100", text)
	}
	return v / 100, nil
}

// parseTo reads [HOST|CIDR]:PORTS.
func parseTo(text string) ([]injector.Endpoint, error) {
	const form = "write [HOST|CIDR]:PORTS, such as :5432, 10.0.0.5:80,443, 10.0.0.0/8:5432, [fd00::5]:8000-8100 or db.internal:5432"
	host, ports, err := splitHostPorts(text)
	if err != nil {
		return nil, usageError("--to %s: %w: %s", text, err, form)
	}
	prefixes := []netip.Prefix{{}}
	if host != "" {
		if prefixes, err = parseHost("to", host); err != nil {
			return nil, err
		}
	}
	var es []injector.Endpoint
	for _, piece := range strings.Split(ports, ",") {
		low, high, err := parsePorts(piece)
		if err != nil {
			return nil, usageError("--to %s: %w: %s", text, err, form)
		}
		for _, p := range prefixes {
			es = append(es, injector.Endpoint{Prefix: p, LowPort: low, HiPort: high})
		}
	}
	return es, nil
}

// splitHostPorts cuts the host from the ports at the last colon that is not
// part of an IPv6 address.
func splitHostPorts(text string) (host, ports string, err error) {
	if strings.HasPrefix(text, "[") {
		host, ports, ok := strings.Cut(text[1:], "]:")
		if !ok || ports == "" {
			return "", "", fmt.Errorf("an address in brackets needs :PORTS behind it")
		}
		return host, ports, nil
	}
	i := strings.LastIndexByte(text, ':')
	switch {
	case i < 0:
		return "", "", fmt.Errorf("no :PORTS")
	case strings.Count(text, ":") > 1:
		return "", "", fmt.Errorf("an IPv6 address goes into brackets")
	case i == len(text)-1:
		return "", "", fmt.Errorf("no port behind the colon")
	}
	return text[:i], text[i+1:], nil
}

func parsePorts(piece string) (low, high uint16, err error) {
	first, last, isRange := strings.Cut(piece, "-")
	if !isRange {
		last = first
	}
	for i, s := range []string{first, last} {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return 0, 0, fmt.Errorf("%q is not a port from 1 to 65535", s)
		}
		if i == 0 {
			low = uint16(n)
		}
		high = uint16(n)
	}
	if high < low {
		return 0, 0, fmt.Errorf("the port range %s runs backwards", piece)
	}
	return low, high, nil
}

// parseHost reads an address, a CIDR, or a host name, which stands for every
// address it resolves to.
func parseHost(flag, text string) ([]netip.Prefix, error) {
	bare := strings.Trim(text, "[]")
	if p, err := netip.ParsePrefix(bare); err == nil {
		return []netip.Prefix{p.Masked()}, nil
	}
	if a, err := netip.ParseAddr(bare); err == nil {
		a = a.Unmap().WithZone("")
		return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}, nil
	}
	if strings.ContainsAny(bare, "/:!, ") || strings.Trim(bare, "0123456789.") == "" {
		return nil, usageError("--%s %s: neither an address, a CIDR nor a host name", flag, text)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", bare)
	if err != nil {
		return nil, usageError("--%s %s: look up the host name: %w", flag, text, err)
	}
	var ps []netip.Prefix
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		ps = append(ps, netip.PrefixFrom(a, a.BitLen()))
	}
	return ps, nil
}

// namespace opens the network namespace that the flags name, or returns nil
// for the caller's own.
func namespace(c *cli.Context) (*os.File, error) {
	name, pid := c.String("netns"), c.Int("pid")
	var path string
	switch {
	case name != "" && c.IsSet("pid"):
		return nil, usageError("--netns and --pid both name a network namespace: give one")
	case name == "" && !c.IsSet("pid"):
		return nil, nil
	case c.IsSet("pid"):
		if pid <= 0 {
			return nil, usageError("--pid %d: not a process", pid)
		}
		path = fmt.Sprintf("/proc/%d/ns/net", pid)
	case strings.Contains(name, "/"):
		path = name
	default:
		path = filepath.Join("/run/netns", name)
	}
	f, err := os.Open(path)
	switch {
	case os.IsNotExist(err) && c.IsSet("pid"):
		return nil, usageError("--pid %d: there is no such process", pid)
	case os.IsNotExist(err):
		return nil, usageError("--netns %s: there is no network namespace %s; ip netns list shows those that have a name", name, path)
	case os.IsPermission(err):
		return nil, &exitError{exitPreflight, fmt.Errorf("open %s: %w", path, injector.ErrPermission)}
	case err != nil:
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	return f, nil
}
