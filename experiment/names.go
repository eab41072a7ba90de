package experiment

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// resolveEvery is how often host names are looked up again, unless the Spec
	// says otherwise.
	resolveEvery = 30 * time.Second

	// nameGrace is how long an address belongs to a name after the last answer
	// that contained it. A name server may return a few of many addresses each
	// time.
	nameGrace = 5 * time.Minute
)

// names looks up host names repeatedly, and remembers their addresses. The runs of a
// plan and its variants share it.
type names struct {
	sys  *System
	mu   sync.Mutex
	seen map[string]map[netip.Addr]time.Time // when each address was last in an answer
}

func newNames(sys *System) *names {
	return &names{sys: sys, seen: map[string]map[netip.Addr]time.Time{}}
}

// any reports whether any name was looked up.
func (n *names) any() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.seen) > 0
}

// lookup returns the addresses of a name: those of the answer, and those of
// recent answers, see nameGrace. If there is no answer, it returns all known
// addresses. It is a target.Resolver.
func (n *names) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	addrs, err := n.sys.Lookup(ctx, name)
	n.mu.Lock()
	defer n.mu.Unlock()
	known, now := n.seen[name], n.sys.Now()
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

// each lists the addresses of every name.
func (n *names) each() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
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
