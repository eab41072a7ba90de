package outcome

import (
	"strings"
	"testing"
)

// TestAdvice checks that each verdict which is no pass says in one sentence what
// to do next, and no other one does.
func TestAdvice(t *testing.T) {
	for v := range Verdict(numVerdicts) {
		text := advice[v]
		if (text != "") != (v.Exit() != 0) || text != "" && !strings.HasSuffix(text, ".") {
			t.Errorf("%s: %q", v, text)
		}
	}
	unsent := Case{Outcome: Outcome{Struck: true, Sent: Step{Answer: No}}}
	if Advice(unsent) != adviceUnsent {
		t.Errorf("unsent: %q", Advice(unsent))
	}
	soon := Case{Command: Succeeded, Outcome: Outcome{Struck: true, Sent: Step{Answer: Yes}, Accepted: Step{Answer: Yes}, Felt: Step{Evidence: AnswerMayGoOn}}}
	if Advice(soon) != adviceAnswer {
		t.Errorf("right after an answer: %q", Advice(soon))
	}
	unsent.Outcome.Sent.Answer, unsent.Outcome.Accepted.Answer = Yes, No
	if Advice(unsent) != advice[Unaccepted] {
		t.Errorf("not accepted: %q", Advice(unsent))
	}
}
