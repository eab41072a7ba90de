package survival

import (
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/place"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/target"
	"github.com/faultctl/faultctl/internal/words"
)

// Every is which connections a fault strikes if the target does not choose among
// them: every second one, so that a client which tries again finds one that is
// left alone.
const Every = 2

// Spec says which command is to survive which faults. It is plain data.
type Spec struct {
	// Base is what all cases have in common: target, command, seed, and what is
	// left behind. It must have a Command. It must have no Faults, Duration,
	// StartAfter or Timeout: the cases bring their faults, which last as long as
	// the command.
	Base experiment.Spec

	Cases  []Case // in the order in which they are tried; nil means DefaultCases
	Repeat int    // how often the command runs in each case, and without a fault; zero means once

	// Jobs is how many cases are tried at the same time, each in a cage of its own.
	// Zero means one. More are for commands of which several may run at once: they
	// share the host's ports and files, and every service that they reach. Whether a
	// command is such, its untouched runs show, of which so many begin together
	// first: if one fails then, and none does alone, Jobs is one.
	Jobs int

	// Timeout ends a run of the command. Nil means ten times as long as the
	// longest run without a fault, 30 s at least, and no limit for that one. Zero
	// means never.
	Timeout *time.Duration

	// Where Cases come from, as typed, for CommandLine. At most one is given.
	PlanFile string   // see ReadPlan
	Typed    []string // lists of SPECs, see ParseCases
}

// Set has the Spec say a word with the values that somebody typed: faults,
// timeout, repeat, or a word of Base. Lists of faults add up. The error is an
// *event.Error about the word.
func (s *Spec) Set(word string, values ...string) error {
	switch word {
	case "faults":
		for _, text := range values {
			cases, err := ParseCases(text)
			if err != nil {
				return err
			}
			s.Cases, s.Typed = append(s.Cases, cases...), append(s.Typed, text)
		}
		return nil
	case "timeout", "repeat", "jobs":
		if len(values) != 1 || values[0] == "" {
			return event.Usagef(event.Field(word), "is empty").WithAdvice("Leave it out if you do not need it.")
		}
	}
	switch word {
	case "timeout":
		d, err := words.ParseDuration(values[0])
		if err != nil {
			return event.Usagef("timeout", "%w", err).WithValue(values[0])
		}
		s.Timeout = &d
		return nil
	case "repeat":
		n, err := strconv.Atoi(values[0])
		if err != nil || n < 1 {
			return badRepeat(values[0])
		}
		s.Repeat = n
		return nil
	case "jobs":
		n, err := strconv.Atoi(values[0])
		if err != nil || n < 1 || n > mostJobs {
			return badJobs(values[0])
		}
		s.Jobs = n
		return nil
	}
	return s.Base.Set(word, values...)
}

func badRepeat(value string) *event.Error {
	return event.Usagef("repeat", "not a whole number from 1 on").WithValue(value)
}

// mostJobs limits Jobs: each is a run of the command, with rules and queues of its
// own in the kernel.
const mostJobs = 64

func badJobs(value string) *event.Error {
	return event.Usagef("jobs", "not a whole number from 1 to %d", mostJobs).WithValue(value).
		WithAdvice("Give the number of cases to try at the same time, such as 4.")
}

// Names are the names of the cases, in the order in which they are tried. Each is
// unique: of several with the same faults all but the first have a number.
func (s *Spec) Names() []string { return names(s.cases()) }

func (s *Spec) cases() []Case {
	if s.Cases == nil {
		return DefaultCases()
	}
	return s.Cases
}

// runs is how often the command runs in each case.
func (s *Spec) runs() int { return max(1, s.Repeat) }

// jobs is how many cases are tried at the same time.
func (s *Spec) jobs() int { return max(1, s.Jobs) }

// chooses reports whether the target says which connections are struck.
func (s *Spec) chooses() bool {
	pick := s.Base.Target.Pick()
	pick.NewOnly = false
	return pick != target.Pick{}
}

