package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/injector/target"
	"github.com/urfave/cli/v2"
)

// aim is what the target flags say, read.
type aim struct {
	match target.Matcher
	pick  target.Pick
	to    []string // --to as typed, --from as typed
	from  []string
	owner string // --cgroup and --uid in words; empty without
	names *names // nil if no host name is among them

	spared []target.Endpoint // left alone besides, though nobody typed it

	// none says that the flags leave every connection of the namespace that
	// faultctl is run in: neither an address, a port nor a namespace is named.
	none bool
}

// target reads the target flags, namespaces aside. Host names are looked up.
func (h *host) target(c *cli.Context) (*aim, error) {
	t := &aim{to: splitAtBlanks(c.StringSlice("to")), from: splitAtBlanks(c.StringSlice("from"))}
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
func (t *aim) read(ctx context.Context, h *host) error {
	m := target.Matcher{Owner: t.match.Owner, Except: slices.Clone(t.spared)}
	for _, text := range t.to {
		rest, except := strings.CutPrefix(text, "!")
		es, err := target.ParseEndpoints(ctx, rest, h.lookup)
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
		ps, err := target.ParseHosts(ctx, text, h.lookup)
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
func (t *aim) wide() bool {
	return len(t.match.To) == 0 && len(t.match.From) == 0 && t.match.Owner.Any()
}

const toForms = "Write --to [HOST|CIDR]:PORTS, such as :5432, 10.0.0.5:80,443, 10.0.0.0/8:5432, [fd00::5]:8000-8100 or db.internal:5432; " +
	"a ! before it excludes."

// splitAtBlanks splits the values of a repeatable flag at blanks, so that its
// environment variable can hold several.
func splitAtBlanks(values []string) []string {
	var ws []string
	for _, v := range values {
		ws = append(ws, strings.Fields(v)...)
	}
	return ws
}

// readPick reads the flags that choose among the connections that match.
func readPick(c *cli.Context) (target.Pick, error) {
	p := target.Pick{NewOnly: c.Bool("new-only")}
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
	p.Share = target.ShareOf(share)
	return p, err
}

// parsePercent reads 10, 10% or 0.5.
func parsePercent(text string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	switch {
	case err != nil || math.IsNaN(v):
		return 0, usageError("--percent %s: not a number from 0 to 100", text)
	case v < 0 || v > 100:
		return 0, usageError("--percent %s: lies outside 0 to 100", text)
	}
	return v / 100, nil
}
