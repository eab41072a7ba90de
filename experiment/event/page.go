package event

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// section is what the page says of one event. Its fields are those of the type
// of the example.
type section struct {
	title   string
	says    string
	example any // an Event, or a FileCheck
}

// group is a part of the page.
type group struct {
	title    string
	says     string
	sections []section
}

// exampleTime is when the events of the examples happened.
var exampleTime = time.Date(2026, 3, 4, 12, 0, 1, 500_000_005, time.UTC)

var (
	exampleEnds   = Ends{"10.0.0.1:43210", "10.0.0.5:5432"}
	exampleTotals = Totals{Fault: "reset", Flows: 2, Chosen: 1, Fired: 1, Acted: 2, Diverted: 3, Dropped: 1, Forged: 1, Outcomes: Outcomes{Struck: 1, Unfelt: 1}, Duration: "1.5s"}
	exampleShare  = 50.0
)

var page = []group{
	{"Events of `inject`", "`run`, the cases of `verify`, and scenarios have these too, except that `verify` and scenarios have a `started` of their own, and scenarios an `ended`.", []section{
		{"started", "The run begins. Nothing has been touched yet.", Started{
			Faults: List[string]{"idle-expire"}, Seed: 42, Version: "v1.0.0", NetNS: "self",
			Rules:     List[Rule]{{List[string]{":5432", "!10.0.0.9"}, List[string]{"10.0.0.0/8"}, List[string]{"idle-expire:after=300s"}}},
			Protected: List[Pair]{{"10.0.0.1:4000", "10.0.0.2:22"}}, Duration: "1m0s",
			Repeat: "faultctl inject idle-expire --after 300s --to :5432 --to '!10.0.0.9' --from 10.0.0.0/8 --duration 60s --seed 42",
		}},
		{"ready", "The rules are in: the very next packet that matches is judged. An `inject` that follows a container says it again in each network namespace that the container gets, and a scenario says it each time that an entry starts.", Ready{}},
		{"flow", "A connection was chosen.", Flow{Flow: exampleEnds, OpenBefore: true}},
		{"fired", "A fault acted. A fault that acts in several ways, or on both ends in turn, has an event for each. What it does to a connection again for the same reason, as to each retransmission, is counted in `acted`, and has none.", Fired{
			Fault: "idle-expire", Flow: exampleEnds, Action: "rst", To: "client", Reason: "it was idle",
		}},
		{"outcome", "What the strikes of a fault on a connection came to is known, or the run ends. [VERDICTS.md](VERDICTS.md) explains the steps.", Outcome{
			Fault: "idle-expire", Flow: exampleEnds, Struck: true,
			Sent:     OutcomeStep{Answer: "yes", Evidence: "it was sent without an error", After: "0s"},
			Accepted: OutcomeStep{Answer: "yes", Evidence: "the end answers that it has no such connection", After: "2.1ms"},
			Felt:     OutcomeStep{Answer: "no", Evidence: "nothing was outstanding, and nothing was sent afterwards"},
		}},
		{"target", "What a host name or a container stands for has changed.", Target{Target: "db.internal", Says: "is 10.0.0.5, 10.0.0.6 now; it was 10.0.0.5"}},
		{"ended", "The run is over, and everything is as it was before. There is one such event for each fault. Some of the counts are there only if they are not 0. Where one of them, `queue_overruns` or `events_lost` is not 0, the events and the other counts do not show all that happened.", Ended{Totals: exampleTotals}},
	}},
	{"Events of a run that is changed while it goes on", "The program that starts a run can change, pause and resume it, and so can `faultctl set`, `pause`, `resume` and `stop`.", []section{
		{"changed", "The run does something else from now on: its target, its share, or the settings of its faults.", Changed{Set: List[string]{"percent=20"}, By: &Actor{UID: 1000, PID: 4242}}},
		{"paused", "Nothing more is judged until the run is resumed. What was held back has left.", Paused{}},
		{"resumed", "The next packet that matches is judged again.", Resumed{}},
		{"picked", "Somebody has the faults strike one connection, as `top` does.", Picked{}},
		{"spared", "Somebody has the faults leave one connection alone until it ends.", Spared{}},
		{"unsteady", "The check of `--while` failed. When it has failed `of` times in a row, the run ends.", Unsteady{Check: "http://127.0.0.1:8080/health", Fails: 3, Of: 3, Says: "status 503"}},
		{"stopped", "Somebody stopped the run from outside: it ends cleanly, as by Ctrl-C.", Stopped{By: &Actor{UID: 1000, PID: 4242}}},
		{"lost", "Whoever reads the events of a run too slowly missed some. Only that reader is told.", Lost{Events: 12}},
	}},
	{"Events of `run`", "", []section{
		{"command", "The command has been started. Every event of what it does comes later.", Command{Command: List[string]{"sh", "-c", "cat; echo hello"}}},
		{"exited", "The command has ended.", Exited{Status: 0, How: "exit 0"}},
	}},
	{"Events of `verify`", "Behind its `case`, each run has the events of `run` from `ready` to `ended`.", []section{
		{"started of `verify`", "Verify begins.", VerifyStarted{
			Faults: List[string]{"reset:at=request"}, Seed: 42, Version: "v1.0.0", NetNS: "self",
			Rules:   List[Rule]{{List[string]{":5432"}, nil, List[string]{"reset:at=request"}}},
			Command: List[string]{"./test"}, To: List[string]{":5432"}, Runs: 1,
			Repeat: "faultctl verify --faults reset --to :5432 --seed 42 -- ./test",
		}},
		{"case", "A run of the command under the faults of a case begins.", Case{Case: "reset:at=request", Repeat: "faultctl run reset --at request --to :5432 --seed 42 -- ./test"}},
		{"result of `verify`", "A case has been tried. The first one is the run without a fault.", VerifyResult{
			Case: "reset:at=request", Fault: "reset", Verdict: "survived", Exit: "exit 0", Took: "35ms",
			Repeat: "faultctl run reset --at request --to :5432 --seed 42 -- ./test",
		}},
		{"verified", "Verify is over.", Verified{Survived: 1, Healthy: true}},
	}},
	{"Events of `scenario run`", "[SCENARIOS.md](SCENARIOS.md) says how a scenario runs.", []section{
		{"started of a scenario", "The scenario begins. Nothing has been touched yet.", ScenarioStarted{
			Scenario: "golden", File: "day.yaml", Faults: List[string]{"reset"}, Seed: 7, Version: "v1.0.0",
			Rules:  List[ScenarioRule]{{Name: "cut", Rule: Rule{List[string]{":5432"}, nil, List[string]{"reset:hit=client"}}, NetNS: "self", Start: "1s", Duration: "4s", MustFire: 1}},
			Probes: List[string]{"web"}, Duration: "6s", Deadline: "46s", Repeat: "faultctl scenario run day.yaml --seed 7",
		}},
		{"phase", "A phase begins.", Phase{Phase: "during"}},
		{"step", "An entry of the scenario starts, stops or changes its share of the connections. With `--dry-run`: it would.", Step{Entry: "delay:by=5ms", Rule: 1, Do: "percent", At: "4.5s", Percent: &exampleShare}},
		{"probe", "A probe was tried.", Probe{Probe: "web", Phase: "during", Took: "1.2ms", Reason: "connection refused"}},
		{"ended of a scenario", "The timeline is over, and everything is as it was before. There is one such event for each fault of each entry.", ScenarioEnded{Totals: exampleTotals, Entry: "cut"}},
		{"probe-ended", "The sum of a probe.", ProbeEnded{Probe: "port", OK: true, Tolerance: "0", Recovered: "2s"}},
		{"result of a scenario", "The scenario is over.", ScenarioResult{Scenario: "golden", Duration: "8s"}},
	}},
	{"Events of other commands", "", []section{
		{"replayed", "`replay` has made the decisions of a recording again. It comes after the events of the command that was recorded.", Replayed{
			Connections: 1, Differences: List[Difference]{{Ordinal: 6, Came: true, Then: List[string]{"reset: rst to client, reset"}, Now: List[string]{"reset: rst to client, other"}}},
		}},
		{"explained", "`explain` says what happened to a connection.", Explained{
			Client: "10.0.0.9:40000", Server: "10.0.0.5:5432", At: "2026-03-04T12:00:01.5Z", Cause: "idle-expire", Certainty: "sure", By: "server", Frame: 412, Answers: 411, Idle: 350.2,
			Evidence: List[string]{"silence of 350 s before"}, Repeat: "faultctl inject idle-expire --after=350s --to 10.0.0.5:5432",
		}},
		{"explained-all", "`explain` has read a capture.", ExplainedAll{File: "capture.pcapng", Frames: 1204, Packets: 1204, Connections: 51, InOrder: 8}},
		{"dry-run", "What `inject`, `run` or an entry of a scenario would do.", DryRun{
			Ruleset: "table inet faultctl_1 {\n}\n", Queue: "xt's NFQUEUE target", Connections: []Ends{exampleEnds}, Repeat: "faultctl inject reset --to :5432 --seed 42",
		}},
		{"dry-run of `verify`", "A case that would be tried.", VerifyDryRun{Case: "reset:at=request", Faults: List[string]{"reset:at=request"}}},
		{"error", "faultctl failed. Every command has this event.", ErrorEvent{Code: CodeUsage, Message: "--percent 101: lies outside 0 to 100", Field: "percent"}},
	}},
	{"What `scenario validate` says", "This is not an event: it has neither `time` nor `event`.", []section{
		{"a file", "One line for each file.", FileCheck{File: "day.yaml", Problems: List[FileProblem]{{
			File: "day.yaml", Line: 4, Column: 14, Path: "faults[0].target.percent", Message: "101: lies outside 0 to 100",
		}}}},
	}},
}

