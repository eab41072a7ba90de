package outcome

import (
	"strings"
	"testing"

	"github.com/faultctl/faultctl/faults"
)

// TestAudited holds the cases in which the audit of integration/fidelity found something
// said that the programs' own account did not bear out.
func TestAudited(t *testing.T) {
	checkOutcomes(t, []outcomeCase{{
		"a keepalive probe is lost, and the connection is used as before", asked + `
1.000 C>S . seq 5 dropped
1.000 strike drop server
1.500 C>S P len 5
1.501 S>C .
1.510 S>C P len 8
9.000 end`,
		faults.Client, "sent yes (the verdict on the segment is all of it); accepted yes (the verdict on the segment is all of it); felt no (nothing was outstanding, and nothing was sent afterwards)", Unfelt,
	}, {
		"a firewall drops the copies of what the client sends", asked + `
1.000 C>S P len 5
1.000 strike hold server
1.000 C>S P seq 6 len 5 forged
1.000 fail server
1.001 S>C .
9.000 end`,
		faults.Client, "sent no (this host refused to send it); accepted yes (the verdict on the segment is all of it); felt yes (data were affected)", Unaccepted,
	}, {
		"what is held is refused, and the socket is gone later", asked + `
1.000 C>S P len 5 held
1.000 strike delay server
1.100 fail server
1.100 fail client
2.000 kernel client gone
9.000 end`,
		faults.Client, "sent no (this host refused to send it); accepted yes (the verdict on the segment is all of it); felt yes (data were affected)", Unaccepted,
	}, {
		"a new connection is reset that nobody has used", `
0.400 C>S S
0.401 S>C S.
0.402 C>S . dropped
0.402 strike rst client
0.402 S>C R. forged
0.403 kernel client reset
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the kernel's socket received the RST); felt not known (the connection was new, and the server may have to speak first)", Unknown,
	}, {
		"one is reset that nobody has used for long", `
0.000 C>S S
0.001 S>C S.
0.002 C>S .
0.402 strike rst client
0.402 S>C R. forged
0.403 kernel client reset
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the kernel's socket received the RST); felt no (nothing was outstanding, and nothing was sent afterwards)", Unfelt,
	}, {
		"a SYN that is refused comes again, seen late, and then no more", `
0.400 C>S S dropped
0.400 strike rst client
0.400 S>C R. forged
1.400 waited 600ms
1.400 C>S S seq 0 dropped
1.400 strike rst client
1.400 S>C R. forged
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted not known (what the end sent later may have been under way before); felt yes (connect() had not returned)", Unknown,
	}, {
		"a request crosses the RST, and is not sent again", opened + `
0.010 strike rst client
0.010 S>C R. forged
0.011 C>S P len 5 dropped
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the end is silent where it would have sent again); felt yes (the application sent more afterwards)", Survived,
	}, {
		"a request crosses the RST, and is sent again", opened + `
0.010 strike rst client
0.010 S>C R. forged
0.011 C>S P len 5 dropped
0.211 C>S P seq 1 len 5 dropped
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted no (the end went on as if nothing had come); felt no (the end did not accept it)", Unaccepted,
	}, {
		"an end whose data passed unseen is silent after its answer to a probe is swallowed", `
0.000 C>S S
0.001 S>C S.
1.000 C>S . seq 2147483648 len 1 forged
1.001 S>C . seq 500 ack 300 dropped
1.001 strike rst server
1.001 C>S R seq 300 forged
9.000 end`,
		faults.Server, "sent yes (it was sent without an error); accepted not known (the end is silent, but had nothing to send); felt not known (what was outstanding was not seen)", Unknown,
	}, {
		"a FIN is acknowledged late, and a RST followed it", opened + `
0.010 C>S P len 5 dropped
0.010 strike fin client
0.010 strike rst client
0.010 S>C F forged
0.011 S>C R seq 1 forged
0.211 C>S .
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (it was acknowledged); felt yes (the application sent the struck segment)", Survived,
	}, {
		"a client closes in the moment in which it is reset", asked + `
1.000 strike rst client
1.000 S>C R. forged
1.080 C>S F dropped
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the end is silent where it would have sent again); felt no (nothing was outstanding, and nothing was sent afterwards)", Unfelt,
	}, {
		"an ICMP error is dropped, and the client gives up to connect", `
0.000 C>S S dropped
0.000 strike icmp client
1.000 C>S S seq 0 dropped
1.500 kernel client gone
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted no (the end went on as if nothing had come); felt no (the end did not accept it)", Unaccepted,
	}, {
		"it is not, and the socket is gone at once", `
0.000 C>S S dropped
0.000 strike icmp client
0.020 kernel client gone
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the kernel's socket is gone); felt yes (connect() had not returned)", Survived,
	}, {
		"the ACK of the handshake passes unseen, and the client goes on after a RST", `
0.000 C>S S
0.001 S>C S.
1.000 S>C F dropped
1.000 strike rst client
1.000 S>C R seq 1 forged
2.000 C>S F seq 6 dropped
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted no (the end went on as if nothing had come); felt no (the end did not accept it)", Unaccepted,
	}, {
		"both have closed, and the last acknowledgment passed unseen", asked + `
0.100 C>S F
0.101 S>C F
1.000 strike rst both
1.000 C>S R seq 7 forged
1.000 S>C R seq 10 forged
9.000 end`,
		faults.Both, "the connection was closed before", NeverFired,
	}})
}

// TestWaited holds that what an end sends does not count as later than a strike if it may
// have come before, and waited for whoever hands it over.
func TestWaited(t *testing.T) {
	const head = asked + `
1.000 strike rst client
1.000 S>C R. forged
`
	for _, c := range []struct {
		waited float64
		want   Evidence
	}{{0, WentOn}, {0.35, UnderWay}} {
		s := play(t, head)
		s.tr.Waited = seconds(c.waited)
		s.line(strings.Fields("1.400 C>S P len 5"))
		if got := s.tr.Outcome(seconds(9), faults.Client).Accepted.Evidence; got != c.want {
			t.Errorf("waited %v: %s, want %s", c.waited, got, c.want)
		}
	}
}
