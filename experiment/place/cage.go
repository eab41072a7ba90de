package place

import "github.com/faultctl/faultctl/internal/cage"

// A Cage keeps a command and all that it starts together: faults strike the
// connections of these processes only, and none of them outlives faultctl.
type Cage = cage.Cage
