package outcome

import (
	"testing"

	"github.com/faultctl/faultctl/faults"
)

// TestOutcomesOfSegments checks what is said of connection attempts, and of faults that are
// done to segments: dropped, held, cut or changed.
func TestOutcomesOfSegments(t *testing.T) {
	checkOutcomes(t, []outcomeCase{{
		"refused", `
0.000 C>S S dropped
0.000 strike rst client
0.000 S>C R. seq 0 ack 1 forged
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the end is silent where it would have sent again); felt yes (connect() had not returned)", Survived,
	}, {
		"refused untranslated: the client tries on", `
0.000 C>S S dropped
0.000 strike rst client
0.000 S>C R. seq 0 ack 1 forged
1.000 C>S S seq 0 dropped
1.000 S>C R. seq 0 ack 1 forged
2.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted no (the end went on as if nothing had come); felt no (the end did not accept it)", Unaccepted,
	}, {
		"unreachable", `
0.000 C>S S dropped
0.000 strike icmp client
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the end is silent where it would have sent again); felt yes (connect() had not returned)", Survived,
	}, {
		"SYNs are dropped", `
0.000 C>S S dropped
0.000 strike drop server
1.000 C>S S seq 0 dropped
9.000 end`,
		faults.Client, "sent yes (the verdict on the segment is all of it); accepted yes (the verdict on the segment is all of it); felt yes (connect() had not returned)", Survived,
	}, {
		"the SYN-ACK is held", `
0.000 C>S S
0.001 S>C S. held
0.001 strike delay client
9.000 end`,
		faults.Client, "sent yes (the verdict on the segment is all of it); accepted yes (the verdict on the segment is all of it); felt yes (connect() had not returned)", Survived,
	}, {
		"a bare ACK is lost, nothing else", asked + `
1.000 C>S . dropped
1.000 strike drop server
9.000 end`,
		faults.Client, "sent yes (the verdict on the segment is all of it); accepted yes (the verdict on the segment is all of it); felt no (nothing was outstanding, and nothing was sent afterwards)", Unfelt,
	}, {
		"a request is delayed", opened + `
0.010 C>S P len 5 held
0.010 strike delay server
9.000 end`,
		faults.Client, "sent yes (the verdict on the segment is all of it); accepted yes (the verdict on the segment is all of it); felt yes (data were affected)", Survived,
	}, {
		"a partition begins on an ACK, and data are lost later", asked + `
1.000 C>S . dropped
1.000 strike drop server
2.000 S>C P len 10 dropped
9.000 end`,
		faults.Client, "sent yes (the verdict on the segment is all of it); accepted yes (the verdict on the segment is all of it); felt yes (data were affected)", Survived,
	}, {
		"a request is cut into pieces, which arrive", opened + `
0.010 C>S P len 10 rewritten
0.010 strike rewrite server
0.010 C>S P seq 1 len 5 forged
0.010 C>S P seq 6 len 5 forged
0.011 S>C . ack 11
9.000 end`,
		faults.Client, "sent yes (its receiver acted on it); accepted yes (it was acknowledged); felt yes (the application sent the struck segment)", Survived,
	}, {
		"a peer stops reading, and is asked for a window", asked + `
1.000 C>S P len 5
1.001 S>C . rewritten
1.001 strike rewrite client
1.001 S>C . win 0 replaced
1.300 C>S . seq 10 dropped
9.000 end`,
		faults.Client, "sent yes (its receiver acted on it); accepted yes (it was acknowledged); felt yes (an answer was outstanding)", Survived,
	}, {
		"keepalives do not pass, and TCP gives up", asked + `
1.000 C>S . seq 5 dropped
1.000 strike drop server
2.000 C>S . seq 5 dropped
3.000 C>S R.
9.000 end`,
		faults.Client, "sent yes (the verdict on the segment is all of it); accepted yes (the verdict on the segment is all of it); felt yes (its TCP gave up)", Survived,
	}, {
		"a fault that says nothing of a segment that it swallows", asked + `
1.000 C>S P len 5 dropped
9.000 end`,
		faults.Client, "sent yes (the verdict on the segment is all of it); accepted yes (the verdict on the segment is all of it); felt yes (data were affected)", Survived,
	}})
}
