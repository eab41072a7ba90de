package report

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/faultctl/faultctl/internal/safefile"
)

// Explanation is what explain found, for those who were not there.
type Explanation struct {
	Command  string            `json:"command"` // one line that repeats it
	Tool     string            `json:"tool"`    // name and version of what wrote this
	Start    time.Time         `json:"start"`   // when the command began
	Captures []ExplainedSource `json:"captures"`
}

// ExplainedSource is what one capture, or listening, showed.
type ExplainedSource struct {
	Name        string           `json:"name"` // of the file; "live" if nothing was read
	Frames      int              `json:"frames"`
	Connections int              `json:"connections"`
	InOrder     int              `json:"in_order"`         // closed in order, or open and in use
	Notes       []string         `json:"notes"`            // what could not be read or seen, in words
	Kernel      []string         `json:"kernel,omitempty"` // what the kernel counted meanwhile; only live
	Groups      []ExplainedGroup `json:"groups"`           // the largest first
}

// ExplainedGroup is all connections to one service that ended in the same way.
type ExplainedGroup struct {
	Verdict   string   `json:"verdict"`         // in a few words
	Cause     string   `json:"cause,omitempty"` // name in the catalogue; empty: none shows this
	Certainty string   `json:"certainty"`       // sure, likely, cannot tell or unknown
	Twins     []string `json:"twins,omitempty"` // what looks the same
	RunnerUp  string   `json:"runner_up,omitempty"`
	Server    string   `json:"server"`
	By        string   `json:"by"`                 // in whose name it happened: client or server
	Silence   string   `json:"silence,omitempty"`  // before it, in words
	Timer     string   `json:"timer,omitempty"`    // what is known to wait as long
	Says      string   `json:"says,omitempty"`     // what the cause is in the real world
	Ordinary  string   `json:"ordinary,omitempty"` // why it need be nothing wrong
	Settles   string   `json:"settles,omitempty"`  // what would settle a doubt
	Remedy    string   `json:"remedy,omitempty"`
	Repeat    string   `json:"repeat,omitempty"` // the command line that brings the same about

	Connections []ExplainedConnection `json:"connections"` // in the order of their time
}

// ExplainedConnection is one connection that did not end in order.
type ExplainedConnection struct {
	Client   string    `json:"client"`
	At       time.Time `json:"at"`
	Frame    int       `json:"frame,omitempty"`   // the frame that shows it, from 1
	Answers  int       `json:"answers,omitempty"` // the frame that the RST answers
	Process  string    `json:"process,omitempty"` // which held the socket; only live
	Evidence []string  `json:"evidence"`
}

// explainedForms are the writers by the extension of a file's name.
var explainedForms = map[string]func(io.Writer, *Explanation) error{
	".html": explainedHTML, ".json": explainedJSON, ".md": explainedMarkdown,
}

// CheckExplanation reports whether an Explanation can be written to path, as [Check]
// does. It touches nothing.
func CheckExplanation(path string) error {
	if explainedForms[ext(path)] == nil {
		return fmt.Errorf("the extension of its name says the form: .html, .json or .md: %w", ErrExtension)
	}
	return Check(path)
}

