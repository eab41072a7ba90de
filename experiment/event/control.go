package event

import "time"

// Actor is a process that changed a run from outside it.
type Actor struct {
	UID int `json:"uid" doc:"the user of that process"`
	PID int `json:"pid" doc:"its process ID; 0 if it is in a PID namespace that cannot be seen"`
}

// Changed says that a run was changed.
type Changed struct {
	Head
	Set List[string] `json:"set" doc:"the new values, as name=value: percent=20, fault.by=50ms"`
	By  *Actor       `json:"by,omitempty" doc:"who changed it; absent: the program itself"`
}

// Paused says that no packet is judged until the run is resumed.
type Paused struct {
	Head
	By *Actor `json:"by,omitempty" doc:"who paused it; absent: the program itself"`
}

// Resumed says that the next matching packet is judged again.
type Resumed struct {
	Head
	By *Actor `json:"by,omitempty" doc:"who resumed it; absent: the program itself"`
}

// Picked says that somebody had the faults strike one connection.
type Picked struct {
	Head
	Flow   Ends   `json:"flow" doc:"the connection"`
	Moment string `json:"when" doc:"when its fault acts: next packet, of either end; as set, from its next packet on as the settings say; already, it has acted before"`
	By     *Actor `json:"by,omitempty" doc:"who asked for it; absent: the program itself"`
}

// Spared says that somebody had the faults leave one connection alone from then on.
type Spared struct {
	Head
	Flow Ends   `json:"flow" doc:"the connection"`
	By   *Actor `json:"by,omitempty" doc:"who asked for it; absent: the program itself"`
}

// Stopped says that somebody outside stopped a run, which ends cleanly now.
type Stopped struct {
	Head
	By *Actor `json:"by,omitempty" doc:"who stopped it; absent: the program itself"`
}

// Unsteady says that the check of a run's steady state failed. The run ends when it has
// failed Of times in a row.
type Unsteady struct {
	Head
	Check string `json:"check" doc:"what was checked: a URL or a command"`
	Fails int    `json:"fails" doc:"how often it has failed in a row"`
	Of    int    `json:"of" doc:"how often in a row end the run"`
	Says  string `json:"says" doc:"why it failed"`
}

// Lost says that a reader was too slow and missed events. Only that reader gets
// it.
type Lost struct {
	Head
	Events uint64 `json:"events" doc:"how many events the reader missed"`
}

func (Changed) Name() string  { return "changed" }
func (Paused) Name() string   { return "paused" }
func (Resumed) Name() string  { return "resumed" }
func (Picked) Name() string   { return "picked" }
func (Spared) Name() string   { return "spared" }
func (Stopped) Name() string  { return "stopped" }
func (Unsteady) Name() string { return "unsteady" }
func (Lost) Name() string     { return "lost" }

func (e Changed) with(h Head) Event  { e.Head = h; return e }
func (e Paused) with(h Head) Event   { e.Head = h; return e }
func (e Resumed) with(h Head) Event  { e.Head = h; return e }
func (e Picked) with(h Head) Event   { e.Head = h; return e }
func (e Spared) with(h Head) Event   { e.Head = h; return e }
func (e Stopped) with(h Head) Event  { e.Head = h; return e }
func (e Unsteady) with(h Head) Event { e.Head = h; return e }
func (e Lost) with(h Head) Event     { e.Head = h; return e }

// Stamp is the event with its time and name, as Encode writes it.
func Stamp(at time.Time, e Event) Event {
	if _, is := e.(Unknown); is {
		return e
	}
	return e.with(Head{Time{at}, e.Name()})
}
