package experiment

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/features"
	"github.com/faultctl/faultctl/faults/outcome"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/words"
)

// Why says of each fault of which nothing was learnt, or that was prevented, why
// that is so, and what to do next.
func (p *Plan) Why(r Result, j Judgement) (all []string) {
	for _, f := range j.Faults {
		if text := p.WhyFault(r, f); text != "" {
			all = append(all, text)
		}
	}
	if text := p.spent(j); text != "" {
		all = append(all, text)
	}
	return all
}

// spent says that a share of the connections was used up: each connection that it
// chose was struck, and the others never are. Empty: there is nothing to say.
func (p *Plan) spent(j Judgement) string {
	t := &p.Spec.Target
	if t.Percent == nil || t.PercentEvery != 0 || p.Spec.Command != nil {
		return ""
	}
	for _, f := range j.Faults {
		kind, err := faults.Find(f.Fault)
		if err != nil || kind.Group != "reset" || f.Rule.Chosen == 0 || f.Stats.Fired < f.Rule.Chosen || f.Rule.Flows <= f.Rule.Chosen {
			continue
		}
		share := strconv.FormatFloat(*t.Percent, 'f', -1, 64) + "%"
		return fmt.Sprintf("--percent is drawn once for each connection: it chose %d of %d, and each was struck. The others never are, however long the run is: --percent %s/1m draws anew every minute.",
			f.Rule.Chosen, f.Rule.Flows, share)
	}
	return ""
}

// WhyFault is Why of one fault; empty if there is nothing to say. Whatever the
// command came to, it is said of the connections.
func (p *Plan) WhyFault(r Result, f Judged) string {
	if f.Verdict.Exit() == 3 { // the command says more than this
		f = judge(f.Rule, f.Stats, outcome.Succeeded, f.late)
	}
	switch f.Verdict {
	case outcome.NeverFired:
		return f.Fault + " never fired: " + p.WhyNot(r, f)
	case outcome.Prevented:
		return f.Fault + " was prevented: " + f.Reason() + "."
	case outcome.Unaccepted:
		return f.Fault + " was not accepted: " + f.Reason() + ". " + f.advice()
	case outcome.Inconclusive:
		return "What " + f.Fault + " came to is not conclusive: " + f.Reason() + ". " + f.advice()
	case outcome.Unfelt:
		return f.Fault + " was unfelt: " + f.Reason() + ". " + f.advice()
	case outcome.Unknown:
		return "What " + f.Fault + " came to is not known: " + f.Reason() + ". " + f.advice()
	}
	return ""
}

// WhyNot says why a fault of a rule never fired, and what to do next.
func (p *Plan) WhyNot(r Result, f Judged) string {
	t, command, rule := &p.Spec.Target, p.Spec.Command, f.Rule
	if why := f.Reason(); why != "" {
		return why + ". " + f.advice()
	}
	switch {
	case rule.Flows == 0 && len(t.To) == 0 && len(t.From) == 0 && p.NetNS != "" && command == nil:
		return "no TCP packet crossed the network namespace " + strings.TrimPrefix(p.NetNS, "that ") + "."
	case rule.Flows == 0 && p.Everything:
		return "no TCP packet crossed this network namespace."
	case rule.Flows == 0 && command != nil:
		return "there was not one of the " + strings.Replace(p.Scope(), "every TCP connection", "TCP connections", 1) + "." + startedElsewhere(command) + p.outOfReach() + aboutUnixSockets(command) + p.aboutOthers(r.Held)
	case rule.Flows == 0 && len(r.NAT) > 0:
		return "no packet belonged to " + p.Scope() + ": " + aboutNAT(r.NAT)
	case rule.Flows == 0:
		return "no packet belonged to " + p.Scope() + ". Is that the port where packets are judged (behind NAT or a published " +
			"port it is the container's own), and does the traffic pass this network namespace (what a bridge carries does so only with " +
			"net.bridge.bridge-nf-call-iptables=1, IPv6 with bridge-nf-call-ip6tables=1)? --dry-run shows what matches now."
	case rule.Chosen == 0:
		return "connections matched, but --percent, --every, --first, --skip or --new-only chose none of them."
	}
	if n := f.Stats.Settled.Unconnected; n > 0 && n >= rule.Chosen {
		return "none of the chosen connections was established: nothing accepts them where the command looks for it." + p.outOfReach()
	}
	return "the moment that it waits for did not come on the chosen connections. faultctl faults " + f.Fault + " says which one that is." + p.closedFirst(f) + p.encrypted(f)
}