// WriteExplanation writes x to path in the form that its extension says, whole or
// not at all, as [Write] does.
func WriteExplanation(path string, x *Explanation) error {
	form := explainedForms[ext(path)]
	if form == nil {
		return ErrExtension
	}
	var b bytes.Buffer
	if err := form(&b, x); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := safefile.Replace(path, bytes.ToValidUTF8(b.Bytes(), []byte("\ufffd"))); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// Summary says in one line what was found.
func (x *Explanation) Summary() string {
	connections, odd := 0, 0
	for i := range x.Captures {
		connections += x.Captures[i].Connections
		odd += x.Captures[i].Odd()
	}
	return fmt.Sprintf("%d of %s did not end in order", odd, count(connections, "connection"))
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Odd is how many connections did not end in order.
func (s *ExplainedSource) Odd() (n int) {
	for i := range s.Groups {
		n += len(s.Groups[i].Connections)
	}
	return n
}

// shownOfGroup is how many connections of a group a page lists. JSON has all.
const shownOfGroup = 100

// Shown are the connections that a page lists, and Cut is how many it leaves out.
func (g *ExplainedGroup) Shown() []ExplainedConnection {
	return g.Connections[:min(len(g.Connections), shownOfGroup)]
}

// Cut: see [ExplainedGroup.Shown].
func (g *ExplainedGroup) Cut() int { return len(g.Connections) - len(g.Shown()) }

func explainedJSON(w io.Writer, x *Explanation) error {
	y := *x
	y.Captures = list(y.Captures)
	for i := range y.Captures {
		y.Captures[i].Notes, y.Captures[i].Groups = list(y.Captures[i].Notes), list(y.Captures[i].Groups)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(&y)
}

//go:embed explanation.html
var explanationPage string

var explanationTemplate = template.Must(template.New("explanation").Funcs(template.FuncMap{
	"style": func() template.CSS { return style },
	"at":    func(t time.Time) string { return t.Format("2006-01-02 15:04:05.000 MST") },
	"chip": func(certainty string) string { // the colour of a certainty
		return map[string]string{"sure": "v-failed", "likely": "v-never-fired", "cannot tell": "v-done"}[certainty]
	},
}).Parse(explanationPage))

func explainedHTML(w io.Writer, x *Explanation) error { return explanationTemplate.Execute(w, x) }

func explainedMarkdown(w io.Writer, x *Explanation) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## faultctl explain: %s\n\n%s\n", x.Summary(), code(x.Command))
	for i := range x.Captures {
		s := &x.Captures[i]
		fmt.Fprintf(&b, "\n### %s\n\n%s, %s, %d of them closed in order or in use.\n", escape(s.Name), count(s.Frames, "frame"), count(s.Connections, "connection"), s.InOrder)
		for _, n := range s.Notes {
			fmt.Fprintf(&b, "\n> %s\n", escape(n))
		}
		for _, k := range s.Kernel {
			fmt.Fprintf(&b, "\nKernel: %s\n", escape(k))
		}
		if len(s.Groups) > 0 {
			b.WriteString("\n| connections | cause | service | by |\n|---:|---|---|---|\n")
		}
		for j := range s.Groups {
			g := &s.Groups[j]
			fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", len(g.Connections), cell(escape(g.Verdict)), cell(code(g.Server)), g.By)
		}
		for j := range s.Groups {
			explainedGroup(&b, &s.Groups[j])
		}
	}
	fmt.Fprintf(&b, "\n%s, %s\n", escape(x.Tool), x.Start.UTC().Format(time.RFC3339))
	_, err := io.WriteString(w, b.String())
	return err
}

// explainedGroup writes one group as Markdown, with the evidence of its first
// connection.
func explainedGroup(b *strings.Builder, g *ExplainedGroup) {
	fmt.Fprintf(b, "\n#### %s to %s: %s\n\n", count(len(g.Connections), "connection"), code(g.Server), escape(g.Verdict))
	for _, line := range g.Lines() {
		fmt.Fprintf(b, "- %s: %s\n", line[0], escape(line[1]))
	}
	if g.Repeat != "" {
		fmt.Fprintf(b, "- repeat: %s\n", code(g.Repeat))
	}
	for _, c := range g.Connections[:min(len(g.Connections), 1)] {
		fmt.Fprintf(b, "\n%s, %s:\n\n", code(c.Client), c.At.Format(time.RFC3339Nano))
		for _, e := range c.Evidence {
			fmt.Fprintf(b, "- %s\n", escape(e))
		}
	}
}

// Lines are what there is to say of a group, each with its label.
func (g *ExplainedGroup) Lines() (lines [][2]string) {
	for _, l := range [][2]string{
		{"silence", g.Silence}, {"timer", g.Timer}, {"cause", g.Says}, {"ordinary", g.Ordinary}, {"or", g.RunnerUp}, {"settles", g.Settles}, {"remedy", g.Remedy},
	} {
		if l[1] != "" {
			lines = append(lines, l)
		}
	}
	return lines
}
