package cli

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
)

const (
	// lookEvery is how often host names are looked up anew, unless
	// --resolve-every says otherwise.
	lookEvery = 30 * time.Second

	// nameGrace is how long an address counts as a name's after the last answer
	// that had it. A name server may answer each time with a few of many.
	nameGrace = 5 * time.Minute
)

// names looks up host names again and again, and remembers what they were.
type names struct {
	h    *host
	seen map[string]map[netip.Addr]time.Time // when each address was last in an answer
}

func newNames(h *host) *names { return &names{h: h, seen: map[string]map[netip.Addr]time.Time{}} }

func (n *names) any() bool { return len(n.seen) > 0 }

// host is the one that looks names up here.
func (n *names) host() *host {
	h := *n.h
	h.lookup = n.lookup
	return &h
}

// lookup returns the addresses of a name: those of the answer, and those of
// earlier ones that have not been gone for long. Without an answer it is all
// that were known.
func (n *names) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	addrs, err := n.h.lookup(ctx, name)
	known, now := n.seen[name], n.h.now()
	if err != nil && len(known) == 0 {
		return nil, err
	}
	if known == nil {
		known = map[netip.Addr]time.Time{}
		n.seen[name] = known
	}
	for _, a := range addrs {
		known[a.Unmap().WithZone("")] = now
	}
	var all []netip.Addr
	for a, at := range known {
		if len(addrs) > 0 && now.Sub(at) >= nameGrace {
			delete(known, a)
			continue
		}
		all = append(all, a)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all, nil
}

// each writes the addresses of every name.
func (n *names) each() map[string]string {
	all := map[string]string{}
	for name, known := range n.seen {
		var words []string
		for a := range known {
			words = append(words, a.String())
		}
		slices.Sort(words)
		all[name] = strings.Join(words, ", ")
	}
	return all
}

// follow looks the names of a target up every so often, and gives the session
// what they have become. Connections that are known are judged to their end,
// wherever they lead.
func (h *host) follow(ctx context.Context, t *aim, every time.Duration, run session, say func(targetChange)) {
	for {
		select {
		case <-h.after(every):
		case <-ctx.Done():
			return
		}
		was, before := t.match, t.names.each()
		if err := t.read(ctx, t.names.host()); err != nil || reflect.DeepEqual(was, t.match) {
			continue // what was known still is
		}
		err := run.Retarget(0, t.match)
		for name, is := range t.names.each() {
			switch {
			case is == before[name]:
			case err != nil:
				say(targetChange{h.now(), name, fmt.Sprintf("is %s now, and the rules do not follow: %v", is, err)})
			default:
				say(targetChange{h.now(), name, fmt.Sprintf("is %s now; it was %s", is, before[name])})
			}
		}
		if err != nil {
			t.match = was
		}
	}
}
