package experiment

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/internal/words"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
)

// A Word is one thing that a Spec may say: a flag of the command line, a key of
// a file. Every door reads and writes Specs by this one table.
type Word struct {
	Name        string
	Placeholder string // what its value is called in help; empty for a switch
	Help        string
	Kind        WordKind
	Group       WordGroup

	form form // how documents write a value
	set  func(s *Spec, values []string) error
	get  func(s *Spec) []string // nil: the Spec does not say it
}

// WordKind says which values a word takes.
type WordKind int

// The kinds of words.
const (
	One    WordKind = iota // one value
	Many                   // one value or several
	Switch                 // true or false
)

// WordGroup says what a word is about.
type WordGroup int

// The groups of words.
const (
	OfTarget  WordGroup = iota // which connections
	OfRun                      // how the run goes
	OfOutput                   // what it leaves
	OfCommand                  // the command under the faults
)

// MaxQueues is how many queues a run may have.
const MaxQueues = 16

// Words lists what a Spec may say besides its faults, in the order in which
// help shows it.
var Words = []Word{
	{Name: "to", Placeholder: "[HOST|CIDR]:PORTS", Kind: Many, Help: "the service end: :5432, 10.0.0.5:80,443, [fd00::5]:8000-8100; ! excludes; repeatable",
		set: func(s *Spec, v []string) (err error) { s.Target.To, err = fields(v); return },
		get: func(s *Spec) []string { return s.Target.To }},
	{Name: "from", Placeholder: "HOST|CIDR", Kind: Many, Help: "the client end; repeatable",
		set: func(s *Spec, v []string) (err error) { s.Target.From, err = fields(v); return },
		get: func(s *Spec) []string { return s.Target.From }},
	text("netns", "NAME|PATH", OfTarget, "work in that network namespace", func(s *Spec) *string { return &s.Target.NetNS }),
	{Name: "pid", Placeholder: "PID", Help: "work in that process's network namespace",
		set: func(s *Spec, v []string) (err error) {
			if s.Target.PID, err = strconv.Atoi(v[0]); err != nil || s.Target.PID <= 0 {
				return errors.New("not the number of a process")
			}
			return nil
		},
		get: func(s *Spec) []string { return unless(s.Target.PID == 0, strconv.Itoa(s.Target.PID)) }},
	text("container", "NAME|ID", OfTarget, "work in that container's network namespace, and follow it when it is restarted (Docker, Podman)", func(s *Spec) *string { return &s.Target.Container }),
	text("cgroup", "PATH", OfTarget, "only connections of local processes in that cgroup v2", func(s *Spec) *string { return &s.Target.Cgroup }),
	text("uid", "USER", OfTarget, "only connections of local processes of that user", func(s *Spec) *string { return &s.Target.UID }),
	{Name: "percent", Placeholder: "P[/D]", form: percentForm, Help: "this share of the connections, seeded and sticky; with /D, such as 5%/1m, drawn anew each time that D has passed",
		set: func(s *Spec, v []string) error {
			share, again, recurs := strings.Cut(v[0], "/")
			p, err := parsePercent(share)
			s.Target.Percent, s.Target.PercentEvery = &p, 0
			if err == nil && recurs {
				s.Target.PercentEvery, err = parseDraws(again)
			}
			return err
		},
		get: func(s *Spec) []string {
			if s.Target.Percent == nil {
				return nil
			}
			text := strconv.FormatFloat(*s.Target.Percent, 'f', -1, 64)
			if d := s.Target.PercentEvery; d > 0 {
				text += "%/" + words.ShortDuration(d)
			}
			return []string{text}
		}},
	count("every", 1, "every Nth connection", func(s *Spec) *uint64 { return &s.Target.Every }),
	count("first", 1, "only the first N connections", func(s *Spec) *uint64 { return &s.Target.First }),
	count("skip", 0, "skip the first N connections", func(s *Spec) *uint64 { return &s.Target.Skip }),
	count("max-connections", 1, "stop choosing after N: the blast radius", func(s *Spec) *uint64 { return &s.Target.MaxConnections }),
	toggle("new-only", OfTarget, "skip connections that were open before", func(s *Spec) *bool { return &s.Target.NewOnly }),

	optional("duration", OfRun, "end after D, such as 60s; 0: no limit", func(s *Spec) **time.Duration { return &s.Duration }),
	{Name: "start-after", Placeholder: "D", Group: OfRun, Help: "wait before installing the rules",
		set: func(s *Spec, v []string) (err error) { s.StartAfter, err = words.ParseDuration(v[0]); return },
		get: func(s *Spec) []string { return unless(s.StartAfter == 0, words.ShortDuration(s.StartAfter)) }},
	optional("resolve-every", OfRun, "how often host names are looked up again (default 30s; 0: never)", func(s *Spec) **time.Duration { return &s.ResolveEvery }),
	{Name: "seed", Placeholder: "N", Group: OfRun, Help: "repeat a run: same seed, same choices",
		set: func(s *Spec, v []string) error {
			n, err := strconv.ParseUint(v[0], 10, 64)
			if err != nil {
				return errors.New("not a whole number from 0 on")
			}
			s.Seed = &n
			return nil
		},
		get: func(s *Spec) []string {
			if s.Seed == nil {
				return nil
			}
			return []string{strconv.FormatUint(*s.Seed, 10)}
		}},
	{Name: "queues", Placeholder: "N", Group: OfRun, Help: "spread the pairs of hosts over N queues and threads, at most 16 (default 1)",
		set: func(s *Spec, v []string) (err error) {
			if s.Queues, err = strconv.Atoi(v[0]); err != nil || s.Queues < 1 || s.Queues > MaxQueues {
				return fmt.Errorf("not a whole number from 1 to %d", MaxQueues)
			}
			return nil
		},
		get: func(s *Spec) []string { return unless(s.Queues == 0, strconv.Itoa(s.Queues)) }},
	text("while", "URL|CMD", OfRun, "end as soon as this fails: a URL that must answer, or a shell command that must exit 0; it is checked before anything is touched, too", func(s *Spec) *string { return &s.While }),
	optional("while-every", OfRun, "how often --while is checked (default 1s)", func(s *Spec) **time.Duration { return &s.WhileEvery }),
	inGroup(OfRun, count("while-fails", 1, "end when it has failed N times in a row (default 3)", func(s *Spec) *uint64 { return &s.WhileFails })),
	toggle("expect-fired", OfRun, "exit 4 if a fault never fired", func(s *Spec) *bool { return &s.ExpectFired }),
	toggle("allow-idle", OfRun, "turn --expect-fired off", func(s *Spec) *bool { return &s.AllowIdle }),
	{Name: "may-idle", Placeholder: "FAULT", Kind: Many, Group: OfRun, Help: "turn --expect-fired off for that fault; repeatable",
		set: func(s *Spec, v []string) (err error) {
			if s.MayIdle, err = fields(v); err != nil {
				return err
			}
			for _, name := range s.MayIdle {
				if _, err := faults.Find(name); err != nil {
					return err
				}
			}
			return nil
		},
		get: func(s *Spec) []string { return s.MayIdle }},

	text("pcap", "FILE", OfOutput, "write a pcapng capture; a comment on each packet says what was done to it and why", func(s *Spec) *string { return &s.Pcap }),
	{Name: "report", Placeholder: "FILE", Kind: Many, Group: OfOutput, Help: "write a report: FILE.html, .xml (JUnit), .md or .json; repeatable",
		set: func(s *Spec, v []string) error { s.Reports = slices.Clone(v); return nil },
		get: func(s *Spec) []string { return s.Reports }},
	text("metrics", "ADDR", OfOutput, "serve counters to Prometheus, such as 127.0.0.1:9187", func(s *Spec) *string { return &s.Metrics }),

	optional("timeout", OfCommand, "end CMD after D: SIGTERM, and SIGKILL 5s later", func(s *Spec) **time.Duration { return &s.Timeout }),
	text("user", "NAME|UID", OfCommand, "run CMD as that user, with the user's groups and home (default: the user who called sudo)", func(s *Spec) *string { return &s.User }),
	toggle("isolate", OfCommand, "run CMD in a network namespace of its own that has loopback only; always so without root", func(s *Spec) *bool { return &s.Isolate }),
}

