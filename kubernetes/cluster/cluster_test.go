package cluster

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

var k = Container{Image: "faultctl:1", IdleExit: time.Hour}

func TestParseObject(t *testing.T) {
	for word, want := range map[string]string{"pod/a": "pod/a", "deployment/a": "deploy/a", "svc/a": "svc/a", "sts/a": "sts/a", "StatefulSet/a": "sts/a", "reset": ""} {
		o, is, err := ParseObject(word)
		if err != nil || is != (want != "") || is && o.String() != want {
			t.Errorf("%s: %v %v %v", word, o, is, err)
		}
	}
	for _, word := range []string{"node/a", "pod/", "/a"} {
		if _, _, err := ParseObject(word); err == nil {
			t.Errorf("%s names pods", word)
		}
	}
}

// TestContainerSpec holds that the container has the two capabilities and nothing else.
func TestContainerSpec(t *testing.T) {
	var patch struct {
		Spec struct {
			EphemeralContainers []corev1.EphemeralContainer `json:"ephemeralContainers"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(k.Patch("faultctl"), &patch); err != nil || len(patch.Spec.EphemeralContainers) != 1 {
		t.Fatal(err)
	}
	c := patch.Spec.EphemeralContainers[0]
	s := c.SecurityContext
	if !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || !slices.Equal(s.Capabilities.Add, []corev1.Capability{"NET_ADMIN", "NET_RAW"}) || *s.Privileged || *s.AllowPrivilegeEscalation {
		t.Errorf("%+v", s)
	}
	if c.Command[0] != "/faultctl" || c.Command[1] != "serve" || c.TargetContainerName != "" {
		t.Errorf("%+v", c)
	}
}

// TestIn holds that a container is used again while it runs, awaited while it does not
// yet, and that another is added when it has ended: it cannot be started again.
func TestIn(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "api"}}
	add := func(name, image string, state corev1.ContainerState) {
		pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: image}})
		pod.Status.EphemeralContainerStatuses = append(pod.Status.EphemeralContainerStatuses, corev1.ContainerStatus{Name: name, State: state})
	}
	holds := func(name string, running bool, problem, next string) {
		t.Helper()
		n, r, p := k.In(pod)
		if n != name || r != running || (p != nil) != (problem != "") || p != nil && !strings.Contains(p.Render(nil), problem) || Next(pod) != next {
			t.Errorf("%q %v %v, next %q; want %q %v %q, next %q", n, r, p, Next(pod), name, running, problem, next)
		}
	}
	holds("", false, "", "faultctl")
	add("debugger-x", "busybox", corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	holds("", false, "", "faultctl")
	add("faultctl", k.Image, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 5, Message: "no queue\n"}})
	holds("", false, "", "faultctl-2")
	if got := Ended(pod, "faultctl"); got != "exit 5: no queue" {
		t.Error(got)
	}
	add("faultctl-2", "faultctl:0", corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	holds("", false, "", "faultctl-3")
	add("faultctl-3", k.Image, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImageNeverPull", Message: "it is not there"}})
	holds("faultctl-3", false, "it is not there", "faultctl-4")
	pod.Status.EphemeralContainerStatuses[3].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	holds("faultctl-3", true, "", "faultctl-4")
}

// TestRefuse holds what cannot be struck, as far as specs tell.
func TestRefuse(t *testing.T) {
	c := &Cluster{Client: fake.NewClientset(), Namespace: "shop"}
	class := func(name string) *string { return &name }
	for want, spec := range map[string]corev1.PodSpec{
		"":            {},
		"hostNetwork": {HostNetwork: true},
		"Windows":     {OS: &corev1.PodOS{Name: corev1.Windows}},
		"gVisor":      {RuntimeClassName: class("gvisor")},
		"Kata":        {RuntimeClassName: class("kata-qemu")},
	} {
		e := c.Refuse(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "api"}, Spec: spec})
		if (e != nil) != (want != "") || e != nil && !strings.Contains(e.Render(nil), want) {
			t.Errorf("%q: %v", want, e)
		}
	}
}

// TestServiceAddresses holds that a service is its own addresses and those of its pods,
// by the port that was named, and never nothing, which would be every connection.
func TestServiceAddresses(t *testing.T) {
	port, sql, web, n, m := int32(5432), "sql", "web", int32(5432), int32(8080)
	client := fake.NewClientset(
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "shop"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.7", ClusterIPs: []string{"10.96.0.7", "fd00::7"},
			Ports: []corev1.ServicePort{{Name: "sql", Port: 5433}, {Name: "web", Port: 80}}}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "none", Namespace: "shop"}, Spec: corev1.ServiceSpec{ClusterIPs: []string{"None"}, Ports: []corev1.ServicePort{{Port: port}}}},
		&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "db-1", Namespace: "shop", Labels: map[string]string{discoveryv1.LabelServiceName: "db"}},
			Ports:     []discoveryv1.EndpointPort{{Name: &sql, Port: &n}, {Name: &web, Port: &m}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.9"}}, {Addresses: []string{"10.244.0.8"}}}},
	)
	c := &Cluster{Client: client, Namespace: "shop"}
	for text, want := range map[string][]string{
		"svc/db:5433": {"10.96.0.7:5433", "[fd00::7]:5433", "10.244.0.8:5432", "10.244.0.9:5432"},
		"svc/db:sql":  {"10.96.0.7:5433", "[fd00::7]:5433", "10.244.0.8:5432", "10.244.0.9:5432"},
		"svc/none":    {nowhereAddr},
	} {
		name, port, is := ParseService(text)
		s, err := c.Service(t.Context(), name, port)
		if err != nil || !is || !slices.Equal(s.Addresses(), want) {
			t.Errorf("%s: %v, %v", text, s, err)
		}
	}
	if _, err := c.Service(t.Context(), "db", "5432"); err == nil || !strings.Contains(err.Error(), "no TCP port 5432") {
		t.Error(err)
	}
	if _, err := c.Service(t.Context(), "nowhere", ""); err == nil {
		t.Error("it is there")
	}
}
