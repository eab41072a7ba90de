package plugin

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment"
	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/internal/words"
	"github.com/faultctl/faultctl/kubernetes/cluster"
	"github.com/faultctl/faultctl/kubernetes/runs"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

var now = time.Now

func (p *program) injectCommand(args []string) *cobra.Command {
	var f podFlags
	c := &cobra.Command{
		Use:   "inject FAULT… POD… [flags]",
		Short: "inject faults into the connections of pods until Ctrl-C or --duration",
		Long: "FAULT is one of " + strings.Join(faults.Names(), ", ") + ", or a SPEC (NAME:setting=value,…); inject FAULT --help lists its settings.\n" +
			"POD is pod/NAME, deploy/NAME, sts/NAME, ds/NAME, svc/NAME or job/NAME; -l selects by labels. Pods that a rollout brings are struck too.",
		Example: "  kubectl faultctl inject idle-expire --after 2s --to :5432 pod/api-7f9c\n" +
			"  kubectl faultctl inject reset --percent 10 --to svc/db -l app=api --duration 60s\n" +
			"  kubectl faultctl inject syn-drop --to svc/db:5432 deploy/api --pods 50%",
		ValidArgsFunction: p.completeFaultsAndPods,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(p); err != nil {
				return err
			}
			return p.inject(c, &f, args)
		},
	}
	f.addSelection(c.Flags())
	f.addRun(c.Flags())
	c.Flags().BoolVar(&f.print, "print", false, "print what would be sent to the API server and to the pods; change nothing")
	addWords(c.Flags())
	if kind := faultIn(args); kind != nil {
		kubectl := &cobra.Command{}
		p.kube.AddFlags(kubectl.Flags())
		addKnobs(c.Flags(), kubectl.Flags(), *kind)
		c.Short, c.Long = kind.Cause, ""
	}
	return c
}

// inject strikes pods in the foreground.
func (p *program) inject(c *cobra.Command, f *podFlags, args []string) error {
	names, objects, err := split(args)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return event.Usagef("", "inject: which FAULT?").WithAdvice("For example: kubectl faultctl inject reset --to :5432 deploy/api. There are " + strings.Join(faults.Names(), ", ") + ".")
	}
	spec, services, err := readSpec(c, names)
	if err != nil {
		return err
	}
	cfg, err := p.config(c.Context(), f, spec, services, objects)
	if err != nil {
		return err
	}
	if f.print {
		return p.print(c.Context(), cfg)
	}
	out := p.printer(cfg, f.quiet)
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	cfg.Line, cfg.Says = out.line, out.says
	out.begin()
	r := runs.Start(ctx, cfg)
	if spec.Duration != nil && *spec.Duration > 0 {
		go func() {
			select {
			case <-r.Ready():
				time.Sleep(*spec.Duration) // the process may end meanwhile
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	err = r.Wait(ctx)
	cancel()
	r.Wait(ctx)
	struck := r.Struck()
	out.end(struck)
	switch {
	case errors.Is(err, runs.ErrStopped):
		return quiet(128 + 15)
	case err != nil:
		if anyReady(struck) {
			return quiet(event.CodeFailure)
		}
		return quiet(codeOf(err))
	case spec.ExpectFired && !spec.AllowIdle && !anyFired(struck):
		return quiet(event.CodeNeverFired)
	}
	return nil
}

func codeOf(err error) event.Code {
	var e *event.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return event.CodeFailure
}

// config is a run in the pods that a command line names. Nothing is added to any pod
// if one of them must not be struck, or the cluster would not admit it.
func (p *program) config(ctx context.Context, f *podFlags, spec experiment.Spec, services []string, objects []cluster.Object) (cfg runs.Config, err error) {
	cl, err := p.cluster()
	if err != nil {
		return cfg, err
	}
	cfg = runs.Config{Cluster: cl, Container: f.container, Name: runName(spec), Spec: spec, Lease: f.lease, Limit: f.wait}
	if cfg.Seed = drawn(); spec.Seed != nil {
		cfg.Seed = *spec.Seed
	}
	if f.pods != "" {
		if cfg.Share, err = runs.ParseShare(f.pods); err != nil {
			return cfg, err
		}
	}
	if cfg.Selection, err = cl.Select(ctx, objects, f.label); err != nil {
		return cfg, err
	}
	for _, text := range services {
		name, port, _ := cluster.ParseService(text)
		svc, err := cl.Service(ctx, name, port)
		if err != nil {
			return cfg, err
		}
		cfg.Services = append(cfg.Services, svc)
	}
	return cfg, admitted(ctx, cfg)
}

// admitted checks the pods that there are: each by what is known of it, and one of
// each owner by asking the API server, which judges pods of one template alike.
func admitted(ctx context.Context, cfg runs.Config) error {
	pods, err := cfg.Cluster.Pods(ctx, cfg.Selection)
	if err != nil {
		return err
	}
	for _, name := range cfg.Selection.Named() {
		found := false
		for _, pod := range pods {
			found = found || pod.Name == name
		}
		if !found {
			return event.Usagef("", "there is no pod %s in namespace %s, or it has ended", name, cfg.Cluster.Namespace).WithAdvice("kubectl get pods lists them; -n NAMESPACE names another namespace.")
		}
	}
	asked := map[string]bool{}
	for _, pod := range pods {
		if e := cfg.Cluster.Refuse(ctx, pod); e != nil {
			return e
		}
		owner := "pod/" + pod.Name
		if len(pod.OwnerReferences) > 0 {
			owner = string(pod.OwnerReferences[0].UID)
		}
		if name, running, _ := cfg.Container.In(pod); asked[owner] || running && name != "" {
			continue
		}
		asked[owner] = true
		if _, err := cfg.Cluster.Add(ctx, pod, cfg.Container, true); err != nil {
			return err
		}
	}
	return nil
}

// runName names a run as no other is: several people may strike a pod at once.
func runName(s experiment.Spec) string {
	return s.Faults[0].Name + "-" + strings.ToLower(rand.Text()[:6])
}

// drawn is a seed that is short enough to be typed.
func drawn() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:]) % 1_000_000_000
}

