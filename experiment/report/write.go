package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/internal/safefile"
	"golang.org/x/sys/unix"
)

// forms are the writers by the extension of a file's name.
var forms = map[string]func(io.Writer, *Report) error{
	".xml": JUnit, ".html": HTML, ".json": JSON, ".md": Markdown,
}

// Extensions lists the extensions that a report's name may have.
func Extensions() []string { return []string{".xml", ".html", ".json", ".md"} }

// The errors of Check, beside those of the operating system.
var (
	ErrExtension = errors.New("the extension of a report's name says its form: .xml (JUnit), .html, .json or .md")
	ErrNoFile    = errors.New("it is no regular file")
)

// Check reports whether a report can be written to path: its name has an
// extension that says the form, and a file can be made in its directory. It
// touches nothing.
func Check(path string) error {
	if forms[ext(path)] == nil {
		return ErrExtension
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return ErrNoFile
	}
	if err := unix.Access(filepath.Dir(path), unix.W_OK|unix.X_OK); err != nil {
		return &os.PathError{Op: "write to", Path: filepath.Dir(path), Err: err}
	}
	return safefile.Check(path)
}

func ext(path string) string { return strings.ToLower(filepath.Ext(path)) }

// Write writes r to path in the form that its extension says. The file is there
// whole or not at all: one of that name is replaced in one step. See
// safefile.Replace for its permissions, and for symbolic links.
func Write(path string, r *Report) error {
	form := forms[ext(path)]
	if form == nil {
		return ErrExtension
	}
	var b bytes.Buffer
	if err := form(&b, r); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := safefile.Replace(path, bytes.ToValidUTF8(b.Bytes(), []byte("\ufffd"))); err != nil { // a command may hold anything
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// Has reports whether a case has that verdict.
func (r *Report) Has(v Verdict) bool { return r.count(v) > 0 }

// count returns how many cases have one of the verdicts, the base included.
func (r *Report) count(vs ...Verdict) int {
	n := 0
	for i := range r.Cases {
		if slices.Contains(vs, r.Cases[i].Verdict) {
			n++
		}
	}
	return n
}

// Summary says in one line how it went. The base is no case of its own there,
// unless it failed: then it is all that was tried.
func (r *Report) Summary() string {
	var parts []string
	if r.Interrupted {
		parts = append(parts, "interrupted")
	}
	others := Report{}
	for i := range r.Cases {
		switch c := &r.Cases[i]; {
		case !c.Base:
			others.Cases = append(others.Cases, *c)
		case c.Verdict == Broken:
			parts = append(parts, "could not be tried without a fault")
		case c.Verdict.Fails() || c.Verdict.Idle():
			parts = append(parts, string(c.Verdict)+" without a fault")
		}
	}
	for _, v := range Verdicts {
		if v == Interrupted && r.Interrupted {
			continue // that is what the first word says
		}
		word := string(v)
		if v == Broken {
			word = "could not be tried"
		}
		if n := others.count(v); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, word))
		}
	}
	if len(parts) == 0 {
		return "nothing was tried"
	}
	return strings.Join(parts, ", ")
}

// why says in one line why a case has its verdict.
func (c *Case) why() string {
	switch {
	case c.Reason != "":
		return c.Reason
	case c.Verdict == NeverFired:
		return "the fault never fired: nothing was tried"
	case c.Verdict.Idle():
		return "nothing was learnt of the fault"
	case c.Exit != "":
		return c.Exit
	}
	return ""
}

// Doubled says how many requests were carried out twice, or may be if they are
// sent again. Empty: none.
func (c *Case) Doubled() string { return Doubled(c.AnswersLost, c.SentAgain) }

// Doubled says of requests that reached the service whole how many lost their
// answer, and how many of those came again. Empty if none did.
func Doubled(lost, again uint64) string {
	if lost == 0 {
		return ""
	}
	text := "1 request reached the service whole and its answer was lost"
	if lost > 1 {
		text = fmt.Sprintf("%d requests reached the service whole and their answer was lost", lost)
	}
	switch {
	case again == 0:
		return text + "; none of them came again."
	case lost == 1:
		return text + "; it came again, and the service carried it out twice unless it knew it again."
	}
	return text + fmt.Sprintf("; %d of them came again, and the service carried out twice what it did not know again.", again)
}

// Strikes is on how many connections that were open the fault acted.
func (f FaultStats) Strikes() uint64 {
	return max(f.Struck, f.Fired-min(f.Fired, f.ClosedBefore))
}

// Came says what the strikes of the fault came to: "3 struck: 2 felt, 1 unfelt; 1
// closed before". Empty if it is not known.
func (f FaultStats) Came() string {
	var steps []string
	for _, s := range []struct {
		n    uint64
		word string
	}{{f.Felt, "felt"}, {f.Unfelt, "unfelt"}, {f.Unaccepted, "not accepted"}, {f.Unsent, "not sent"}, {f.Unknown, "not known"}} {
		if s.n > 0 {
			steps = append(steps, fmt.Sprintf("%d %s", s.n, s.word))
		}
	}
	var parts []string
	if f.Struck > 0 {
		parts = append(parts, fmt.Sprintf("%d struck: %s", f.Struck, strings.Join(steps, ", ")))
	}
	if f.ClosedBefore > 0 {
		parts = append(parts, fmt.Sprintf("%d closed before", f.ClosedBefore))
	}
	return strings.Join(parts, "; ")
}

// total sums up what the faults of a case did. Several faults of one rule share
// its connections.
func (c *Case) total() (t FaultStats) {
	for _, f := range c.Faults {
		t.Flows, t.Chosen, t.Fired = max(t.Flows, f.Flows), max(t.Chosen, f.Chosen), max(t.Fired, f.Fired)
		t.Acted, t.Diverted = t.Acted+f.Acted, t.Diverted+f.Diverted
		t.Dropped, t.Forged = t.Dropped+f.Dropped, t.Forged+f.Forged
		t.Struck, t.Felt, t.ClosedBefore = max(t.Struck, f.Struck), max(t.Felt, f.Felt), max(t.ClosedBefore, f.ClosedBefore)
	}
	return t
}
