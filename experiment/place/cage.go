package place

import "github.com/faultctl/faultctl/internal/cage"

// A Cage keeps a command and all processes that it starts together: faults
// strike only the connections of these processes, and none of them outlives
// faultctl.
type Cage = cage.Cage

// A Process is a command that was started in a Cage.
type Process = cage.Process