// FindWord returns the word of that name.
func FindWord(name string) (Word, bool) {
	i := slices.IndexFunc(Words, func(w Word) bool { return w.Name == name })
	if i < 0 {
		return Word{}, false
	}
	return Words[i], true
}

// Set has the Spec say a word with the values that somebody typed: one, or
// several where the word takes them; true or false for a switch. The error is an
// *event.Error that is about the word.
func (s *Spec) Set(word string, values ...string) error {
	w, ok := FindWord(word)
	if !ok {
		return usage("", "there is no setting %q", word)
	}
	switch {
	case len(values) == 0 || w.Kind != Many && slices.Contains(values, ""):
		return emptyWord(event.Field(word))
	case w.Kind != Many && len(values) > 1:
		return usage(event.Field(word), "takes one value, and has %d", len(values))
	}
	if err := w.set(s, values); err != nil {
		return badValue(event.Field(word), strings.Join(values, " "), err)
	}
	return nil
}

// Get returns the values that the Spec has for a word, as people type them; nil
// if it does not say it.
func (s *Spec) Get(word string) []string {
	w, ok := FindWord(word)
	if !ok {
		return nil
	}
	return w.get(s)
}

func text(name, placeholder string, group WordGroup, help string, at func(*Spec) *string) Word {
	return Word{Name: name, Placeholder: placeholder, Group: group, Help: help,
		set: func(s *Spec, v []string) error { *at(s) = v[0]; return nil },
		get: func(s *Spec) []string { return unless(*at(s) == "", *at(s)) }}
}

