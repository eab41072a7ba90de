package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/faultctl/faultctl/experiment/event"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	binary = "/faultctl"      // in the image
	socket = "/faultctl.sock" // in the container: other containers of the pod cannot reach it
)

// A Container is the ephemeral container that faultctl serve runs in.
type Container struct {
	Image string
	Pull  corev1.PullPolicy // empty: as the cluster does it

	// IdleExit is how long it waits for somebody to ask for something before it ends.
	// An ephemeral container cannot be started again: after that another is added.
	IdleExit time.Duration
}

// ours are the names of the containers that Spec is added as: faultctl, faultctl-2, …
var ours = regexp.MustCompile(`^faultctl(-[0-9]+)?$`)

// Spec is the container as the API has it: all capabilities are dropped but those by
// which rules are installed and packets sent. Capabilities are effective for root
// only, whatever the pod says of its other containers.
func (k Container) Spec(name string) corev1.EphemeralContainer {
	root, no := int64(0), false
	return corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name: name, Image: k.Image, ImagePullPolicy: k.Pull,
		Command: []string{binary, "serve", "--socket", socket, "--idle-exit", k.IdleExit.String()},
		SecurityContext: &corev1.SecurityContext{
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN", "NET_RAW"}},
			RunAsUser:                &root,
			RunAsNonRoot:             &no,
			Privileged:               &no,
			AllowPrivilegeEscalation: &no,
			ReadOnlyRootFilesystem:   &no, // the socket is a file
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}}
}

// Patch is what Add sends to the pod's subresource ephemeralcontainers.
func (k Container) Patch(name string) []byte {
	text, err := json.Marshal(map[string]any{"spec": map[string]any{"ephemeralContainers": []any{k.Spec(name)}}})
	if err != nil {
		panic(err) // it holds plain values
	}
	return text
}

// In finds the container in a pod. name is that of one which runs, or is about to if
// it does not run yet; then problem is why it has not begun, if the kubelet says so.
// name is empty if there is none.
func (k Container) In(pod *corev1.Pod) (name string, running bool, problem *event.Error) {
	status := map[string]corev1.ContainerState{}
	for _, s := range pod.Status.EphemeralContainerStatuses {
		status[s.Name] = s.State
	}
	for _, e := range pod.Spec.EphemeralContainers {
		if !ours.MatchString(e.Name) || e.Image != k.Image {
			continue
		}
		switch s := status[e.Name]; {
		case s.Running != nil:
			return e.Name, true, nil
		case s.Terminated != nil:
		default:
			name, problem = e.Name, nil
			if s.Waiting != nil {
				problem = waits(pod, k.Image, s.Waiting)
			}
		}
	}
	return name, false, problem
}

// Next is the name of a container that is not in the pod.
func Next(pod *corev1.Pod) string {
	n := 0
	for _, e := range pod.Spec.EphemeralContainers {
		if ours.MatchString(e.Name) {
			n++
		}
	}
	if n == 0 {
		return "faultctl"
	}
	return fmt.Sprintf("faultctl-%d", n+1)
}

// waits is why a container does not begin; nil if it may any moment.
func waits(pod *corev1.Pod, image string, w *corev1.ContainerStateWaiting) *event.Error {
	switch w.Reason {
	case "ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "RegistryUnavailable", "ImageInspectError":
		return event.Preflightf("", "pod %s: the image %s cannot be had: %s", pod.Name, image, cmp.Or(w.Message, w.Reason)).WithAdvice(
			"Push the image that make image builds to a registry that the nodes reach, and name it with --image; the pull secrets are those of the pod. " +
				"Or load it into the nodes (kind load docker-image, minikube image load, ctr -n k8s.io images import), with --image-pull-policy Never.")
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
		return event.Failuref("", "pod %s: the container cannot be started: %s: %s", pod.Name, w.Reason, w.Message)
	}
	return nil
}

// Ended says how a container of that name ended, in words; nothing if it did not.
func Ended(pod *corev1.Pod, name string) string {
	for _, s := range pod.Status.EphemeralContainerStatuses {
		if t := s.State.Terminated; s.Name == name && t != nil {
			text := fmt.Sprintf("exit %d", t.ExitCode)
			if t.Reason != "" && t.Reason != "Error" && t.Reason != "Completed" {
				text += ", " + t.Reason
			}
			if t.Message != "" {
				text += ": " + strings.TrimSpace(t.Message)
			}
			return text
		}
	}
	return ""
}

// Add adds the container to a pod. With try nothing is added, but everything that
// decides about it in the API server is asked.
func (c *Cluster) Add(ctx context.Context, pod *corev1.Pod, k Container, try bool) (name string, err error) {
	name = Next(pod)
	var o metav1.PatchOptions
	if try {
		o.DryRun = []string{metav1.DryRunAll}
	}
	if _, err := c.Client.CoreV1().Pods(c.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, k.Patch(name), o, "ephemeralcontainers"); err != nil {
		return "", c.failed("add the ephemeral container "+name+" to pod "+pod.Name, err)
	}
	return name, nil
}

// Running are the names of our containers that run in a pod.
func Running(pod *corev1.Pod) (names []string) {
	for _, s := range pod.Status.EphemeralContainerStatuses {
		if ours.MatchString(s.Name) && s.State.Running != nil {
			names = append(names, s.Name)
		}
	}
	return names
}