// print writes what inject would send, as YAML documents.
func (p *program) print(ctx context.Context, cfg runs.Config) error {
	pods, err := cfg.Cluster.Pods(ctx, cfg.Selection)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		fmt.Fprintf(p.out, "# no pod of %s is there now\n", cfg.Selection)
	}
	for _, pod := range pods {
		fmt.Fprintf(p.out, "---\n# PATCH /api/v1/namespaces/%s/pods/%s/ephemeralcontainers (strategic merge)", cfg.Cluster.Namespace, pod.Name)
		name, _, _ := cfg.Container.In(pod)
		if name != "" {
			fmt.Fprintf(p.out, "\n# The pod has it already: %s\n", name)
		} else {
			body, err := yaml.JSONToYAML(cfg.Container.Patch(cluster.Next(pod)))
			if err != nil {
				return err
			}
			fmt.Fprintf(p.out, "\n%s", body)
		}
		body, err := yaml.JSONToYAML(cfg.SpecFor(pod.Name))
		if err != nil {
			return err
		}
		fmt.Fprintf(p.out, "---\n# PUT /v1/experiments/%s?lease=%s of faultctl serve in pod %s\n%s", cfg.Name, words.ShortDuration(cfg.Lease), pod.Name, body)
	}
	return nil
}

func anyReady(all []runs.Pod) bool {
	for _, p := range all {
		if p.Ready {
			return true
		}
	}
	return false
}

func anyFired(all []runs.Pod) bool {
	for _, p := range all {
		if p.Seen.Fired > 0 {
			return true
		}
	}
	return false
}

// completeFaultsAndPods completes the words of a command line.
func (p *program) completeFaultsAndPods(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 && c.Name() == "inject" {
		return faults.Names(), cobra.ShellCompDirectiveNoFileComp
	}
	cl, err := p.cluster()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, _ := cl.Objects(c.Context())
	return all, cobra.ShellCompDirectiveNoFileComp
}
