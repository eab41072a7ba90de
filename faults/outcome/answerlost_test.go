package outcome

import (
	"testing"

	"github.com/faultctl/faultctl/faults"
)

// TestAnswerLost checks when a request reached the service whole and its answer
// did not reach the client.
func TestAnswerLost(t *testing.T) {
	for _, c := range []struct {
		name, script string
		want         bool
	}{
		{"the request is struck", opened + "0.01 C>S P len 5 dropped\n0.01 strike rst client", false},
		{"the answer is struck", opened + "0.01 C>S P len 5\n0.02 S>C P len 9 dropped\n0.02 strike rst client", true},
		{"part of the answer arrives", opened + "0.01 C>S P len 5\n0.02 S>C P len 9\n0.03 S>C P len 9 dropped\n0.03 strike rst client", true},
		{"the server works on it", opened + "0.01 C>S P len 5\n0.02 strike rst client", true},
		{"the answer arrived", asked + "1.00 strike rst client", false},
		{"nothing was struck", opened + "0.01 C>S P len 5", false},
	} {
		s := play(t, c.script)
		if got := s.tr.Outcome(s.until, faults.Both).AnswerLost; got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