// codes is what exit codes mean, for the page.
var codes = []struct {
	code Code
	says string
}{
	{CodeOK, "nothing is wrong"},
	{CodeFailure, "a failure at run time"},
	{CodeUsage, "wrong usage or configuration"},
	{CodeProbe, "an assertion, a probe or a verified command failed, or it did not end in time"},
	{CodeNeverFired, "a fault never fired, was not accepted, was not felt, or it cannot be known ([VERDICTS.md](VERDICTS.md))"},
	{CodePreflight, "a permission or a feature of the kernel is missing"},
	{CodeRefused, "a safety rail refused it"},
	{CodeNotExecutable, "`run`: the command cannot be executed"},
	{CodeNotFound, "`run`: the command was not found"},
}

// Page is docs/EVENTS.md.
func Page() string {
	var b strings.Builder
	b.WriteString("# What `-o json` says\n\n" +
		"Made from the types in `experiment/event` by `make docs`.\n\n" +
		"With `-o json`, the commands that run faults print one JSON object on each line of standard output. Each has two fields first:\n\n" +
		"| field | meaning |\n|---|---|\n" +
		"| `time` | when it happened: RFC 3339, with nanoseconds |\n" +
		"| `event` | the name of the event |\n\n" +
		"The other fields depend on the event. A later version may have other events, and more fields: ignore what you do not know.\n" +
		"Durations are written as Go writes them, such as `1m0s` or `1.5s`. A dot leads into an object, and `[]` into each element of a list:\n" +
		"`rules[].to` is the field `to` of each of the `rules`.\n")
	for _, g := range page {
		fmt.Fprintf(&b, "\n## %s\n", g.title)
		if g.says != "" {
			fmt.Fprintf(&b, "\n%s\n", g.says)
		}
		for _, s := range g.sections {
			s.write(&b)
		}
	}
	b.WriteString("\n## What `code` may be\n\n| `code` | meaning |\n|---|---|\n")
	for _, c := range codes {
		fmt.Fprintf(&b, "| %d | %s |\n", c.code, c.says)
	}
	return b.String()
}