// Validate returns all that is wrong with the Spec as far as it can be known
// without asking anybody: no name is looked up, no namespace opened. Nil means
// nothing.
func (s *Spec) Validate() (problems event.Problems) {
	add := func(e *event.Error) { problems = append(problems, e) }
	if s.PlanFile != "" && len(s.Typed) > 0 {
		add(event.Usagef("plan", "%s and %s both name the faults: give one", event.Field("plan"), event.Field("faults")))
	}
	if s.Cases != nil && len(s.Cases) == 0 {
		add(event.Usagef("faults", "there is no fault among them"))
	}
	for _, c := range s.cases() {
		if e := s.validateCase(c.complete()); e != nil {
			add(e)
		}
	}
	if s.Repeat < 0 {
		add(badRepeat(strconv.Itoa(s.Repeat)))
	}
	if s.Jobs < 0 || s.Jobs > mostJobs {
		add(badJobs(strconv.Itoa(s.Jobs)))
	}
	if d := s.Timeout; d != nil && *d < 0 {
		add(event.Usagef("timeout", "is negative").WithValue(d.String()))
	}
	if len(s.Base.Command) == 0 {
		add(event.Usagef("", "which command? Write it behind --, such as: faultctl verify -- go test ./...").WithAdvice("All flags stand before the --."))
	}
	for _, word := range []struct {
		name  event.Field
		given bool
	}{
		{"fault", len(s.Base.Faults) > 0}, {"duration", s.Base.Duration != nil}, {"start-after", s.Base.StartAfter != 0}, {"timeout", s.Base.Timeout != nil},
	} {
		if word.given {
			add(event.Usagef(word.name, "cannot be what all cases have in common: each brings its faults, which last as long as the command"))
		}
	}
	for _, e := range s.Base.Validate() {
		if e.Field != "fault" || len(s.Base.Faults) > 0 { // the cases bring them
			add(e)
		}
	}
	return problems
}

// validateCase judges the faults of a case. It returns nil if nothing is wrong.
func (s *Spec) validateCase(c Case) *event.Error {
	if len(c.Faults) == 0 {
		return s.caseError(c, "no fault is named")
	}
	var names []string
	var models []faults.Model
	for _, f := range c.Faults {
		m, err := f.Model()
		if err != nil {
			return s.caseError(c, "%w", err).WithAdvice("faultctl faults " + f.Name + " explains every setting.")
		}
		names, models = append(names, f.Name), append(models, m)
	}
	if err := faults.Contradiction(names, models); err != nil {
		return s.caseError(c, "these faults contradict each other: %w", err)
	}
	return nil
}

// caseError is an error about a case, that says where it was named.
func (s *Spec) caseError(c Case, format string, args ...any) *event.Error {
	if c.Line > 0 {
		return planError(s.PlanFile, "line %d: "+format, append([]any{c.Line}, args...)...)
	}
	return event.Usagef("faults", format, args...)
}

// CommandLine is one line that repeats the whole.
func (s *Spec) CommandLine() string {
	line := []string{"faultctl", "verify"}
	given := func(word string, values ...string) {
		for _, v := range values {
			line = append(line, "--"+word, place.Quote(v))
		}
	}
	said := func(words ...string) {
		for _, word := range words {
			w, _ := experiment.FindWord(word)
			switch values := s.Base.Get(word); {
			case values != nil && w.Kind == experiment.Switch:
				line = append(line, "--"+word)
			default:
				given(word, values...)
			}
		}
	}
	for _, w := range experiment.Words {
		if w.Group == experiment.OfTarget {
			said(w.Name)
		}
	}
	said("resolve-every", "queues", "user", "isolate")
	switch {
	case s.PlanFile != "":
		given("plan", s.PlanFile)
	case s.Typed != nil:
		given("faults", s.Typed...)
	case s.Cases != nil:
		given("plan", "-")
		line = append(s.printed(), line...)
	}
	if s.Timeout != nil {
		given("timeout", words.ShortDuration(*s.Timeout))
	}
	if s.Repeat > 0 {
		given("repeat", strconv.Itoa(s.Repeat))
	}
	if s.Jobs > 0 {
		given("jobs", strconv.Itoa(s.Jobs))
	}
	said("expect-fired", "allow-idle", "may-idle", "seed")
	line = append(line, "--")
	for _, w := range place.Afresh(s.Base.Command) {
		line = append(line, place.Quote(w))
	}
	return strings.Join(line, " ")
}

// printed are the words that hand the cases to the standard input of what
// follows, where nobody typed them.
func (s *Spec) printed() []string {
	words := []string{"printf", `'%s\n'`}
	for _, c := range s.Cases {
		words = append(words, place.Quote(c.Name()))
	}
	return append(words, "|")
}
