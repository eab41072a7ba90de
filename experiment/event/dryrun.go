package event

// DryRun is what inject, run and scenario run say with --dry-run.
type DryRun struct {
	Head
	Ruleset     string `json:"ruleset" doc:"the rules, in the syntax of nft"`
	Queue       string `json:"queue" doc:"how this kernel hands over packets, in words"`
	Connections []Ends `json:"connections" doc:"the connections of this host that match now; null: it is not known"` // nil is null
	Unknown     string `json:"unknown,omitempty" doc:"why the connections are not known"`
	Repeat      string `json:"repeat" doc:"the command line that does it for real"`
}

// VerifyDryRun is what verify says of each case with --dry-run.
type VerifyDryRun struct {
	Head
	Case   string       `json:"case" doc:"the name of the case"`
	Faults List[string] `json:"faults" doc:"the faults with their settings"`
}

func (DryRun) Name() string       { return "dry-run" }
func (VerifyDryRun) Name() string { return "dry-run" }

func (e DryRun) with(h Head) Event       { e.Head = h; return e }
func (e VerifyDryRun) with(h Head) Event { e.Head = h; return e }
