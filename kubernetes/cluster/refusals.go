package cluster

import (
	"context"
	"strings"

	"github.com/faultctl/faultctl/experiment/event"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Refuse says why a pod cannot or must not be struck, as far as that can be known
// before anything is added; nil if nothing speaks against it.
func (c *Cluster) Refuse(ctx context.Context, pod *corev1.Pod) *event.Error {
	if pod.Spec.HostNetwork {
		return event.Refusedf("", "pod %s is in the network of its node (hostNetwork): faults would strike the node, its kubelet and every pod like it", pod.Name).
			WithAdvice("Run faultctl on a node that may be struck, or choose other pods.")
	}
	if os := pod.Spec.NodeSelector[corev1.LabelOSStable]; pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows || os == "windows" {
		return event.Preflightf("", "pod %s runs on Windows, which has no netfilter", pod.Name)
	}
	if pod.Annotations[corev1.MirrorPodAnnotationKey] != "" {
		return event.Preflightf("", "pod %s is a static pod of its kubelet, to which nothing can be added", pod.Name)
	}
	if class := pod.Spec.RuntimeClassName; class != nil {
		return c.refuseClass(ctx, pod.Name, *class)
	}
	return nil
}

// refuseClass judges a runtime class by its handler, or by its name if this user may
// not read it: RuntimeClasses belong to the cluster.
func (c *Cluster) refuseClass(ctx context.Context, pod, class string) *event.Error {
	names := []string{class}
	if rc, err := c.Client.NodeV1().RuntimeClasses().Get(ctx, class, metav1.GetOptions{}); err == nil {
		names = append(names, rc.Handler)
	}
	for _, name := range names {
		switch name = strings.ToLower(name); {
		case strings.Contains(name, "gvisor"), strings.Contains(name, "runsc"):
			return event.Preflightf("", "pod %s has the runtime class %s: gVisor has a TCP of its own, without netfilter queues", pod, class).
				WithAdvice("Strike the other end of the connections, or run a copy of the pod without the runtime class.")
		case strings.Contains(name, "kata"):
			return event.Preflightf("", "pod %s has the runtime class %s: its kernel is a guest's (Kata), of which nothing is known here", pod, class).
				WithAdvice("Strike the other end of the connections, or run a copy of the pod without the runtime class.")
		}
	}
	return nil
}
