package experiment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector"
)

// Validate returns all that is wrong with the Spec, as far as that can be
// checked without the host: it looks up no names and opens no namespace. Nil
// means that nothing is wrong.
func (s *Spec) Validate() event.Problems {
	_, problems := s.models()
	problems = append(problems, s.Target.validate()...)
	problems = append(problems, s.validateRun()...)
	return problems
}

// Models makes the faults of the Spec.
func (s *Spec) models() ([]injector.NamedModel, event.Problems) {
	var problems event.Problems
	if len(s.Faults) == 0 {
		problems = append(problems, usage("fault", "no fault is named").
			WithAdvice("There are "+strings.Join(faults.Names(), ", ")+"; faultctl faults says what they do."))
	}
	var named []injector.NamedModel
	var models []faults.Model
	var names []string
	for _, f := range s.Faults {
		m, err := f.Model()
		if err != nil {
			problems = append(problems, faultError(f, err))
			continue
		}
		named = append(named, injector.NamedModel{Name: f.Name, Model: m})
		models, names = append(models, m), append(names, f.Name)
	}
	if len(problems) == 0 {
		if err := faults.Contradiction(names, models); err != nil {
			problems = append(problems, usage("fault", "these faults contradict each other: %w", err))
		}
	}
	return named, problems
}

// faultError is an error about a fault or one of its settings.
func faultError(f faults.Spec, err error) *event.Error {
	var setting *faults.SettingError
	var unknown *faults.UnknownFaultError
	switch {
	case errors.As(err, &unknown):
		return usage("fault", "%w", err).WithAdvice("There are " + strings.Join(faults.Names(), ", ") + "; faultctl faults NAME explains one.")
	case errors.As(err, &setting):
		advice := "faultctl faults " + cmp.Or(setting.Fault, f.Name) + " explains every setting."
		if setting.Knob == "" {
			return usage("fault", "%w", err).WithAdvice(advice)
		}
		return settingError(event.Field("fault."+setting.Knob), cmp.Or(setting.Fault, f.Name), setting.Err, err).WithAdvice(advice)
	}
	return usage("fault", "%w", err).WithAdvice("faultctl faults " + f.Name + " explains every setting.")
}

// settingError is an error about a setting. If the setting has a position of its
// own, the message says only what is wrong; otherwise it names the fault too.
// errors.As finds the whole error in it.
func settingError(field event.Field, fault string, what, wrapped error) *event.Error {
	var unknown *faults.UnknownKnobError
	if errors.As(what, &unknown) {
		return usage("fault", "%w", detail{what, wrapped})
	}
	return usage(field, "%w", detail{what, wrapped}).WithOf(fault)
}

// detail is an error that says what is wrong, and is what it is part of.
type detail struct {
	error
	whole error
}

func (d detail) Unwrap() error { return d.whole }

// somewhere stands for the addresses of a name that is not looked up.
var somewhere = netip.MustParseAddr("192.0.2.1")

func (t *Target) validate() (problems event.Problems) {
	named := false
	m, problems := readMatcher(context.Background(), t, func(context.Context, string) ([]netip.Addr, error) {
		named = true
		return []netip.Addr{somewhere}, nil
	})
	if len(problems) == 0 && !named {
		if e := unmeetable(&m); e != nil {
			problems = append(problems, e)
		}
	}
	switch {
	case t.NetNS != "" && t.PID != 0:
		problems = append(problems, bothNetNS("netns", t.NetNS, "pid", strconv.Itoa(t.PID)))
	case t.Container != "" && t.NetNS != "":
		problems = append(problems, bothNetNS("container", t.Container, "netns", t.NetNS))
	case t.Container != "" && t.PID != 0:
		problems = append(problems, bothNetNS("container", t.Container, "pid", strconv.Itoa(t.PID)))
	}
	if t.PID < 0 {
		problems = append(problems, usage("pid", "not the number of a process").WithValue(strconv.Itoa(t.PID)))
	}
	if p := t.Percent; p != nil && !(*p >= 0 && *p <= 100) {
		problems = append(problems, usage("percent", "lies outside 0 to 100").WithValue(fmt.Sprint(*p)))
	}
	if t.PercentEvery != 0 && (t.PercentEvery < leastDraws || t.Percent == nil) {
		problems = append(problems, usage("percent", "a share is drawn again after %v at least", leastDraws).WithValue(t.PercentEvery.String()))
	}
	return problems
}

func (s *Spec) validateRun() (problems event.Problems) {
	problems = s.validateWhile()
	if s.Queues < 0 || s.Queues > MaxQueues {
		problems = append(problems, usage("queues", "not a whole number from 1 to %d", MaxQueues).WithValue(strconv.Itoa(s.Queues)).
			WithAdvice("Each queue has a thread, so more queues than processors do not help. The default is 1."))
	}
	for _, d := range []struct {
		word event.Field
		is   *time.Duration
	}{{"duration", s.Duration}, {"start-after", &s.StartAfter}, {"resolve-every", s.ResolveEvery}, {"timeout", s.Timeout}} {
		if d.is != nil && *d.is < 0 {
			problems = append(problems, usage(d.word, "is negative").WithValue(d.is.String()))
		}
	}
	if len(s.Command) == 0 && s.Isolate {
		problems = append(problems, usage("isolate", "says where a command runs, and there is none"))
	}
	if len(s.Command) == 0 && s.User != "" {
		problems = append(problems, usage("user", "says who runs a command, and there is none"))
	}
	if s.Isolate && s.Target.elsewhere() {
		problems = append(problems, usage("isolate", "%s and %s exclude each other: the command runs in that network namespace, or in one of its own", event.Field("isolate"), s.Target.whichNetNS()))
	}
	return problems
}

// whichNetNS is the word that names the network namespace of the target.
func (t *Target) whichNetNS() event.Field {
	switch {
	case t.Container != "":
		return "container"
	case t.PID != 0:
		return "pid"
	}
	return "netns"
}

func bothNetNS(one event.Field, its string, other event.Field, others string) *event.Error {
	return usage(one, "%s %s and %s %s both name a network namespace: give one", one, its, other, others)
}
