package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/experiment/report"
	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/explain/capture"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/safefile"
	"github.com/faultctl/faultctl/internal/version"
)

// explanation is what a run of explain leaves: reports, and the packets again with
// comments.
type explanation struct {
	inv     *invocation
	reports []string
	model   report.Explanation

	pcap     string
	source   string   // the capture that is written again; empty: it is in kept
	kept     *os.File // what was read of a stream, or heard
	comments map[int][]string
}

// explanation checks that what the flags ask for can be written.
func (inv *invocation) explanation(c *call, paths []string) (*explanation, error) {
	k := &explanation{inv: inv, reports: c.StringSlice("report"), pcap: c.String("pcap"), comments: map[int][]string{}}
	k.model = report.Explanation{Tool: "faultctl " + version.String(), Start: inv.sys.Now(), Command: "faultctl"}
	for _, word := range inv.args[min(len(inv.args), 1):] {
		k.model.Command += " " + place.Quote(word)
	}
	for _, path := range k.reports {
		if err := report.CheckExplanation(path); err != nil {
			return nil, event.Usagef("report", "%w", aboutFile(err)).WithValue(path)
		}
	}
	if k.pcap == "" {
		return k, nil
	}
	refuse := func(err error) (*explanation, error) {
		return nil, event.Usagef("pcap", "%w", aboutFile(err)).WithValue(k.pcap)
	}
	switch {
	case k.pcap == "-":
		return refuse(errors.New("standard output is for what explain says: name a file"))
	case len(paths) > 1:
		return refuse(errors.New("it takes one capture: explain them one by one"))
	}
	if there, err := os.Stat(k.pcap); err == nil {
		for _, path := range paths {
			if read, err := os.Stat(path); err == nil && os.SameFile(there, read) {
				return refuse(errors.New("that is the capture itself: name another file"))
			}
		}
	}
	if err := safefile.Check(k.pcap); err != nil {
		return refuse(err)
	}
	return k, nil
}

// spool keeps a copy of what is read of standard input, for it cannot be read twice.
func (k *explanation) spool(path string, r io.Reader) (io.Reader, error) {
	if k.pcap == "" {
		return r, nil
	}
	if path != "-" {
		k.source = path
		return r, nil
	}
	w, err := k.keep()
	if err != nil {
		return nil, err
	}
	return io.TeeReader(r, w), nil
}

// keep makes the file that holds a stream until it is written again. It has no name.
func (k *explanation) keep() (*os.File, error) {
	f, err := os.CreateTemp("", "faultctl-explain-*")
	if err != nil {
		return nil, err
	}
	k.kept = f
	return f, os.Remove(f.Name())
}

// add takes what was found in a capture.
func (k *explanation) add(path string, found []explain.Finding, t capture.Totals) {
	s := report.ExplainedSource{Name: path, Frames: t.Frames, Connections: t.Connections, InOrder: t.InOrder, Notes: explainNotes(t), Kernel: t.Kernel}
	for _, g := range explain.Groups(found) {
		s.Groups = append(s.Groups, explainedGroup(g))
	}
	k.model.Captures = append(k.model.Captures, s)
	if k.pcap == "" {
		return
	}
	for _, f := range found {
		for frame, says := range f.Comments() {
			k.comments[frame] = append(k.comments[frame], says)
		}
	}
}

// explainedGroup is a group as a report has it.
func explainedGroup(g explain.Group) report.ExplainedGroup {
	v := g.Verdict
	out := report.ExplainedGroup{
		Verdict: v.String(), Cause: v.Cause, Certainty: v.Certainty.String(), Twins: v.Twins, RunnerUp: v.RunnerUp, Server: g.Server.String(),
		By: g.By.From().String(), Silence: silence(g), Ordinary: g.Ordinary(), Settles: v.Settles,
	}
	if names := g.Timer(); names != "" {
		out.Timer = "that is the idle timeout of " + names
	}
	if kind, err := faults.Find(v.Cause); err == nil {
		out.Remedy, out.Repeat = kind.Remedy, repeatLine(g.Findings[0])
		if v.Certainty >= explain.Likely {
			out.Says = kind.Cause
		}
	}
	for _, f := range g.Findings {
		out.Connections = append(out.Connections, report.ExplainedConnection{
			Client: f.Client.String(), At: f.At, Frame: f.Facts.Frame, Answers: f.Facts.Answer, Evidence: f.Evidence(),
			Process: strings.Join(slices.DeleteFunc([]string{f.ClientProcess, f.ServerProcess}, func(s string) bool { return s == "" }), ", "),
		})
	}
	return out
}

// silence says how long the connections of a group were silent before; empty if
// that says nothing.
func silence(g explain.Group) string {
	mean, spread := g.Idle()
	if mean < time.Second || len(g.Findings) < 2 {
		return ""
	}
	return fmt.Sprintf("%.1f s before, ± %.1f s", mean.Seconds(), spread.Seconds())
}

// leave writes what was asked for. err is that of the command, which it returns, or
// else what kept something from being written.
func (k *explanation) leave(err error) error {
	if k.kept != nil {
		defer k.kept.Close()
	}
	if len(k.model.Captures) == 0 {
		return err // nothing was read
	}
	for _, path := range k.reports {
		if e := report.WriteExplanation(path, &k.model); e != nil && err == nil {
			err = e
		}
	}
	if k.pcap == "" {
		return err
	}
	var broken *capture.BrokenError
	if e := k.annotate(); e != nil && !errors.As(e, &broken) && err == nil { // that it is broken has been said
		err = fmt.Errorf("write %s: %w", k.pcap, aboutFile(e))
	}
	return err
}

// annotate writes the packets again.
func (k *explanation) annotate() (err error) {
	from := k.kept
	if from != nil {
		_, err = from.Seek(0, io.SeekStart)
	} else if from, err = os.Open(k.source); err == nil {
		defer from.Close()
	}
	if err != nil {
		return err
	}
	to, err := safefile.Create(k.pcap)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	w := bufio.NewWriterSize(to, 1<<16)
	if err := capture.Annotate(from, w, k.comments); err != nil {
		return errors.Join(err, w.Flush())
	}
	return w.Flush()
}
