package event

// ScenarioRule is a fault entry of a scenario: its connections and its times.
type ScenarioRule struct {
	Name string `json:"name" doc:"the name of the entry"`
	Rule
	NetNS    string `json:"netns" doc:"the network namespace, as in the started event of inject"`
	Start    string `json:"start" doc:"when it begins, from the start of the timeline"`
	Duration string `json:"duration" doc:"how long it lasts"`
	MustFire uint64 `json:"must_fire" doc:"on how many connections each of its faults must act"`
}

// ScenarioStarted is the first event of scenario run.
type ScenarioStarted struct {
	Head
	Scenario  string             `json:"scenario" doc:"the name of the scenario"`
	File      string             `json:"file" doc:"its file"`
	Faults    List[string]       `json:"faults" doc:"the names of the faults, in order"`
	Seed      uint64             `json:"seed" doc:"repeats the choice of connections"`
	Version   string             `json:"version" doc:"the version of faultctl"`
	Rules     List[ScenarioRule] `json:"rules" doc:"the entries of the file, in order; rule in other events is the position in this list, counted from 0"`
	Probes    List[string]       `json:"probes" doc:"the names of the probes"`
	Protected List[Pair]         `json:"protected" doc:"connections that are never touched, even if they match"`
	Duration  string             `json:"duration" doc:"how long the timeline is"`
	Deadline  string             `json:"deadline" doc:"when everything has ended in any case, from the start"`
	Repeat    string             `json:"repeat" doc:"the command line that repeats the run"`
	AllowIdle bool               `json:"allow_idle,omitempty" doc:"whether a fault may never fire"`
}

// Phase says that a phase of a scenario begins.
type Phase struct {
	Head
	Phase string `json:"phase" doc:"\"before\", \"during\" or \"after\""`
}

// Step is a step of the timeline.
type Step struct {
	Head
	Entry   string   `json:"name" doc:"the name of the entry"`
	Rule    int      `json:"rule" doc:"its position among the entries, counted from 0"`
	Do      string   `json:"do" doc:"what happens: \"start\", \"stop\" or \"percent\" (the share of connections changes)"`
	At      string   `json:"at" doc:"when, from the start of the timeline"`
	Percent *float64 `json:"percent,omitempty" doc:"the share of connections from now on, from 0 to 100"` // nil: not said
	Note    string   `json:"note,omitempty" doc:"why the fault did not start, in words"`
}

// Probe is one try of a probe.
type Probe struct {
	Head
	Probe  string `json:"probe" doc:"the name of the probe"`
	Phase  string `json:"phase" doc:"the phase it was tried in"`
	OK     bool   `json:"ok" doc:"whether it passed"`
	Took   string `json:"took" doc:"how long the try took"`
	Reason string `json:"reason,omitempty" doc:"why it failed"`
}

// ScenarioEnded sums up one fault of an entry of a scenario.
type ScenarioEnded struct {
	Head
	Totals
	Entry string `json:"name" doc:"the name of the entry"`
	Rule  int    `json:"rule" doc:"its position among the entries, counted from 0"`
}

// ProbeEnded sums up one probe.
type ProbeEnded struct {
	Head
	Probe     string `json:"probe" doc:"the name of the probe"`
	OK        bool   `json:"ok" doc:"whether it passed as often as it must, in every phase"`
	Tried     uint64 `json:"tried" doc:"how often it was tried during the timeline"`
	Failed    uint64 `json:"failed" doc:"how often it failed then"`
	Tolerance string `json:"tolerance" doc:"how often it may fail then: a number, or a percentage of the tries"`
	Recovered string `json:"recovered,omitempty" doc:"how long it took until it passed after the timeline"`
}

// ScenarioResult is the last event of scenario run.
type ScenarioResult struct {
	Head
	Scenario string       `json:"scenario" doc:"the name of the scenario"`
	Code     Code         `json:"code" doc:"the exit code"`
	Why      List[string] `json:"why" doc:"the reasons for a code other than 0, in whole sentences"`
	Duration string       `json:"duration" doc:"how long everything took"`
}

// FileCheck is the result of scenario validate for one file. It is not an event:
// its line has no time and no name.
type FileCheck struct {
	File     string            `json:"file" doc:"the file"`
	OK       bool              `json:"ok" doc:"whether the file is valid"`
	Problems List[FileProblem] `json:"problems" doc:"what is wrong, in the order of the file"`
	Warnings List[FileProblem] `json:"warnings,omitempty" doc:"what the file sets out to do and cannot happen; it is valid all the same"`
}

// FileProblem is something wrong with a file.
type FileProblem struct {
	File    string `json:"file" doc:"the file"`
	Line    int    `json:"line" doc:"the line, counted from 1"`
	Column  int    `json:"column" doc:"the column, counted from 1"`
	Path    string `json:"path" doc:"the key, such as faults[0].target.to; empty for the file as a whole"`
	Message string `json:"message" doc:"what is wrong"`
	Advice  string `json:"advice,omitempty" doc:"what to do about it"`
}

func (ScenarioStarted) Name() string { return "started" }
func (Phase) Name() string           { return "phase" }
func (Step) Name() string            { return "step" }
func (Probe) Name() string           { return "probe" }
func (ScenarioEnded) Name() string   { return "ended" }
func (ProbeEnded) Name() string      { return "probe-ended" }
func (ScenarioResult) Name() string  { return "result" }

func (e ScenarioStarted) with(h Head) Event { e.Head = h; return e }
func (e Phase) with(h Head) Event           { e.Head = h; return e }
func (e Step) with(h Head) Event            { e.Head = h; return e }
func (e Probe) with(h Head) Event           { e.Head = h; return e }
func (e ScenarioEnded) with(h Head) Event   { e.Head = h; return e }
func (e ProbeEnded) with(h Head) Event      { e.Head = h; return e }
func (e ScenarioResult) with(h Head) Event  { e.Head = h; return e }