func (s section) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n### %s\n\n%s\n", s.title, s.says)
	if rows := rowsOf(reflect.TypeOf(s.example), ""); len(rows) > 0 {
		fmt.Fprintf(b, "\n| field | meaning |\n|---|---|\n%s", strings.Join(rows, ""))
	}
	fmt.Fprintf(b, "\n```json\n%s```\n", s.line())
}

// line is the example as it is written.
func (s section) line() []byte {
	if e, is := s.example.(Event); is {
		return Encode(exampleTime, e)
	}
	line, err := compact(s.example)
	if err != nil {
		panic(err) // unreachable: the page's own values
	}
	return append(line, '\n')
}

// rowsOf are the rows of the fields of a type, and below each those of the
// objects in it. Head's fields, which all events have, have none.
func rowsOf(t reflect.Type, within string) (rows []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Type == reflect.TypeFor[Head]():
			continue
		case f.Anonymous:
			rows = append(rows, rowsOf(f.Type, within)...)
			continue
		}
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		says := flags.ReplaceAllString(quoted.Replace(f.Tag.Get("doc")), "`$0`")
		if option == "omitempty" {
			says += missing(f.Type)
		}
		rows = append(rows, fmt.Sprintf("| `%s%s` | %s |\n", within, name, says))
		switch inner := f.Type; {
		case inner.Kind() == reflect.Struct:
			rows = append(rows, rowsOf(inner, within+name+".")...)
		case inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct:
			rows = append(rows, rowsOf(inner.Elem(), within+name+"[].")...)
		}
	}
	return rows
}

// missing says when a field is left out.
func missing(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String, reflect.Pointer:
		return "; not always there"
	default:
		return "; only if it is not 0"
	}
}

// quoted makes the words in doc tags, which cannot have backquotes, code.
var (
	quoted = strings.NewReplacer(`"`, "`", "!", "`!`")
	flags  = regexp.MustCompile(`--[a-z]+`)
)