// encrypted says that a text was sought where TLS hides it. It is empty if none was.
func (p *Plan) encrypted(f Judged) string {
	if f.Stats.Settled.Encrypted == 0 {
		return ""
	}
	for _, s := range p.Spec.Faults {
		for _, k := range s.Knobs {
			if text, is := strings.CutPrefix(k[1], "match="); s.Name == f.Fault && k[0] == "at" && is {
				return fmt.Sprintf(" The connections use TLS: %s is looked for in what is on the wire, which is encrypted. --at tls-data and --at request=N can be told with TLS as well.", words.Foreign(text))
			}
		}
	}
	return ""
}

// aboutUnixSockets says that a client may use a Unix socket, where it does so unless it
// is told a host. It is empty for any other command.
func aboutUnixSockets(command []string) string {
	switch name := filepath.Base(command[0]); name {
	case "psql", "pgbench", "pg_dump", "mysql", "mariadb", "mysqldump":
		return " " + name + " uses a Unix socket, which is no TCP connection, unless it is told a host: -h 127.0.0.1."
	}
	return ""
}

// closedFirst says that the service closed before the fault's moment came. Empty:
// it did not.
func (p *Plan) closedFirst(f Judged) string {
	s := f.Stats.Settled.Prevented
	if s.How != features.ByServer {
		return ""
	}
	return fmt.Sprintf(" The longest silence was %s of %s: the service closed first.", seconds(s.Silence), seconds(s.Needed))
}

// outOfReach says that a command in a network namespace of its own reaches nothing
// outside. It is empty for any other.
func (p *Plan) outOfReach() string {
	if !p.isolated {
		return ""
	}
	return " It runs in a network namespace of its own, where it cannot reach a service outside, not even one of this host: start the service in the command" +
		", or run faultctl with root's rights and without --isolate."
}

// startedElsewhere says what becomes of a command that has somebody else start
// what it is about. It is empty for any other.
func startedElsewhere(command []string) string {
	how := ""
	name := filepath.Base(command[0])
	switch name {
	case "docker", "podman", "nerdctl", "docker-compose", "podman-compose":
		how = "strike the container with faultctl inject --container NAME meanwhile."
	case "systemctl", "systemd-run":
		how = "strike the unit with faultctl inject --cgroup PATH meanwhile."
	case "ssh", "kubectl":
		how = "run faultctl there."
	default:
		return ""
	}
	return " What " + name + " starts is not one of its children: " + how
}

// aboutNAT says where the connections went that the target was after.
func aboutNAT(ts []injector.Translation) string {
	const most = 3
	var names, flags []string
	for i, t := range ts {
		if i == most {
			names = append(names, fmt.Sprintf("and %d more", len(ts)-most))
			break
		}
		names, flags = append(names, fmt.Sprintf("those to %v go on to %v", t.From, t.To)), append(flags, fmt.Sprintf("--to %v", t.To))
	}
	return "conntrack knows them, but behind NAT: " + strings.Join(names, ", ") + ", which is what packets carry where they are judged. Use " +
		strings.Join(flags, " ") + "."
}

// Remedies is what the catalogue says against the faults of a Spec.
func (s *Spec) Remedies() string {
	var all []string
	for _, f := range s.Faults {
		if k, err := faults.Find(f.Name); err == nil {
			all = append(all, k.Remedy)
		}
	}
	return strings.Join(all, " ")
}
