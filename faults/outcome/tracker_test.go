package outcome

import (
	"testing"

	"github.com/faultctl/faultctl/faults"
)

// TestOutcomes checks what is said of connections that were struck, segment by
// segment, and what follows from it for a command that succeeded.
func TestOutcomes(t *testing.T) {
	checkOutcomes(t, []outcomeCase{{
		"a half-close of a process that waits for the answer is taken for a close", opened + `
0.010 C>S PF len 5
0.011 S>C .
0.011 kernel client owned
0.011 strike fin client
0.011 S>C F forged
0.021 C>S . dropped
0.500 S>C P len 8 seq 1 dropped
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (it was acknowledged); felt yes (an answer was outstanding)", Survived,
	}, {
		"the same where nobody can tell whether a process has the socket", opened + `
0.010 C>S PF len 5
0.011 S>C .
0.011 strike fin client
0.011 S>C F forged
0.021 C>S . dropped
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (it was acknowledged); felt not known (the application had closed its side with an answer outstanding)", Unknown,
	}, {
		"idle-expire answers the client's own FIN, long after its last request", asked + `
5.000 C>S F dropped
5.000 strike rst client
5.000 S>C R seq 9 forged
5.001 kernel client gone
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the kernel's socket is gone); felt no (the application had closed)", Unfelt,
	}, {
		"the same of a flow that passed unseen since its SYN", opened + `
5.000 C>S F seq 400 ack 9000 dropped
5.000 strike rst client
5.000 S>C R seq 9000 forged
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the end is silent where it would have sent again); felt no (the application had closed)", Unfelt,
	}, {
		"rst-close on the server's FIN that answers the client's close", asked + `
1.000 C>S F
1.001 S>C F rewritten
1.001 strike rst client
1.001 S>C R. seq 9 ack 7 replaced
1.002 kernel client reset
9.000 end`,
		faults.Client, "sent yes (its receiver acted on it); accepted yes (the kernel's socket received the RST); felt no (the application had closed)", Unfelt,
	}, {
		"a RST in place of the only answer", opened + `
0.010 C>S P len 5
0.020 S>C P len 8 rewritten
0.020 strike rst client
0.020 S>C R. seq 1 ack 6 replaced
0.021 kernel client gone
9.000 end`,
		faults.Client, "sent yes (its receiver acted on it); accepted yes (the kernel's socket is gone); felt yes (data were affected)", Survived,
	}, {
		"a RST in place of the FIN that came with an answer", opened + `
0.010 C>S P len 5
0.020 S>C PF len 8 rewritten
0.020 strike rst client
0.020 S>C P len 8 seq 1 ack 6 replaced
0.020 S>C R seq 9 forged
0.021 kernel client reset
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the kernel's socket received the RST); felt not known (the answer may not have been over)", Unknown,
	}, {
		"a RST that is ignored, and the connection is closed in order soon after", opened + `
0.010 C>S P len 5
0.010 strike rst client
0.010 S>C R seq 100 forged
0.011 S>C P len 8
0.012 C>S F
0.013 S>C F
0.014 C>S .
0.030 kernel client gone
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted not known (the end is silent, but had nothing to send); felt yes (the application sent the struck segment)", Unknown,
	}, {
		"half-open after the only answer was read", asked + `
1.000 C>S . dropped
1.000 strike drop client
3.000 C>S F dropped
3.200 C>S F seq 6 dropped
9.000 end`,
		faults.Client, "sent yes (the verdict on the segment is all of it); accepted yes (the verdict on the segment is all of it); felt no (nothing was outstanding, and nothing was sent afterwards)", Unfelt,
	}, {
		"half-open, and the client asks again", asked + `
1.000 strike hold client
3.000 C>S P len 5 dropped
9.000 end`,
		faults.Client, "sent yes (the verdict on the segment is all of it); accepted yes (the verdict on the segment is all of it); felt yes (data were affected)", Survived,
	}, {
		"reset by age after the only answer was read", asked + `
1.000 strike rst client
1.000 S>C R. forged
1.001 kernel client gone
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the kernel's socket is gone); felt no (nothing was outstanding, and nothing was sent afterwards)", Unfelt,
	}, {
		"the same, while a call waits", asked + `
1.000 strike rst client
1.000 S>C R. forged
1.001 kernel client told
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (a call of the application returned the error); felt yes (a call of the application returned the error)", Survived,
	}, {
		"reset right behind an answer that may go on", asked + `
0.050 strike rst client
0.050 S>C R. forged
0.051 kernel client gone
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the kernel's socket is gone); felt not known (the answer may not have been over)", Unknown,
	}, {
		"reset at a request, local", opened + `
0.010 C>S P len 5 dropped
0.010 strike rst client
0.010 S>C R seq 1 forged
0.011 kernel client reset
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the kernel's socket received the RST); felt yes (the application sent the struck segment)", Survived,
	}, {
		"reset at the answer, which is swallowed with it", opened + `
0.010 C>S P len 5
0.020 S>C P len 8 dropped
0.020 strike rst client
0.020 S>C R seq 1 forged
0.021 kernel client reset
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the kernel's socket received the RST); felt yes (data were affected)", Survived,
	}, {
		"reset at a request, of a client elsewhere", opened + `
0.010 C>S P len 5 dropped
0.010 strike rst client
0.010 S>C R seq 1 forged
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the end is silent where it would have sent again); felt yes (the application sent the struck segment)", Survived,
	}, {
		"the same, too soon to tell", opened + `
0.010 C>S P len 5 dropped
0.010 strike rst client
0.010 S>C R seq 1 forged
0.200 end`,
		faults.Client, "sent yes (it was sent without an error); accepted not known (too soon to tell); felt yes (the application sent the struck segment)", Unknown,
	}, {
		"segments under way when the RST leaves say nothing", opened + `
0.010 C>S P len 5 dropped
0.010 strike rst client
0.010 S>C R seq 1 forged
0.011 C>S P len 5 dropped
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the end is silent where it would have sent again); felt yes (the application sent the struck segment)", Survived,
	}, {
		"a RST that the client's firewall drops", opened + `
0.010 C>S P len 5 dropped
0.010 strike rst client
0.010 S>C R seq 1 forged
0.210 C>S P seq 1 len 5 dropped
0.210 S>C R seq 1 forged
0.630 C>S P seq 1 len 5 dropped
0.630 S>C R seq 1 forged
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted no (the end went on as if nothing had come); felt no (the end did not accept it)", Unaccepted,
	}, {
		"a RST that the client ignores, and goes on acknowledging", asked + `
1.000 strike rst client
1.000 S>C R. forged
2.000 S>C P len 100
2.001 C>S .
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted no (the end went on as if nothing had come); felt no (the end did not accept it)", Unaccepted,
	}, {
		"a RST whose number is wrong earns a challenge ACK", asked + `
1.000 strike rst client
1.000 S>C R. seq 20 forged
1.0005 C>S .
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted no (the end answered with a challenge ACK); felt no (the end did not accept it)", Unaccepted,
	}, {
		"the challenge is answered by a RST that is right", asked + `
1.000 strike rst client
1.000 S>C R. seq 20 forged
1.0005 C>S .
1.0005 S>C R seq 9 forged
1.001 kernel client gone
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the kernel's socket is gone); felt no (nothing was outstanding, and nothing was sent afterwards)", Unfelt,
	}, {
		"closed long before: an end answers a probe with a RST", asked + `
1.000 C>S F
1.001 S>C F
1.002 C>S .
60.00 C>S . seq 100 ack 0 forged
60.00 S>C R seq 0
60.01 strike rst both
60.01 S>C R seq 10 forged
60.01 C>S R seq 7 forged
70.00 end`,
		faults.Both, "the connection was closed before", NeverFired,
	}, {
		"the same of a connection whose end passed unseen", opened + `
60.00 S>C . seq 100 ack 0 forged
60.00 C>S R seq 0
60.01 strike rst both
60.01 S>C R seq 10 forged
60.01 C>S R seq 7 forged
70.00 end`,
		faults.Both, "the connection was closed before", NeverFired,
	}, {
		"the kernel knows that there was no socket", opened + `
60.00 kernel client none
60.01 strike rst client
60.01 S>C R seq 10 forged
70.00 end`,
		faults.Client, "the connection was closed before", NeverFired,
	}, {
		"a FIN in the server's name is acknowledged, and the client sends on", asked + `
1.000 strike fin client
1.000 S>C F. seq 9 ack 6 forged
1.001 C>S . ack 10 dropped
2.000 C>S P len 5 ack 10 dropped
2.000 S>C R seq 10 forged
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (it was acknowledged); felt yes (the application sent more afterwards)", Survived,
	}, {
		"a FIN, and the client closes too", asked + `
1.000 strike fin client
1.000 S>C F. seq 9 ack 6 forged
1.001 C>S F ack 10 dropped
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (it was acknowledged); felt no (nothing was outstanding, and nothing was sent afterwards)", Unfelt,
	}, {
		"the server is hit while it works", opened + `
0.010 C>S P len 5
0.500 strike rst server
0.500 C>S R. forged
0.501 kernel server gone
9.000 end`,
		faults.Server, "sent yes (it was sent without an error); accepted yes (the kernel's socket is gone); felt yes (a request was being answered)", Survived,
	}, {
		"a client that closed with a request outstanding: gave up, or waits for the answer", opened + `
0.010 C>S P len 5
0.011 S>C .
0.500 C>S F dropped
0.500 strike rst client
0.500 S>C R seq 1 forged
0.501 kernel client reset
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the kernel's socket received the RST); felt not known (the application had closed its side with an answer outstanding)", Unknown,
	}, {
		"the same, and the kernel says that it gave up", opened + `
0.010 C>S P len 5
0.011 S>C .
0.500 C>S F dropped
0.500 kernel client orphan
0.500 strike rst client
0.500 S>C R seq 1 forged
0.501 kernel client reset
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the kernel's socket received the RST); felt no (the application had closed)", Unfelt,
	}, {
		"a RST in mid-answer", opened + `
0.010 C>S P len 5
0.020 S>C P len 1000
0.020 strike rst client
0.020 S>C R. seq 1001 ack 6 forged
0.021 kernel client gone
0.022 S>C P len 1000 dropped
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the kernel's socket is gone); felt yes (data were affected)", Survived,
	}, {
		"a client that closes after the strike, with its request outstanding", opened + `
0.010 C>S P len 5 dropped
0.010 strike rst client
0.010 S>C R seq 1 forged
0.100 kernel client orphan
0.101 kernel client gone
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the kernel's socket is gone); felt yes (the application sent the struck segment)", Survived,
	}, {
		"a client that had closed before, and the rest of its answer is dropped", opened + `
0.010 C>S P len 5
0.100 kernel client orphan
0.200 strike drop both
0.200 S>C P len 8 dropped
9.000 end`,
		faults.Client, "sent yes (the verdict on the segment is all of it); accepted yes (the verdict on the segment is all of it); felt no (the application had closed)", Unfelt,
	}, {
		"nothing was done", asked + "9.000 end", faults.Both, "nothing was done to it", NeverFired,
	}, {
		"a segment to a dead client shows that it is dead", opened + `
0.010 C>S P len 5
0.011 S>C .
0.500 strike rst client
0.500 S>C R. forged
0.510 S>C P len 8
0.511 C>S R seq 6
9.000 end`,
		faults.Client, "sent yes (it was sent without an error); accepted yes (the end answers that it has no such connection); felt yes (an answer was outstanding)", Survived,
	}})
}

// outcomeCase is a script, what is said of a side at its end, and the verdict if the
// command succeeded.
type outcomeCase struct {
	name, script string
	of           faults.Side
	want         string
	verdict      Verdict
}

func checkOutcomes(t *testing.T, cases []outcomeCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := play(t, c.script)
			o := s.tr.Outcome(s.until, c.of)
			if got := o.text(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if got := Judge(Case{Outcome: o, Command: Succeeded}); got != c.verdict {
				t.Errorf("a command that succeeded: %s, want %s", got, c.verdict)
			}
		})
	}
}

// TestOutcomeFor checks that of two ends which were struck the one counts that is asked for,
// and the other one where a segment was sent to that alone.
func TestOutcomeFor(t *testing.T) {
	both := asked + `
1.000 C>S P len 5 dropped
1.000 strike rst client
1.000 strike rst server
1.000 S>C R seq 9 forged
1.000 C>S R seq 6 forged
1.000 fail client
1.001 kernel server gone
9.000 end`
	server := asked + `
1.000 C>S P len 5 dropped
1.000 strike rst server
1.000 C>S R seq 6 forged
1.000 fail server
9.000 end`
	for _, c := range []struct {
		name, script string
		of           faults.Side
		sent         Evidence
	}{
		{"the client, of both", both, faults.Client, SendFailed},
		{"the server, of both", both, faults.Server, RawSent},
		{"both", both, faults.Both, RawSent},
		{"the client, whose segment is swallowed besides", server, faults.Client, SendFailed},
	} {
		s := play(t, c.script)
		if got := s.tr.OutcomeFor(s.until, c.of); got.Sent.Evidence != c.sent {
			t.Errorf("%s: sent: %s, want %s", c.name, got.Sent.Evidence, c.sent)
		}
	}
}
