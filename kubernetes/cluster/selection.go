package cluster

import (
	"context"
	"slices"
	"strings"

	"github.com/faultctl/faultctl/experiment/event"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// An Object is what a user names on the command line, such as deploy/api.
type Object struct{ Kind, Name string }

// String is the object as kubectl writes it.
func (o Object) String() string { return o.Kind + "/" + o.Name }

// kinds are the names by which kubectl knows the kinds of objects that have pods.
var kinds = map[string]string{
	"pod": "pod", "pods": "pod", "po": "pod",
	"deploy": "deploy", "deployment": "deploy", "deployments": "deploy", "deployment.apps": "deploy", "deployments.apps": "deploy",
	"sts": "sts", "statefulset": "sts", "statefulsets": "sts", "statefulset.apps": "sts", "statefulsets.apps": "sts",
	"ds": "ds", "daemonset": "ds", "daemonsets": "ds", "daemonset.apps": "ds", "daemonsets.apps": "ds",
	"svc": "svc", "service": "svc", "services": "svc",
	"job": "job", "jobs": "job", "job.batch": "job", "jobs.batch": "job",
}

// ParseObject reads KIND/NAME. ok is false for a word without a slash. The error is
// of a kind that has no pods.
func ParseObject(word string) (o Object, ok bool, err error) {
	kind, name, is := strings.Cut(word, "/")
	if !is {
		return o, false, nil
	}
	known, is := kinds[strings.ToLower(kind)]
	if !is || name == "" {
		return o, true, event.Usagef("", "%q names no pods", word).WithAdvice("Write pod/NAME, deploy/NAME, sts/NAME, ds/NAME, svc/NAME or job/NAME, or select pods by their labels with -l.")
	}
	return Object{known, name}, true, nil
}

// A Selection says which pods of a namespace are meant, those to come too.
type Selection struct {
	names     []string          // of pods
	selectors []labels.Selector // a pod that one of them matches is meant
	words     []string          // as typed
}

// Select resolves what a user named: objects, and a selector of labels if it is not
// empty. At least one of them is needed.
func (c *Cluster) Select(ctx context.Context, objects []Object, label string) (*Selection, error) {
	s := &Selection{}
	if label != "" {
		sel, err := labels.Parse(label)
		if err != nil {
			return nil, event.Usagef("", "-l %s: %w", label, err)
		}
		s.selectors, s.words = append(s.selectors, sel), append(s.words, "-l "+label)
	}
	for _, o := range objects {
		s.words = append(s.words, o.String())
		if o.Kind == "pod" {
			s.names = append(s.names, o.Name)
			continue
		}
		sel, err := c.selectorOf(ctx, o)
		if err != nil {
			return nil, err
		}
		s.selectors = append(s.selectors, sel)
	}
	if len(s.words) == 0 {
		return nil, event.Usagef("", "which pods?").WithAdvice("Name them (pod/NAME, deploy/NAME, sts/NAME, svc/NAME), or select them by their labels with -l.")
	}
	return s, nil
}

// selectorOf is the selector by which an object knows its pods.
func (c *Cluster) selectorOf(ctx context.Context, o Object) (labels.Selector, error) {
	var sel *metav1.LabelSelector
	var err error
	get := metav1.GetOptions{}
	switch o.Kind {
	case "deploy":
		d, e := c.Client.AppsV1().Deployments(c.Namespace).Get(ctx, o.Name, get)
		if err = e; e == nil {
			sel = d.Spec.Selector
		}
	case "sts":
		d, e := c.Client.AppsV1().StatefulSets(c.Namespace).Get(ctx, o.Name, get)
		if err = e; e == nil {
			sel = d.Spec.Selector
		}
	case "ds":
		d, e := c.Client.AppsV1().DaemonSets(c.Namespace).Get(ctx, o.Name, get)
		if err = e; e == nil {
			sel = d.Spec.Selector
		}
	case "job":
		d, e := c.Client.BatchV1().Jobs(c.Namespace).Get(ctx, o.Name, get)
		if err = e; e == nil {
			sel = d.Spec.Selector
		}
	case "svc":
		d, e := c.Client.CoreV1().Services(c.Namespace).Get(ctx, o.Name, get)
		if err = e; e == nil && len(d.Spec.Selector) == 0 {
			return nil, event.Usagef("", "%s has no selector: somebody else keeps its endpoints", o).WithAdvice("Select the pods by their labels with -l.")
		} else if e == nil {
			sel = &metav1.LabelSelector{MatchLabels: d.Spec.Selector}
		}
	}
	if err != nil {
		return nil, c.failed("read "+o.String(), err)
	}
	parsed, err := metav1.LabelSelectorAsSelector(sel)
	if err != nil {
		return nil, event.Failuref("", "the selector of %s: %w", o, err)
	}
	return parsed, nil
}

// Matches reports whether a pod of the namespace is meant.
func (s *Selection) Matches(pod *corev1.Pod) bool {
	return slices.Contains(s.names, pod.Name) || slices.ContainsFunc(s.selectors, func(sel labels.Selector) bool { return sel.Matches(labels.Set(pod.Labels)) })
}

// Named are the pods that were named one by one: no others can take their place.
func (s *Selection) Named() []string { return s.names }

// Follows reports whether pods may come later.
func (s *Selection) Follows() bool { return len(s.selectors) > 0 }

// String is the selection as it was typed.
func (s *Selection) String() string { return strings.Join(s.words, " ") }

// narrow has the API server leave out what is not meant, where it can.
func (s *Selection) narrow(o *metav1.ListOptions) {
	switch {
	case len(s.selectors) == 1 && len(s.names) == 0:
		o.LabelSelector = s.selectors[0].String()
	case len(s.selectors) == 0 && len(s.names) == 1:
		o.FieldSelector = "metadata.name=" + s.names[0]
	}
}

// Everything is the selection of all pods of the namespace.
func Everything() *Selection { return &Selection{selectors: []labels.Selector{labels.Everything()}} }

// Objects are the words that a user may name pods with: for completion.
func (c *Cluster) Objects(ctx context.Context) (all []string, err error) {
	pods, err := c.Client.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{Limit: 500})
	if err != nil {
		return nil, err
	}
	for _, p := range pods.Items {
		all = append(all, "pod/"+p.Name)
	}
	if list, err := c.Client.AppsV1().Deployments(c.Namespace).List(ctx, metav1.ListOptions{Limit: 500}); err == nil {
		for _, d := range list.Items {
			all = append(all, "deploy/"+d.Name)
		}
	}
	return all, nil
}
