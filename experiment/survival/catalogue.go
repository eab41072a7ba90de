package survival

import (
	"strings"

	"github.com/faultctl/faultctl/faults"
)

// settings are the reset causes with times that a test has.
var settings = []string{
	"reset:at=request",
	"syn-drop:attempts=1",
	"idle-expire:after=1s",
	"half-open:peer=rebooted",
	"closed-socket",
	"linger-reset",
	"unread-close",
	"rst-close",
	"accept-overflow:room-after=1s",
	"refuse",
	"unreachable",
	"connect-stall:for=1s",
	"paws-reject:regress=900ms",
	"keepalive-drop",
	"bad-seq",
	"stall:for=1s",
}

// moments say, of faults that wait for something which few tests do, how to
// make a test do it.
var moments = map[string]string{
	"idle-expire":    "Have the command leave a connection idle for longer than that between two requests, or take a shorter time (--faults idle-expire:after=200ms).",
	"keepalive-drop": "Have the command leave a connection with TCP keepalive idle for longer than the keepalive interval.",
	"linger-reset":   "It comes when the server closes a connection; side=client takes the client's close instead.",
	"rst-close":      "It comes when the server closes a connection; side=client takes the client's close instead.",
}

// DefaultCases lists every reset cause of the catalogue, a case each, with
// settings for which a test has the time.
func DefaultCases() (cases []Case) {
	for _, text := range settings {
		specs, err := faults.ParseSpecs(text)
		if err != nil {
			panic(err) // unreachable: a test reads them all
		}
		cases = append(cases, Case{Faults: specs})
	}
	return cases
}

// planned is a fault with its settings. A bare name stands for the default
// case's settings of that fault.
func planned(s faults.Spec) faults.Spec {
	if len(s.Knobs) > 0 {
		return s
	}
	for _, text := range settings {
		if name, _, _ := strings.Cut(text, ":"); name == s.Name {
			specs, _ := faults.ParseSpecs(text)
			return specs[0]
		}
	}
	return s
}

// momentOf says how to make a test bring a fault about; empty if there is
// nothing to say.
func momentOf(fault string) string { return moments[fault] }
