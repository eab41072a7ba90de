package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/faultctl/faultctl/experiment/control"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/faultctl/faultctl/kubernetes/cluster"
	"github.com/spf13/cobra"
)

// atOnce is how many pods are asked at the same time.
const atOnce = 32

// inPod is what the faultctl of a pod does.
type inPod struct {
	Pod       string          `json:"pod"`
	Container string          `json:"container"`
	Process   control.Process `json:"process"`
	Error     string          `json:"error,omitempty"`

	client *control.Client
}

func (p *program) psCommand() *cobra.Command {
	var f podFlags
	c := &cobra.Command{
		Use: "ps [POD…] [flags]", Short: "list the runs in pods; without POD and -l in all of the namespace",
		Example:           "  kubectl faultctl ps\n  kubectl faultctl ps -l app=api -o json",
		ValidArgsFunction: p.completeFaultsAndPods,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(p); err != nil {
				return err
			}
			return p.inPods(c, &f, args, func(ctx context.Context, all []inPod) error { return p.list(all) })
		},
	}
	f.addSelection(c.Flags())
	return c
}

func (p *program) stopCommand() *cobra.Command {
	var f podFlags
	var run string
	var containers bool
	c := &cobra.Command{
		Use: "stop [POD…] [flags]", Short: "stop the runs in pods; without POD and -l in all of the namespace",
		Long:              "The faults of every user are stopped. What struck the pods is told, and does not begin again.",
		Example:           "  kubectl faultctl stop deploy/api\n  kubectl faultctl stop --containers",
		ValidArgsFunction: p.completeFaultsAndPods,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(p); err != nil {
				return err
			}
			return p.inPods(c, &f, args, func(ctx context.Context, all []inPod) error { return p.stop(ctx, all, run, containers) })
		},
	}
	f.addSelection(c.Flags())
	c.Flags().StringVar(&run, "run", "", "only the run of this name, as ps lists it")
	c.Flags().BoolVar(&containers, "containers", false, "end faultctl in the pods too: the next run adds a container, since one that has ended cannot be started again")
	return c
}

// inPods asks the faultctl in each pod what it does, and calls do while they are
// connected.
func (p *program) inPods(c *cobra.Command, f *podFlags, args []string, do func(context.Context, []inPod) error) error {
	names, objects, err := split(args)
	if err == nil && len(names) > 0 {
		err = event.Usagef("", "%s: %q names no pods", c.Name(), names[0]).WithAdvice("Write pod/NAME, deploy/NAME, sts/NAME, svc/NAME, or -l LABELS.")
	}
	if err != nil {
		return err
	}
	cl, err := p.cluster()
	if err != nil {
		return err
	}
	sel := cluster.Everything()
	if len(objects) > 0 || f.label != "" {
		if sel, err = cl.Select(c.Context(), objects, f.label); err != nil {
			return err
		}
	}
	pods, err := cl.Pods(c.Context(), sel)
	if err != nil {
		return err
	}
	var all []inPod
	for _, pod := range pods {
		for _, name := range cluster.Running(pod) {
			all = append(all, inPod{Pod: pod.Name, Container: name})
		}
	}
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	each(all, func(x *inPod) {
		conn, err := cl.Dial(ctx, x.Pod, x.Container)
		if err == nil {
			x.client, err = control.NewClientOver(conn)
		}
		if err == nil {
			short, cancel := context.WithTimeout(ctx, 15*time.Second)
			defer cancel()
			x.Process, err = x.client.Process(short)
		}
		if err != nil {
			x.Error = err.Error()
		}
	})
	return do(ctx, all)
}

// each does something with all of a list, many at the same time.
func each(all []inPod, do func(*inPod)) {
	slots := make(chan struct{}, atOnce)
	var left sync.WaitGroup
	for i := range all {
		slots <- struct{}{}
		left.Go(func() { do(&all[i]); <-slots })
	}
	left.Wait()
}

// list prints the runs, a line each.
func (p *program) list(all []inPod) error {
	if p.json {
		if all == nil {
			all = []inPod{}
		}
		enc := json.NewEncoder(p.out)
		enc.SetIndent("", "  ")
		return enc.Encode(all)
	}
	if len(all) == 0 {
		fmt.Fprintln(p.out, "no pod has a faultctl that runs")
		return nil
	}
	tab := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "POD\tRUN\tSTATE\tCHOSEN\tFIRED\tFELT\tTIME\tLEASE\tFAULTS\tCONNECTIONS")
	for _, x := range all {
		switch {
		case x.Error != "":
			fmt.Fprintf(tab, "%s\t\tnot reached: %s\n", x.Pod, words.Foreign(x.Error))
		case len(x.Process.Experiments) == 0:
			fmt.Fprintf(tab, "%s\t\tidle\n", x.Pod)
		}
		for _, e := range x.Process.Experiments {
			since, lease := x.Process.Started, ""
			if e.Ready != nil {
				since = *e.Ready
			}
			if e.Lease != nil {
				lease = max(0, time.Until(*e.Lease)).Round(time.Second).String()
			}
			fmt.Fprintf(tab, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\n", x.Pod, words.Foreign(e.Name), e.State, e.Counts.Chosen, e.Counts.Fired, e.Counts.Felt,
				max(0, time.Since(since)).Round(time.Second), lease, words.Foreign(strings.Join(e.Faults, " and ")), words.Foreign(e.Scope))
		}
	}
	return tab.Flush()
}

// stop stops runs, and says which.
func (p *program) stop(ctx context.Context, all []inPod, run string, containers bool) error {
	var mu sync.Mutex
	stopped, failed := 0, 0
	each(all, func(x *inPod) {
		say := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(p.out, "%s: %s\n", x.Pod, words.Foreign(fmt.Sprintf(format, args...)))
		}
		bad := func(err string) {
			say("not reached: %s", err)
			mu.Lock()
			failed++
			mu.Unlock()
		}
		if x.Error != "" {
			bad(x.Error)
			return
		}
		short, cancel := context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
		for _, e := range x.Process.Experiments {
			if run != "" && e.Name != run {
				continue
			}
			if err := x.client.StopRun(short, e.Name); err != nil {
				bad(err.Error())
				return
			}
			say("stopped %s", e.Name)
			mu.Lock()
			stopped++
			mu.Unlock()
		}
		if containers {
			if err := x.client.Stop(short); err != nil {
				bad(err.Error())
				return
			}
			say("faultctl ends")
		}
	})
	switch {
	case failed > 0:
		return quiet(event.CodeFailure)
	case stopped == 0 && run != "":
		return event.Usagef("run", "no pod has a run of that name").WithValue(run).WithAdvice("kubectl faultctl ps lists them.")
	case stopped == 0 && !containers:
		fmt.Fprintln(p.out, "no run was going on")
	}
	return nil
}
