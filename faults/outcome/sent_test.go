package outcome

import (
	"testing"

	"github.com/faultctl/faultctl/faults"
)

// TestOutcomesOfSending checks what is said of segments that did not leave the host, or may not
// have left it.
func TestOutcomesOfSending(t *testing.T) {
	checkOutcomes(t, []outcomeCase{{
		"a firewall on the way out refuses the RST", opened + `
0.010 C>S P len 5 dropped
0.010 strike rst client
0.010 S>C R seq 1 forged
0.010 fail client
9.000 end`,
		faults.Client, "sent no (this host refused to send it); accepted no (it was not sent); felt no (the end did not accept it)", Unaccepted,
	}, {
		"a rule behind ours eats what goes on in a segment's place", asked + `
1.000 S>C F rewritten
1.000 strike rst client
1.000 S>C R. seq 9 ack 6 replaced
1.100 kernel client eaten
9.000 end`,
		faults.Client, "sent no (a rule of this host dropped it on its way); accepted no (it was not sent); felt no (the end did not accept it)", Unaccepted,
	}, {
		"nobody watches what leaves", asked + `
1.000 S>C F rewritten
1.000 strike rst client
1.000 S>C R. seq 9 ack 6 replaced
9.000 end`,
		faults.Client, "sent not known (nothing counts what leaves behind other rules); accepted not known (the end is silent, but had nothing to send); felt no (nothing was outstanding, and nothing was sent afterwards)", Unfelt,
	}, {
		"what is swallowed besides a RST that did not leave is no success", opened + `
0.010 C>S P len 5 dropped
0.010 strike rst client
0.010 S>C R seq 1 forged
0.010 fail client
9.000 end`,
		faults.Both, "sent no (this host refused to send it); accepted no (it was not sent); felt no (the end did not accept it)", Unaccepted,
	}, {
		"the other end is disposed of, and the RST that was meant is refused", opened + `
0.010 C>S P len 5 dropped
0.010 strike rst client
0.010 S>C R seq 1 forged
0.010 fail client
0.010 C>S R seq 1 forged
9.000 end`,
		faults.Both, "sent no (this host refused to send it); accepted no (it was not sent); felt no (the end did not accept it)", Unaccepted,
	}})
}
