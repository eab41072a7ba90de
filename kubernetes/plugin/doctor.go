package plugin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/faultctl/faultctl/experiment/event"
	"github.com/faultctl/faultctl/kubernetes/cluster"
	"github.com/spf13/cobra"
)

func (p *program) doctorCommand() *cobra.Command {
	var f podFlags
	var start bool
	c := &cobra.Command{
		Use: "doctor [POD…] [flags]", Short: "check what this user may do, and whether the pods can be struck",
		Long: "Nothing is changed: whether the namespace admits the container is asked by a dry run. " +
			"With --start the container is added to one pod, which shows that its image can be had and what the node's kernel can do.",
		Example:           "  kubectl faultctl doctor -n shop\n  kubectl faultctl doctor deploy/api --start",
		ValidArgsFunction: p.completeFaultsAndPods,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(p); err != nil {
				return err
			}
			return p.doctor(c.Context(), &f, args, start)
		},
	}
	f.addSelection(c.Flags())
	c.Flags().BoolVar(&start, "start", false, "add the container to one pod, and have faultctl doctor run there")
	return c
}

// check is something that was looked at.
type check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Needed bool   `json:"needed"` // without it nothing works
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

// doctor ends with 5 if something is missing that is needed.
func (p *program) doctor(ctx context.Context, f *podFlags, args []string, start bool) error {
	names, objects, err := split(args)
	if err == nil && len(names) > 0 {
		err = event.Usagef("", "doctor: %q names no pods", names[0]).WithAdvice("Write pod/NAME, deploy/NAME, sts/NAME, svc/NAME, or -l LABELS.")
	}
	if err != nil {
		return err
	}
	cl, err := p.cluster()
	if err != nil {
		return err
	}
	version, err := cl.Version()
	if err != nil {
		return event.Preflightf("", "ask the API server for its version: %w", err).WithAdvice("kubectl version has to work first.")
	}
	all := []check{versionCheck(version)}
	all = append(all, rightsChecks(ctx, cl)...)
	sel := cluster.Everything()
	if len(objects) > 0 || f.label != "" {
		if sel, err = cl.Select(ctx, objects, f.label); err != nil {
			return err
		}
	}
	all = append(all, p.podChecks(ctx, cl, sel, f.container, start)...)
	return p.show(all, cl.Namespace)
}

// versionCheck judges the version of the API server: ephemeral containers are stable
// from 1.25 on.
func versionCheck(v cluster.Version) check {
	c := check{Name: "Kubernetes", OK: v.AtLeast(1, 25), Needed: true, Detail: v.Text}
	if !c.OK {
		c.Remedy = "Ephemeral containers are on by default from 1.23 on, and stable from 1.25 on."
	}
	return c
}

// rightsChecks ask the API server for each right.
func rightsChecks(ctx context.Context, cl *cluster.Cluster) (all []check) {
	for _, r := range cluster.Rights() {
		ok, reason, err := cl.May(ctx, r)
		c := check{Name: "may " + r.String(), OK: ok, Needed: r.Needed, Detail: r.For}
		switch {
		case err != nil:
			c.Detail, c.Remedy = err.Error(), "The API server could not be asked."
		case !ok:
			c.Remedy = "A Role with " + r.Rule() + " grants it; kubernetes/manifests/rbac.yaml has all of them."
			if reason != "" {
				c.Remedy += " The API server says: " + reason + "."
			}
		}
		all = append(all, c)
	}
	return all
}

