package cluster

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"
)

// A Right is something that the API server lets a user do, or not.
type Right struct {
	Verb, Group, Resource, Sub string

	For    string // what it is used for
	Needed bool   // without it nothing works
}

// String is the right as kubectl auth can-i has it.
func (r Right) String() string {
	name := r.Resource
	if r.Sub != "" {
		name += "/" + r.Sub
	}
	if r.Group != "" {
		name += "." + r.Group
	}
	return r.Verb + " " + name
}

// Rule is the right as a rule of a Role.
func (r Right) Rule() string {
	name := r.Resource
	if r.Sub != "" {
		name += "/" + r.Sub
	}
	return fmt.Sprintf("{apiGroups: [%q], resources: [%q], verbs: [%q]}", r.Group, name, r.Verb)
}

// Rights are all that the plugin uses in a namespace.
func Rights() []Right {
	return []Right{
		{"list", "", "pods", "", "finds the pods", true},
		{"watch", "", "pods", "", "follows pods that are replaced, and waits for the container", true},
		{"patch", "", "pods", "ephemeralcontainers", "adds the container", true},
		{"create", "", "pods", "exec", "reaches faultctl in the container", true},
		{"get", "apps", "deployments", "", "deploy/NAME", false},
		{"get", "apps", "statefulsets", "", "sts/NAME", false},
		{"get", "apps", "daemonsets", "", "ds/NAME", false},
		{"get", "batch", "jobs", "", "job/NAME", false},
		{"get", "", "services", "", "svc/NAME, and --to svc/NAME", false},
		{"list", "discovery.k8s.io", "endpointslices", "", "--to svc/NAME", false},
		{"watch", "discovery.k8s.io", "endpointslices", "", "follows the pods behind --to svc/NAME", false},
	}
}

// May asks whether this user has a right in the namespace, and why not if the API
// server says so.
func (c *Cluster) May(ctx context.Context, r Right) (ok bool, reason string, err error) {
	review, err := c.Client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authv1.SelfSubjectAccessReview{Spec: authv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authv1.ResourceAttributes{Namespace: c.Namespace, Verb: r.Verb, Group: r.Group, Resource: r.Resource, Subresource: r.Sub},
	}}, metav1.CreateOptions{})
	if err != nil {
		return false, "", err
	}
	return review.Status.Allowed, strings.TrimSpace(review.Status.Reason + " " + review.Status.EvaluationError), nil
}

// PodSecurity is the Pod Security level that the namespace enforces; empty if it
// enforces none by a label, or if this user may not read namespaces.
func (c *Cluster) PodSecurity(ctx context.Context) string {
	ns, err := c.Client.CoreV1().Namespaces().Get(ctx, c.Namespace, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return ns.Labels["pod-security.kubernetes.io/enforce"]
}

// Version is that of the API server.
type Version struct {
	Text         string
	major, minor int
}

// AtLeast reports whether the version is that one or a later one.
func (v Version) AtLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// Version asks for the API server's version.
func (c *Cluster) Version() (v Version, err error) {
	info, err := c.Client.Discovery().ServerVersion()
	if err != nil {
		return v, err
	}
	v.Text = info.GitVersion
	v.major, _ = strconv.Atoi(info.Major)
	v.minor, _ = strconv.Atoi(strings.TrimRight(info.Minor, "+"))
	return v, nil
}

// Ensure has the container run in a pod, and returns its name.
func (c *Cluster) Ensure(ctx context.Context, pod string, k Container) (string, error) {
	added := ""
	for deadline := time.Now().Add(time.Minute); ; {
		list, err := c.Client.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + pod})
		switch {
		case err != nil:
			return "", c.failed("read pod "+pod, err)
		case len(list.Items) == 0:
			return "", event.Failuref("", "pod %s is gone", pod)
		}
		name, running, problem := k.In(&list.Items[0])
		switch {
		case running:
			return name, nil
		case problem != nil:
			return "", problem
		case added != "" && Ended(&list.Items[0], added) != "":
			return "", event.Failuref("", "pod %s: faultctl ended at once: %s", pod, Ended(&list.Items[0], added))
		case name == "" && added == "":
			if added, err = c.Add(ctx, &list.Items[0], k, false); err != nil {
				return "", err
			}
		case time.Now().After(deadline):
			return "", event.Failuref("", "pod %s: the container did not begin within a minute", pod)
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// Output runs faultctl in the container and returns what it prints on standard
// output. The error is of its exit code too.
func (c *Cluster) Output(ctx context.Context, pod, container string, args ...string) (string, error) {
	executor, err := c.exec(pod, &corev1.PodExecOptions{Container: container, Command: append([]string{binary}, args...), Stdout: true, Stderr: true})
	if err != nil {
		return "", err
	}
	var out, said bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &limited{&out, 1 << 20}, Stderr: &limited{&said, 4096}})
	if err != nil && said.Len() > 0 {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	}
	return out.String(), err
}
