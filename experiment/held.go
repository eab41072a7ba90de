package experiment

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/words"
)

// around is where to look for others that have connections of a plan's target.
type around struct {
	dir    string       // the net directory of the network namespace; empty: nothing is known
	before place.Owners // of such connections when the plan was made
}

// lookAround finds out who has connections of the target, while this process may still look
// into others.
func (p *Plan) lookAround() {
	t := &p.Spec.Target
	switch {
	case len(p.Spec.Command) == 0 || len(t.To) == 0 || p.isolated || p.shared:
		return
	case t.PID != 0:
		p.around.dir = filepath.Join(p.sys.Proc, strconv.Itoa(t.PID), "net")
	case !t.elsewhere():
		p.around.dir = filepath.Join(p.sys.Proc, "self", "net")
	}
	_, p.around.before = p.others()
}

// others is who has connections of the target now.
func (p *Plan) others() (place.Holding, place.Owners) {
	if p.around.dir == "" {
		return place.Holding{}, nil
	}
	m := p.matcher()
	m.Owner = target.Owner{}
	return p.sys.HoldersOf(p.around.dir, m.Matches, p.around.before)
}

// aboutOthers says that others than the command have connections of the target, and how
// to strike those. It is empty if nobody has.
func (p *Plan) aboutOthers(h place.Holding) string {
	const most = 3
	if !h.Any() {
		return ""
	}
	var who []string
	for i, o := range h.Holders {
		if i == most {
			who = append(who, fmt.Sprintf("%d more", len(h.Holders)-most))
			break
		}
		name, conns := words.Foreign(o.Name), words.Plural(uint64(o.Conns), "connection")
		if o.PID != 0 {
			name += fmt.Sprintf(" (process %d)", o.PID)
		}
		who = append(who, name+" holds "+conns)
	}
	text := " Others have such connections: " + strings.Join(who, ", ") + "."
	if len(who) == 0 {
		text = fmt.Sprintf(" Others had such connections: %d closed a moment ago.", h.Closed)
	}
	spec := Spec{Faults: p.Spec.Faults}
	spec.Target.To = p.Spec.Target.To
	return text + " Only what the command opens itself is struck here. To strike theirs, as those of a proxy or a pool: " + spec.CommandLine() +
		" (with --pid or --container, if they are in another network namespace)."
}
