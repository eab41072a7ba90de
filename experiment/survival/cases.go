package survival

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
)

// A Case is one thing to try: faults that strike the same connections of the
// command together.
type Case struct {
	// Faults are asked in order; at least one. A fault without settings gets
	// those of DefaultCases, or the catalogue's defaults if no default case has
	// it.
	Faults []faults.Spec

	// Optional is that nothing need be learnt by it, as the plan was not made for this
	// command: no exit code comes of its fault never firing, or being felt by nobody, or
	// of what it came to being not known. One that was not accepted still counts.
	Optional bool

	Line int // of the plan file, from 1 on; zero: it is from none
}

// Name is the SPECs of the case, with their settings, separated by commas.
func (c Case) Name() string { return strings.Join(c.specs(), ",") }

// specs are the faults as people type them, with their settings.
func (c Case) specs() (all []string) {
	for _, f := range c.Faults {
		all = append(all, planned(f).String())
	}
	return all
}

// complete is the case with all its settings.
func (c Case) complete() Case {
	full := Case{Optional: c.Optional, Line: c.Line}
	for _, f := range c.Faults {
		full.Faults = append(full.Faults, planned(f))
	}
	return full
}

// names are the names of cases, in their order. If several have the same
// name, all but the first get a number.
func names(cases []Case) (all []string) {
	for _, c := range cases {
		name := c.Name()
		for n := 2; slices.Contains(all, name); n++ {
			name = fmt.Sprintf("%s (%d)", c.Name(), n)
		}
		all = append(all, name)
	}
	return all
}

// ParseCases reads a list of SPECs, such as idle-expire:after=2s,refuse,reset. Each
// is a case of its own. The error is an *event.Error about the field faults.
func ParseCases(text string) ([]Case, error) {
	specs, err := faults.ParseSpecs(text)
	if err != nil {
		return nil, event.Usagef("faults", "%w", err).WithValue(text).WithAdvice(adviceOn(text))
	}
	var cases []Case
	for _, s := range specs {
		cases = append(cases, Case{Faults: []faults.Spec{s}})
	}
	return cases, nil
}

// adviceOn is the advice for a list of SPECs that cannot be read.
func adviceOn(text string) string {
	pieces := strings.Split(text, ",")
	last := "" // the fault that a setting would belong to
	for i, piece := range pieces {
		if head, _, _ := strings.Cut(piece, ":"); !strings.Contains(head, "=") {
			last = head
		}
		if _, err := faults.ParseSpecs(strings.Join(pieces[:i+1], ",")); err != nil {
			break
		}
	}
	if _, err := faults.Find(last); err != nil {
		return "There are " + strings.Join(faults.Names(), ", ") + "; faultctl faults NAME explains one."
	}
	return "faultctl faults " + last + " explains every setting."
}

// ReadCases reads a plan file: a case on each line, which is a SPEC, or several
// with commas between, which strike together; # begins a comment. name is what
// errors call the file. The error is an *event.Error about the field plan, and
// says which line is wrong.
func ReadCases(r io.Reader, name string) ([]Case, error) {
	var cases []Case
	in := bufio.NewScanner(r)
	for n := 1; in.Scan(); n++ {
		text, _, _ := strings.Cut(in.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		specs, err := faults.ParseSpecs(text)
		if err != nil {
			return nil, planError(name, "line %d: %w", n, err).
				WithAdvice("Each line is a SPEC, such as idle-expire:after=300s; SPECs on one line, with commas between, strike together; # begins a comment.")
		}
		cases = append(cases, Case{Faults: specs, Line: n})
	}
	if err := in.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, planError(name, "a line is longer than 64 KiB: that is no plan")
	} else if err != nil {
		return nil, planError(name, "%w", noPath(err))
	}
	if len(cases) == 0 {
		return nil, planError(name, "there is no fault in it")
	}
	return cases, nil
}

// ReadPlan sets the cases of the Spec from a plan file; - means stdin. The
// error is an *event.Error about the field plan.
func (s *Spec) ReadPlan(path string, stdin io.Reader) error {
	r := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return planError(path, "%w", noPath(err))
		}
		defer f.Close()
		r = f
	}
	cases, err := ReadCases(r, path)
	if err != nil {
		return err
	}
	s.PlanFile, s.Cases = path, cases
	return nil
}

func planError(name, format string, args ...any) *event.Error {
	return event.Usagef("plan", format, args...).WithValue(name)
}

// noPath removes the operation and path that os adds to an error, because the
// message has the path already.
func noPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