// podChecks look at the pods of a selection, and have the API server try to admit the
// container to one of each owner.
func (p *program) podChecks(ctx context.Context, cl *cluster.Cluster, sel *cluster.Selection, k cluster.Container, start bool) (all []check) {
	if level := cl.PodSecurity(ctx); level != "" {
		c := check{Name: "Pod Security", OK: level == "privileged", Detail: "the namespace enforces " + level}
		if !c.OK {
			c.Remedy = cl.PodSecurityAdvice()
		}
		all = append(all, c)
	}
	pods, err := cl.Pods(ctx, sel)
	if err != nil {
		return append(all, check{Name: "pods", Detail: err.Error(), Needed: true})
	}
	if len(pods) == 0 {
		return append(all, check{Name: "pods", Detail: "no pod is there", Remedy: "Name a namespace that has some with -n."})
	}
	struck, asked, started := 0, map[string]bool{}, false
	for _, pod := range pods {
		if e := cl.Refuse(ctx, pod); e != nil {
			all = append(all, check{Name: "pod " + pod.Name, Detail: e.Render(nil), Remedy: cmp.Or(e.Advice, "Choose other pods.")})
			continue
		}
		owner := "pod/" + pod.Name
		if len(pod.OwnerReferences) > 0 {
			owner = string(pod.OwnerReferences[0].UID)
		}
		struck++
		if _, _, problem := k.In(pod); problem != nil {
			all = append(all, check{Name: "image", Detail: problem.Render(nil), Remedy: problem.Advice, Needed: true})
		}
		if asked[owner] {
			continue
		}
		asked[owner] = true
		c := check{Name: "admission of pod " + pod.Name, OK: true, Needed: true, Detail: "the container would be admitted (dry run)"}
		if _, err := cl.Add(ctx, pod, k, true); err != nil {
			e := asEvent(err)
			c.OK, c.Detail, c.Remedy = false, e.Render(nil), cmp.Or(e.Advice, "An admission controller of the cluster refuses it: its administrator can say which.")
		}
		all = append(all, c)
		if c.OK && start && !started {
			started = true
			all = append(all, p.startCheck(ctx, cl, pod.Name, k)...)
		}
	}
	all = append(all, check{Name: "pods", OK: struck > 0, Needed: true, Detail: fmt.Sprintf("%d of %d can be struck, as far as their specs tell", struck, len(pods)), Remedy: ifNot(struck > 0, "Choose other pods.")})
	if !started {
		all = append(all, check{Name: "image and kernel", OK: true, Detail: "not tried: " + k.Image + "; --start adds the container to one pod and tries them"})
	}
	return all
}

func ifNot(ok bool, text string) string {
	if ok {
		return ""
	}
	return text
}

// startCheck adds the container to a pod, and has faultctl doctor say there what the
// node's kernel can do.
func (p *program) startCheck(ctx context.Context, cl *cluster.Cluster, pod string, k cluster.Container) []check {
	name, err := cl.Ensure(ctx, pod, k)
	if err != nil {
		e := asEvent(err)
		return []check{{Name: "image", Needed: true, Detail: e.Render(nil), Remedy: e.Advice}}
	}
	all := []check{{Name: "image", OK: true, Needed: true, Detail: k.Image + " runs in pod " + pod + " as " + name}}
	out, err := cl.Output(ctx, pod, name, "doctor", "-o", "json")
	var features []check
	if jsonErr := json.Unmarshal([]byte(out), &features); jsonErr != nil {
		return append(all, check{Name: "kernel", Needed: true, Detail: fmt.Sprintf("faultctl doctor in pod %s: %v: %s", pod, err, out)})
	}
	for _, f := range features {
		if !strings.Contains(f.Name, ",") && f.Name != "demo" { // those are commands of the core
			f.Name = "kernel: " + f.Name
			all = append(all, f)
		}
	}
	return all
}

func asEvent(err error) *event.Error {
	if e, is := err.(*event.Error); is {
		return e
	}
	return event.Failuref("", "%w", err)
}

// show prints the checks: those that fail with what to do about them.
func (p *program) show(all []check, namespace string) error {
	missing := 0
	for _, c := range all {
		if c.Needed && !c.OK {
			missing++
		}
	}
	if p.json {
		enc := json.NewEncoder(p.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(all); err != nil {
			return err
		}
	} else {
		for _, c := range all {
			mark := "ok     "
			switch {
			case !c.OK && c.Needed:
				mark = "MISSING"
			case !c.OK:
				mark = "no     "
			}
			fmt.Fprintf(p.out, "%s  %s: %s\n", mark, c.Name, c.Detail)
			if !c.OK && c.Remedy != "" {
				fmt.Fprintf(p.out, "           %s\n", c.Remedy)
			}
		}
		if missing == 0 {
			fmt.Fprintf(p.out, "\npods of namespace %s can be struck\n", namespace)
		} else {
			fmt.Fprintf(p.out, "\npods of namespace %s cannot be struck yet: see MISSING\n", namespace)
		}
	}
	if missing > 0 {
		return quiet(event.CodePreflight)
	}
	return nil
}
