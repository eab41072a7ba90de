package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// The elements of the form that CI systems read: Jenkins' junit plugin, GitLab
// and others take these, and ignore what they do not know.
type (
	junitSuites struct {
		XMLName xml.Name `xml:"testsuites"`
		Name    string   `xml:"name,attr"`
		junitCounts
		Suite junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name string `xml:"name,attr"`
		junitCounts
		Timestamp  string          `xml:"timestamp,attr"` // ISO 8601 without a zone, in UTC
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
		Err        string          `xml:"system-err,omitempty"`
	}
	junitCounts struct {
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Errors   int    `xml:"errors,attr"`
		Skipped  int    `xml:"skipped,attr"`
		Time     string `xml:"time,attr"` // seconds
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Class   string       `xml:"classname,attr"`
		Name    string       `xml:"name,attr"`
		Time    string       `xml:"time,attr"`
		Failure *junitResult `xml:"failure"`
		Error   *junitResult `xml:"error"`
		Skipped *junitResult `xml:"skipped"`
		Out     string       `xml:"system-out,omitempty"`
	}
	junitResult struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes r as JUnit's XML. A fault of which nothing was learnt is a failure,
// and a green build must not hide that.
func JUnit(w io.Writer, r *Report) error {
	counts := junitCounts{
		Tests: len(r.Cases), Failures: r.count(Failed, Timeout, NeverFired, NotAccepted, Unfelt, NotKnown, Unclear), Errors: r.count(Broken),
		Skipped: r.count(Skipped, Interrupted), Time: seconds(r.Took),
	}
	suite := junitSuite{
		Name: "faultctl", junitCounts: counts, Timestamp: r.Start.UTC().Format("2006-01-02T15:04:05"),
		Properties: []junitProperty{
			{"summary", r.Summary()}, {"command", r.Command}, {"tool", r.Tool}, {"kernel", r.Kernel},
			{"seed", fmt.Sprint(r.Seed)}, {"exit code", fmt.Sprint(r.Code)},
		},
	}
	if r.Late != "" {
		suite.Properties = append(suite.Properties, junitProperty{"verdicts", r.Late})
	}
	suite.Err = strings.Join(r.Flaws, "\n")
	for i := range r.Cases {
		suite.Cases = append(suite.Cases, junitOf(&r.Cases[i]))
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(junitSuites{Name: "faultctl", junitCounts: counts, Suite: suite}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func junitOf(c *Case) junitCase {
	j := junitCase{Class: "faultctl", Name: c.Name, Time: seconds(c.Took), Out: junitText(c)}
	if c.Fault != "" {
		j.Class += "." + c.Fault
	}
	text := c.why()
	for _, s := range c.Connections {
		text += "\nconnections: " + s
	}
	if c.Remedy != "" {
		text += "\nremedy: " + c.Remedy
	}
	if c.Output != "" {
		text += "\n\n" + c.Output
	}
	result := &junitResult{Message: c.why(), Type: string(c.Verdict), Text: text}
	switch {
	case c.Verdict.Fails(), c.Verdict.Idle():
		j.Failure = result
	case c.Verdict == Broken:
		j.Error = result
	case c.Verdict == Skipped, c.Verdict == Interrupted:
		j.Skipped = &junitResult{Message: c.why()}
	}
	return j
}

// junitText says what the faults did, and what the command printed.
func junitText(c *Case) string {
	var b strings.Builder
	for _, f := range c.Faults {
		fmt.Fprintf(&b, "%s: %d connections matched, %d chosen, %d fired; %d packets judged, %d dropped, %d forged\n",
			f.Fault, f.Flows, f.Chosen, f.Strikes(), f.Diverted, f.Dropped, f.Forged)
		if text := f.Came(); text != "" {
			fmt.Fprintf(&b, "%s: %s\n", f.Fault, text)
		}
	}
	if text := c.Doubled(); text != "" {
		fmt.Fprintln(&b, text)
	}
	for _, s := range c.Others {
		fmt.Fprintf(&b, "struck by something else: %s\n", s)
	}
	if c.Exit != "" {
		fmt.Fprintf(&b, "%s\n", c.Exit)
	}
	if c.Output != "" && (c.Verdict == Survived || c.Verdict == Prevented || c.Verdict == Passed || c.Verdict == Done) {
		b.WriteString(c.Output)
	}
	return b.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
