package injector

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/injector/internal/kerror"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Translation is a destination that the kernel rewrites (DNAT): connections
// to From are sent to To, the address that their packets carry in the hooks
// where they are judged.
type Translation struct{ From, To netip.AddrPort }

// Translations lists the destinations that m names but that DNAT in the
// namespace, nil being the caller's own, rewrites to an address that m does not
// match. It reads conntrack's present entries; those of ended connections stay
// for a minute or two.
func Translations(ns *os.File, m target.Matcher) ([]Translation, error) {
	t, err := OpenTranslator(ns)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return t.Find(m)
}

// A Translator asks a namespace what Translations asks. It enters the namespace when
// it is opened, and needs no right to do so later. It is for one goroutine.
type Translator struct{ h *netlink.Handle }

// OpenTranslator opens a Translator in a namespace; nil is the caller's own.
func OpenTranslator(ns *os.File) (*Translator, error) {
	at := netns.None()
	if ns != nil {
		at = netns.NsHandle(ns.Fd())
	}
	h, err := netlink.NewHandleAt(at, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("ask conntrack: %w", kerror.Explain(err))
	}
	return &Translator{h}, nil
}

// Close gives the connection to the namespace back.
func (t *Translator) Close() { t.h.Close() }

// Find is Translations.
func (t *Translator) Find(m target.Matcher) ([]Translation, error) {
	var found []Translation
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		flows, err := t.h.ConntrackTableList(netlink.ConntrackTable, family)
		if err != nil {
			return nil, fmt.Errorf("ask conntrack: %w", kerror.Explain(err))
		}
		for _, f := range flows {
			if t, ok := translated(f, &m); ok && !slices.Contains(found, t) {
				found = append(found, t)
			}
		}
	}
	slices.SortFunc(found, func(a, b Translation) int {
		return strings.Compare(a.From.String()+a.To.String(), b.From.String()+b.To.String())
	})
	return found, nil
}

// translated reports whether a connection is rewritten to a destination that
// m does not match.
func translated(f *netlink.ConntrackFlow, m *target.Matcher) (Translation, bool) {
	client, ok1 := addrPort(f.Forward.SrcIP, f.Forward.SrcPort)
	asked, ok2 := addrPort(f.Forward.DstIP, f.Forward.DstPort)
	serves, ok3 := addrPort(f.Reverse.SrcIP, f.Reverse.SrcPort)
	if f.Forward.Protocol != unix.IPPROTO_TCP || !ok1 || !ok2 || !ok3 || asked == serves {
		return Translation{}, false
	}
	return Translation{asked, serves}, m.Matches(client, asked) && !m.Matches(client, serves)
}

func addrPort(ip net.IP, port uint16) (netip.AddrPort, bool) {
	a, ok := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port), ok
}
