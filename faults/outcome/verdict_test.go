package outcome

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table into docs/VERDICTS.md")

const (
	page    = "../../docs/VERDICTS.md"
	begin   = "<!-- table: go test ./faults/outcome -update -->\n"
	endMark = "<!-- end of table -->\n"
)

// TestPage checks that docs/VERDICTS.md has the table that the code goes by.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	old, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", page)
	}
	want := tableText()
	if old == want {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the table in verdict.go: go test ./faults/outcome -update", page)
	}
	if err := os.WriteFile(page, []byte(before+begin+want+endMark+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func tableText() string {
	var b strings.Builder
	b.WriteString("| command | overload | struck | sent | accepted | felt | prevented | control | verdict | exit | what it means |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range Table {
		var cmds []string
		for _, c := range r.Command {
			cmds = append(cmds, c.String())
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | **%s** | %d | %s |\n", strings.Join(cmds, " or "), r.Overload.Text(), r.Struck.Text(),
			r.Sent.Text(), r.Accepted.Text(), r.Felt.Text(), r.Prevents.Text(), r.Control.Text(), r.Verdict, r.Verdict.Exit(), r.Meaning)
	}
	return b.String()
}

// TestTable goes through every case there can be: nothing survives unless all
// three steps are known to be yes, no failing command passes, and every row and
// every verdict is of use.
func TestTable(t *testing.T) {
	used := map[int]bool{}
	given := map[Verdict]bool{}
	answers := []Answer{NotKnown, Yes, No}
	for _, command := range []Command{NoCommand, Succeeded, CommandFailed, CommandTimedOut} {
		for _, struck := range []bool{true, false} {
			for _, kind := range [][3]bool{{true, false, false}, {false, false, false}, {false, true, false}, {false, false, true}} {
				prevented, control, overload := kind[0], kind[1], kind[2]
				for _, s := range answers {
					for _, a := range answers {
						for _, f := range answers {
							c := Case{Command: command, Prevented: prevented, Control: control, Overload: overload, Outcome: Outcome{
								Struck: struck, Sent: Step{Answer: s}, Accepted: Step{Answer: a}, Felt: Step{Answer: f},
							}}
							v := Judge(c)
							given[v] = true
							for i := range Table {
								if Table[i].matches(c) {
									used[i] = true
									break
								}
							}
							all := struck && s == Yes && a == Yes && f == Yes
							if (v == Survived) != (all && command == Succeeded && !overload) {
								t.Errorf("%+v: %s", c, v)
							}
							if overload && v.Exit() == 0 {
								t.Errorf("%+v: %s", c, v)
							}
							if command > Succeeded && v.Exit() != 3 {
								t.Errorf("%+v: exit %d", c, v.Exit())
							}
							if v == Fired && (command != NoCommand || !struck || s != Yes || a == No) {
								t.Errorf("%+v: %s", c, v)
							}
							if v == Prevented && struck && (!control || s != Yes || a != No) {
								t.Errorf("%+v: %s", c, v)
							}
						}
					}
				}
			}
		}
	}
	for i := range Table {
		if !used[i] {
			t.Errorf("row %d (%s) is never reached", i, Table[i].Verdict)
		}
	}
	for v := range Verdict(numVerdicts) {
		if !given[v] {
			t.Errorf("%s is never given", v)
		}
	}
}

// TestFurther checks what is said of several connections together.
func TestFurther(t *testing.T) {
	yes, no, unknown := Step{Answer: Yes}, Step{Answer: No}, Step{}
	order := []Outcome{
		{Why: NotStruck},
		{Why: ClosedBefore},
		{Struck: true, Sent: no, Accepted: no, Felt: no},
		{Struck: true, Sent: yes, Accepted: no, Felt: no},
		{Struck: true, Sent: yes, Accepted: yes, Felt: no},
		{Struck: true, Sent: unknown, Accepted: yes, Felt: yes},
		{Struck: true, Sent: yes, Accepted: unknown, Felt: yes},
		{Struck: true, Sent: yes, Accepted: yes, Felt: unknown},
		{Struck: true, Sent: yes, Accepted: yes, Felt: yes},
	}
	for i := range order {
		for j := range order {
			if got := Further(order[i], order[j]); got != order[max(i, j)] {
				t.Errorf("of %d and %d: %+v", i, j, got)
			}
		}
	}
}

// TestEvidence checks that each evidence has words.
func TestEvidence(t *testing.T) {
	for e := Evidence(1); e < numEvidence; e++ {
		if e.String() == "" {
			t.Errorf("evidence %d says nothing", e)
		}
	}
}
