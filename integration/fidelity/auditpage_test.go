package fidelity

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults/outcome"
)

const auditHead = `## What is said of a fault

A verdict must not claim more than is true ([VERDICTS.md](VERDICTS.md)). So each fault of the catalogue is played under six
conditions, and what is said of it is compared with what the programs' own system calls returned; the engine has no part in that
account. *Survived* where neither program saw anything, and *unfelt* or *not accepted* where one was told, fail.

- **felt**: the application awaits an answer, or connect().
- **nothing at stake**: the only answer was read, nothing more is sent, and both ends close later without another call.
- **our firewall**: behind faultctl's hooks, one drops what it sends.
- **their firewall**: before the TCP of both ends, one drops what arrives: RSTs, FINs that are forged, ICMP errors.
- **closed before**: the connection was closed in order, by the server first where the fault waits for it to be idle.
- **prevented**: the remedy is at work: a heartbeat, keepalives, a client that closes first.

On the hosts and on loopback it is the word of ` + "`run`" + `, whose command succeeds: the client on its host and on loopback, the server on
the server's host. On the router it is that of ` + "`inject`" + `, and, if it fired, what is known of *felt*. In brackets is what the
programs saw. Half of the cells are played over IPv4, the other half over IPv6.
`

// auditSection is the part of the page about the audit.
func auditSection(cells []*audited) string {
	var b strings.Builder
	b.WriteString(auditHead)
	n := notesOf()
	for _, at := range placements {
		fmt.Fprintf(&b, "\n### %s\n\n| fault |", upper(string(at)))
		for _, c := range conditions {
			fmt.Fprintf(&b, " %s |", c)
		}
		b.WriteString("\n|---|" + strings.Repeat("---|", len(conditions)) + "\n")
		for i := range auditRows {
			r := &auditRows[i]
			fmt.Fprintf(&b, "| %s |", r.name)
			for _, c := range conditions {
				text := "not played"
				if k := slices.IndexFunc(cells, func(a *audited) bool { return a.row == r && a.condition == c && a.at == at }); k >= 0 {
					text = cells[k].text(n)
				}
				fmt.Fprintf(&b, " %s |", text)
			}
			b.WriteString("\n")
		}
	}
	b.WriteString("\nCells that are not played, and what cannot be known:\n\n")
	for i, why := range n {
		fmt.Fprintf(&b, "%d. %s.\n", i+1, upper(why))
	}
	b.WriteString("\n")
	return b.String()
}

// notesOf are the reasons of cells that are not played, and the words of VERDICTS.md for
// what is not known, in the order of the table.
func notesOf() (all []string) {
	add := func(why string) {
		if why != "" && !slices.Contains(all, why) {
			all = append(all, why)
		}
	}
	for i := range auditRows {
		for _, c := range conditions {
			s := auditRows[i].cells[c]
			add(s.na)
			for _, at := range placements {
				add(s.notAt[at])
				add(s.mayNot(c, at))
			}
		}
	}
	return all
}

// mayNot is why it may be not known what the fault came to; empty if it must be known.
func (s *staged) mayNot(c condition, at placement) string {
	if why := s.unknown[at]; why != "" {
		return why
	}
	if at == atRouter && c == unfelt && s.na == "" { // inject lets pass unseen what the fault does not need
		return unseen
	}
	return ""
}

// text is the cell in the table.
func (a *audited) text(notes []string) string {
	part := a.row.cells[a.condition]
	if a.na != "" {
		return fmt.Sprintf("– %d", slices.Index(notes, a.na)+1)
	}
	text := a.verdict.String()
	if a.verdict == outcome.Fired && a.row.fault() != "observe" {
		text += map[outcome.Verdict]string{outcome.Survived: ", felt", outcome.Unfelt: ", unfelt", outcome.Unknown: ", not known"}[a.steps]
	}
	if a.verdict == outcome.Survived || strings.HasSuffix(text, ", felt") {
		text = "**" + text + "**"
	}
	if why := part.mayNot(a.condition, a.at); why != "" && (a.steps == outcome.Unknown || a.at == atRouter && a.condition == shutBefore) {
		text += fmt.Sprintf(" %d", slices.Index(notes, why)+1)
	}
	if saw := a.saw(); saw != "" {
		text += " [" + saw + "]"
	}
	return text
}

// saw is the account in a few words that do not depend on how busy the machine is: what
// one of the programs was told, the client first.
func (a *audited) saw() string {
	first, _, _ := strings.Cut(a.account, "; ")
	_, words, _ := strings.Cut(first, ": ")
	all := strings.Split(words, ", ")
	if len(all) > 1 {
		all = slices.DeleteFunc(all, func(w string) bool { return w == "late" })
	}
	return all[0]
}

// TestAuditPage holds that the page has the audit as it is: each row, each cell that is not
// played, and words that may be said in all others.
func TestAuditPage(t *testing.T) {
	if *update {
		return // it is written when all tests are over
	}
	b, err := os.ReadFile("../../docs/FIDELITY.md")
	if err != nil {
		t.Fatal(err)
	}
	got := string(b)
	if !strings.Contains(got, auditHead) {
		t.Error("docs/FIDELITY.md is out of date, run make fidelity: it lacks the audit's head")
	}
	notes := notesOf()
	for _, at := range placements {
		_, table, _ := strings.Cut(got, "\n### "+upper(string(at))+"\n")
		table, _, _ = strings.Cut(table, "\n##")
		for i := range auditRows {
			r := &auditRows[i]
			_, line, has := strings.Cut(table, "\n| "+r.name+" |")
			line, _, _ = strings.Cut(line, "\n")
			texts := strings.Split(strings.TrimSuffix(line, "|"), "|")
			if !has || len(texts) != len(conditions) {
				t.Errorf("docs/FIDELITY.md is out of date, run make fidelity: %s, %s", at, r.name)
				continue
			}
			for k, c := range conditions {
				a := &audited{row: r, condition: c, at: at}
				part := r.cells[c]
				text := strings.Trim(strings.TrimSpace(texts[k]), "*")
				if why := part.notPlayed(at); why != "" {
					a.na = why
					if text != a.text(notes) {
						t.Errorf("docs/FIDELITY.md: %s: %q, want %q", a.name(), text, a.text(notes))
					}
				} else if may := a.may(part); !slices.ContainsFunc(may, func(v outcome.Verdict) bool {
					return strings.HasPrefix(text, v.String()) || at == atRouter && strings.HasPrefix(text, outcome.Fired.String())
				}) {
					t.Errorf("docs/FIDELITY.md: %s: %q, want %v", a.name(), text, may)
				}
			}
		}
	}
	verdicts, err := os.ReadFile("../../docs/VERDICTS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, why := range []string{unseen, silence, unseenClose, givenUp, greeting} {
		if !strings.Contains(string(verdicts), why) {
			t.Errorf("docs/VERDICTS.md does not say: %s", why)
		}
	}
}
