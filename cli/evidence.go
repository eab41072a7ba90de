package cli

import (
	"fmt"
	"net"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/experiment/evidence"
)

// evidence opens the capture, the reports and the metrics that a Spec asks for.
func (inv *invocation) evidence(s *experiment.Spec) (*evidence.Evidence, error) {
	cfg := evidence.Config{
		Command: inv.name, Pcap: s.Pcap, Reports: s.Reports, Metrics: s.Metrics,
		Now: inv.sys.Now, Proc: inv.sys.Proc, Warn: inv.stderr,
	}
	if inv.handed != nil && s.Metrics != "" {
		defer inv.handed.Close()
		l, err := net.FileListener(inv.handed)
		if err != nil {
			return nil, err
		}
		cfg.Serve = l
	}
	e, err := evidence.Open(cfg)
	if err == nil {
		inv.leaving.Store(e)
	}
	return e, err
}

// leave closes the evidence of a command that ends with err, which it returns,
// or else what kept the evidence from being written.
func (inv *invocation) leave(e *evidence.Evidence, run bool, err error) error {
	failed := ""
	if err != nil && !alreadyReported(err) {
		failed = event.Render(err, asFlag)
	}
	for _, lost := range e.Close(event.Code(codeOf(err, run)), failed) {
		if err == nil {
			err = lost
		} else {
			fmt.Fprintf(inv.stderr, "faultctl: %v\n", lost)
		}
	}
	return err
}
