package event

// Outcome says what a fault's strikes on a connection came to, or that there was
// nothing to be struck. docs/VERDICTS.md says what the steps mean.
type Outcome struct {
	Head
	Fault   string `json:"fault" doc:"the name of the fault"`
	Flow    Ends   `json:"flow" doc:"the ends of the connection"`
	Rule    int    `json:"rule" doc:"as in the connection's flow event"`
	Ordinal uint64 `json:"ordinal" doc:"as in the connection's flow event"`
	Struck  bool   `json:"struck" doc:"whether something was done to a connection that was there"`
	Why     string `json:"why,omitempty" doc:"why it was not struck, in words"`

	Sent     OutcomeStep `json:"sent" doc:"whether it left this host"`
	Accepted OutcomeStep `json:"accepted" doc:"whether the TCP that it was meant for acted on it"`
	Felt     OutcomeStep `json:"felt" doc:"whether the application at that end had something at stake"`

	AnswerLost bool `json:"answer_lost,omitempty" doc:"whether the last request reached the service whole and its answer did not reach the client: sent again, it is carried out twice"`
}

// OutcomeStep is one of the three steps of an Outcome.
type OutcomeStep struct {
	Answer   string `json:"answer" doc:"\"yes\", \"no\" or \"not known\""`
	Evidence string `json:"evidence,omitempty" doc:"what says so, in words"`
	After    string `json:"after,omitempty" doc:"how long after the strike that was seen, if it is known"`
}

// Text is the outcome in words: the steps that were taken, and the first one that
// was not with what says so.
func (e Outcome) Text() string {
	if !e.Struck {
		return "not struck: " + e.Why
	}
	text := ""
	for _, s := range []struct {
		OutcomeStep
		yes string
	}{{e.Sent, "sent"}, {e.Accepted, "accepted"}, {e.Felt, "felt"}} {
		if text != "" {
			text += ", "
		}
		switch s.Answer {
		case "yes":
			text += s.yes
			continue
		case "no":
			text += "not " + s.yes
		default:
			text += "not known whether " + s.yes
		}
		if s.Evidence != "" {
			text += ": " + s.Evidence
		}
		return text
	}
	return text + ": " + e.Felt.Evidence
}

// Outcomes count what the strikes of a fault came to, by connection, but for the
// last two. docs/VERDICTS.md says what the words mean.
type Outcomes struct {
	Struck       uint64 `json:"struck,omitempty" doc:"connections that were there when the fault acted on them"`
	Unsent       uint64 `json:"unsent,omitempty" doc:"of those, connections on which what was done did not leave this host"`
	Unaccepted   uint64 `json:"unaccepted,omitempty" doc:"of those, connections on which it left, and the TCP that it was meant for took no notice"`
	Unfelt       uint64 `json:"unfelt,omitempty" doc:"of those, connections on which it was accepted, and the application had nothing at stake"`
	Felt         uint64 `json:"felt,omitempty" doc:"of those, connections on which it was sent, accepted and felt"`
	Unknown      uint64 `json:"unknown,omitempty" doc:"of those, connections of which a step is not known"`
	ClosedBefore uint64 `json:"closed_before,omitempty" doc:"connections that were closed already when the fault acted"`
	AnswersLost  uint64 `json:"answers_lost,omitempty" doc:"requests that reached the service whole, and whose answer was lost"`
	SentAgain    uint64 `json:"sent_again,omitempty" doc:"of those, requests whose bytes came again: the service carried them out twice, unless it knew them again"`
}

func (Outcome) Name() string        { return "outcome" }
func (e Outcome) with(h Head) Event { e.Head = h; return e }
