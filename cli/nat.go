package cli

import (
	"fmt"
	"strings"

	"github.com/faultctl/faultctl/injector"
)

// askNAT finds out whether a run to which nothing belonged was after a port
// that is published under another: then whyNot says which one to use.
func (h *host) askNAT(p *plan, s injector.Snapshot) {
	if len(p.target.match.To) == 0 {
		return
	}
	for _, r := range s.Rules {
		if r.Flows > 0 {
			return
		}
	}
	// Where one may not ask, the advice is the one without an answer.
	p.nat, _ = h.translations(p.cfg.NetNS, p.target.match)
}

// aboutNAT says where the connections went that the target was after.
func aboutNAT(ts []injector.Translation) string {
	const most = 3
	var words, flags []string
	for i, t := range ts {
		if i == most {
			words = append(words, fmt.Sprintf("and %d more", len(ts)-most))
			break
		}
		words, flags = append(words, fmt.Sprintf("those to %v go on to %v", t.From, t.To)), append(flags, fmt.Sprintf("--to %v", t.To))
	}
	return "conntrack knows them, but behind NAT: " + strings.Join(words, ", ") + ", which is what packets carry where they are judged. Use " +
		strings.Join(flags, " ") + "."
}
