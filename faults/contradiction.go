package faults

import "fmt"

// Contradiction reports why faults on the same connections cannot all act, or
// nil. The names and models belong together, in the order in which the faults
// are asked; the models must be valid.
func Contradiction(names []string, models []Model) error {
	for i, a := range names {
		for _, b := range names[i+1:] {
			if a == b {
				return fmt.Errorf("%s is given twice for the same connections: give it once, or give each its own target", a)
			}
		}
		s, ok := models[i].(*SYNDrop)
		if ok && s.Attempts == 0 && s.Backlog == 0 && len(names) > 1 {
			return fmt.Errorf("%s drops every SYN, so %s never sees a connection: give %s attempts or backlog, or leave one of them out",
				a, names[(i+1)%len(names)], a)
		}
	}
	return nil
}
