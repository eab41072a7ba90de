package experiment

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/faultctl/faultctl/experiment/event"
)

// watchNetNS tells when the name of the run's network namespace comes to stand for another
// one, or for none: the rules stay in the one that had the name.
func (r *Run) watchNetNS(ctx context.Context) {
	name := r.plan.Spec.Target.NetNS
	if name == "" || r.plan.cfg.NetNS == nil {
		return
	}
	was, err := r.plan.cfg.NetNS.Stat()
	if err != nil {
		return
	}
	for told := ""; ; {
		select {
		case <-r.sys.After(lookContainer):
		case <-ctx.Done():
			return
		}
		says := ""
		switch is, err := r.sys.StatNetNS(name); {
		case errors.Is(err, fs.ErrNotExist):
			says = "has been deleted: the run stays in the namespace that had the name"
		case err == nil && !os.SameFile(was, is):
			says = "is another one now: the run stays in the one that had the name before, so stop it and start it again"
		}
		if says != "" && says != told {
			r.emit(r.sys.Now(), event.Target{Target: "network namespace " + name, Says: says})
		}
		told = says
	}
}
