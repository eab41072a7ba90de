package experiment

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/target"
)

// Matcher returns the connections that the spec's ends name, for whoever only looks
// at them. Host names are resolved once; an owner is not asked for. The error is
// [event.Problems].
func (sys *System) Matcher(ctx context.Context, s Spec) (target.Matcher, error) {
	m, problems := readMatcher(ctx, &s.Target, sys.Lookup)
	if len(problems) > 0 {
		return m, problems
	}
	return m, nil
}

// readMatcher makes the matcher of a target's ends, and returns a problem for
// each end that is wrong.
func readMatcher(ctx context.Context, t *Target, lookup target.Resolver) (target.Matcher, event.Problems) {
	var m target.Matcher
	var problems event.Problems
	for _, text := range t.To {
		rest, except := strings.CutPrefix(text, "!")
		es, err := target.ParseEndpoints(ctx, rest, lookup)
		switch {
		case err != nil:
			problems = append(problems, endError("to", text, err, toForms))
		case except:
			m.Except = append(m.Except, es...)
		default:
			m.To = append(m.To, es...)
		}
	}
	for _, text := range t.From {
		if strings.HasPrefix(text, "!") {
			problems = append(problems, usage("from", "! excludes service ends only, with %s", event.Field("to")).WithValue(text))
			continue
		}
		ps, err := target.ParseHosts(ctx, text, lookup)
		if err != nil {
			problems = append(problems, endError("from", text, err, fromForms))
		}
		m.From = append(m.From, ps...)
	}
	return m, problems
}

const (
	toForms = "Write --to [HOST|CIDR]:PORTS, such as :5432, 10.0.0.5:80,443, 10.0.0.0/8:5432, [fd00::5]:8000-8100 or db.internal:5432; " +
		"a ! before it excludes."
	fromForms = "Write --from HOST or --from CIDR, such as 10.0.0.7, 10.0.0.0/8, fd00::/64 or web-1.internal."
)

// endError says what is wrong with an end of a target: its syntax, or that
// its name cannot be resolved.
func endError(word event.Field, text string, err error, forms string) *event.Error {
	var dns *net.DNSError
	if errors.As(err, &dns) && !dns.IsNotFound {
		return event.Failuref(word, "%w", err).WithValue(text).
			WithAdvice("No name server answers here: give the address instead of the name, or write both into /etc/hosts. " +
				"A network namespace with only loopback reaches no name server.")
	}
	return usage(word, "%w", err).WithValue(text).WithAdvice(forms)
}

// unmeetable says why no packet can ever match m, because a run that can only
// end with "never fired" is a mistake in the target. It is nil if a packet
// can match.
func unmeetable(m *target.Matcher) *event.Error {
	switch {
	case m.MixedFamilies():
		return usage("to", "%s and %s: one names IPv4 addresses only, the other IPv6 addresses only: no connection has both", event.Field("to"), event.Field("from")).
			WithAdvice("Give the addresses of one family, or of both in both flags.")
	case m.AllExcepted():
		return usage("to", "what the ! excludes leaves out all that %s names", event.Field("to")).
			WithAdvice("A ! takes a part out of what the other --to name, such as --to 10.0.0.0/8:5432 --to '!10.0.0.7'.")
	}
	return nil
}

// owner finds the processes whose connections the target selects. It returns a
// description of them, empty if the target selects those of any process.
func (sys *System) owner(t *Target, m *target.Matcher) (owner string, err error) {
	var words []string
	var word event.Field // one of them
	if t.UID != "" {
		id, err := userID(t.UID)
		if err != nil {
			return "", usage("uid", "%w", err).WithValue(t.UID)
		}
		m.Owner.UID = &id
		word, words = "uid", append(words, "user "+t.UID)
	}
	if t.Cgroup != "" {
		group, err := sys.FindCgroup(t.Cgroup)
		switch {
		case errors.Is(err, injector.ErrConfig):
			return "", usage("cgroup", "%w", err).WithValue(t.Cgroup).
				WithAdvice("Give its directory, or its path as the line 0:: of /proc/PID/cgroup has it.")
		case err != nil:
			return "", event.Errorf(0, "cgroup", "%w", err).WithValue(t.Cgroup)
		}
		m.Owner.Cgroup = group
		word, words = "cgroup", append(words, "cgroup "+group.Path)
	}
	if word != "" && !t.elsewhere() && onlyForwarded(m, sys.Local()) {
		return "", usage(word, "neither end of a connection from %s to %s is on this host", strings.Join(t.From, ", "), strings.Join(t.To, ", ")).
			WithAdvice("The kernel knows whose a packet is only where there is a local socket, not where it forwards. Name the network namespace that one end lives in, with --netns or --pid.")
	}
	return strings.Join(words, " in "), nil
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
// host, which has the local addresses, is neither of them.
func onlyForwarded(m *target.Matcher, local []netip.Addr) bool {
	here := func(p netip.Prefix) bool { return !p.IsValid() || slices.ContainsFunc(local, p.Contains) }
	return len(m.To) > 0 && len(m.From) > 0 && len(local) > 0 &&
		!slices.ContainsFunc(m.To, func(e target.Endpoint) bool { return here(e.Prefix) }) &&
		!slices.ContainsFunc(m.From, here)
}
