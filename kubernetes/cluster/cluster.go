// Package cluster reaches the pods of a Kubernetes cluster: it selects and follows
// them, adds an ephemeral container with faultctl serve to each, and connects to it
// through the API server. It knows nothing of runs.
//
// What it asks of the API server is in manifests/rbac.yaml, and no more.
package cluster

import (
	"errors"
	"fmt"
	"strings"

	"github.com/faultctl/faultctl/experiment/event"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Cluster is a namespace of a cluster, as a user reaches it.
type Cluster struct {
	Client    kubernetes.Interface
	Config    *rest.Config // of Client; Dial needs it
	Namespace string
}

// The requests a second that a client makes at most, on average and at once.
// client-go's own limits (5 and 10) would make a hundred pods wait for minutes.
const (
	requestRate  = 50
	requestBurst = 100
)

// New returns a namespace as a configuration reaches it. The configuration is
// changed: its limits of requests are raised if it has none.
func New(config *rest.Config, namespace string) (*Cluster, error) {
	if config.QPS == 0 {
		config.QPS, config.Burst = requestRate, requestBurst
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, event.Usagef("", "the configuration of kubectl: %w", err)
	}
	return &Cluster{client, config, namespace}, nil
}

// failed is an error of the API server: what was tried, and what to do about it.
func (c *Cluster) failed(tried string, err error) *event.Error {
	e := event.Failuref("", "%s: %w", tried, err)
	var status apierrors.APIStatus
	switch {
	case strings.Contains(err.Error(), "violates PodSecurity"):
		return event.Refusedf("", "%s: %w", tried, err).WithAdvice(c.PodSecurityAdvice())
	case apierrors.IsForbidden(err) && errors.As(err, &status) && status.Status().Details != nil && strings.Contains(err.Error(), "cannot "):
		return event.Preflightf("", "%s: %w", tried, err).WithAdvice("kubectl faultctl doctor says which rights are missing; the cluster's administrator can grant them with the Role in kubernetes/manifests/rbac.yaml.")
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		return event.Refusedf("", "%s: %w", tried, err)
	case apierrors.IsUnauthorized(err):
		return event.Preflightf("", "%s: %w", tried, err).WithAdvice("The cluster does not know this user: kubectl get pods fails in the same way.")
	case apierrors.IsNotFound(err):
		return event.Usagef("", "%s: %w", tried, err)
	}
	return e
}

// PodSecurityAdvice says what to do about a Pod Security level that refuses
// NET_ADMIN: baseline and restricted do.
func (c *Cluster) PodSecurityAdvice() string {
	return fmt.Sprintf("Only the Pod Security level privileged admits the capability NET_ADMIN. Choose a namespace for tests that has it, "+
		"or have the administrator set it: kubectl label namespace %s pod-security.kubernetes.io/enforce=privileged --overwrite. "+
		"The label concerns what is created from then on; it can be taken back when the faults are over.", c.Namespace)
}