func count(name string, least uint64, help string, at func(*Spec) *uint64) Word {
	return Word{Name: name, Placeholder: "N", Help: help,
		set: func(s *Spec, v []string) error {
			n, err := strconv.ParseUint(v[0], 10, 64)
			if err != nil || n < least {
				return fmt.Errorf("not a whole number from %d on", least)
			}
			*at(s) = n
			return nil
		},
		get: func(s *Spec) []string { return unless(*at(s) == 0, strconv.FormatUint(*at(s), 10)) }}
}

func inGroup(g WordGroup, w Word) Word {
	w.Group = g
	return w
}

func toggle(name string, group WordGroup, help string, at func(*Spec) *bool) Word {
	return Word{Name: name, Kind: Switch, form: switchForm, Group: group, Help: help,
		set: func(s *Spec, v []string) (err error) {
			if *at(s), err = strconv.ParseBool(v[0]); err != nil {
				return errors.New("neither true nor false")
			}
			return nil
		},
		get: func(s *Spec) []string { return unless(!*at(s), "true") }}
}

func optional(name string, group WordGroup, help string, at func(*Spec) **time.Duration) Word {
	return Word{Name: name, Placeholder: "D", form: durationForm, Group: group, Help: help,
		set: func(s *Spec, v []string) error {
			d, err := words.ParseDuration(v[0])
			*at(s) = &d
			return err
		},
		get: func(s *Spec) []string {
			if *at(s) == nil {
				return nil
			}
			return []string{words.ShortDuration(**at(s))}
		}}
}

// unless is the value alone, or nothing.
func unless(unset bool, value string) []string {
	if unset {
		return nil
	}
	return []string{value}
}

// fields splits values at blanks, so that one variable of the environment can
// hold several. Nothing is an error: "$TARGET" of a shell where it is not set
// must not mean every connection.
func fields(values []string) ([]string, error) {
	var all []string
	for _, v := range values {
		all = append(all, strings.Fields(v)...)
	}
	if len(all) == 0 {
		return nil, errEmpty
	}
	return all, nil
}

// leastDraws is the shortest time between two draws: each asks about every connection
// again.
const leastDraws = 100 * time.Millisecond

// parseDraws reads how often lots are drawn: 1m, or m for one of that unit.
func parseDraws(text string) (time.Duration, error) {
	if text != "" && strings.Trim(text, "0123456789.") == text {
		text = "1" + text // 5%/m
	}
	d, err := words.ParseDuration(text)
	if err == nil && d < leastDraws {
		err = fmt.Errorf("a share is drawn again after %v at least: write 5%%/1m", leastDraws)
	}
	return d, err
}

// parsePercent reads 10, 10% or 0.5.
func parsePercent(text string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	switch {
	case err != nil || math.IsNaN(v):
		return 0, errors.New("not a number from 0 to 100")
	case v < 0 || v > 100:
		return 0, errors.New("lies outside 0 to 100")
	}
	return v, nil
}
