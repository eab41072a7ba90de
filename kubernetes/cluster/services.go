package cluster

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/faultctl/faultctl/experiment/event"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// A Service is a service that connections go to, and where its pods are now. Whether
// connections have the service's own address or a pod's, in the network of the pod
// that is struck, depends on who rewrites it and where: kube-proxy does it outside of
// the pod, programs on its sockets before a packet is sent. So both are addresses.
type Service struct {
	Name string
	Port string // by its number or name; empty: every port

	mu     sync.Mutex
	own    []string // its cluster addresses with ports
	slices map[string]*discoveryv1.EndpointSlice
	ports  []corev1.ServicePort
}

// nowhereAddr is where no connection goes (RFC 5737): what a service without any
// address stands for.
const nowhereAddr = "192.0.2.1:1"

// ParseService reads svc/NAME or svc/NAME:PORT. ok is false if it is something else.
func ParseService(text string) (name, port string, ok bool) {
	for _, kind := range []string{"svc/", "service/", "services/"} {
		if rest, is := strings.CutPrefix(text, kind); is {
			name, port, _ = strings.Cut(rest, ":")
			return name, port, name != ""
		}
	}
	return "", "", false
}

// Service resolves a service and its EndpointSlices.
func (c *Cluster) Service(ctx context.Context, name, port string) (*Service, error) {
	svc, err := c.Client.CoreV1().Services(c.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, c.failed("read svc/"+name, err)
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil, event.Usagef("to", "svc/%s is a name for %s, outside of the cluster", name, svc.Spec.ExternalName).WithAdvice("Name that host: --to " + svc.Spec.ExternalName + ":PORT.")
	}
	s := &Service{Name: name, Port: port, slices: map[string]*discoveryv1.EndpointSlice{}}
	var known []string
	for _, p := range svc.Spec.Ports {
		known = append(known, strconv.Itoa(int(p.Port)))
		if port != "" && port != p.Name && port != strconv.Itoa(int(p.Port)) || p.Protocol != corev1.ProtocolTCP && p.Protocol != "" {
			continue
		}
		s.ports = append(s.ports, p)
		for _, ip := range svc.Spec.ClusterIPs {
			if ip != corev1.ClusterIPNone {
				s.own = append(s.own, net.JoinHostPort(ip, strconv.Itoa(int(p.Port))))
			}
		}
	}
	if len(s.ports) == 0 {
		return nil, event.Usagef("to", "svc/%s has no TCP port %s", name, port).WithAdvice("It has " + strings.Join(known, ", ") + ".")
	}
	list, err := c.Client.DiscoveryV1().EndpointSlices(c.Namespace).List(ctx, s.slicesOf())
	if err != nil {
		return nil, c.failed("list the endpoint slices of svc/"+name, err)
	}
	for i := range list.Items {
		s.slices[list.Items[i].Name] = &list.Items[i]
	}
	return s, nil
}

func (s *Service) slicesOf() metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + s.Name}
}

// Addresses are what --to takes: the addresses of the service, and then those of its
// pods, sorted. There is always one.
func (s *Service) Addresses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pods []string
	for _, slice := range s.slices {
		for _, p := range slice.Ports {
			if p.Port == nil || p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP || !s.has(p.Name) {
				continue
			}
			for _, e := range slice.Endpoints { // those that end too: their connections live on
				for _, ip := range e.Addresses {
					pods = append(pods, net.JoinHostPort(ip, strconv.Itoa(int(*p.Port))))
				}
			}
		}
	}
	slices.Sort(pods)
	all := slices.Concat(s.own, slices.Compact(pods))
	if len(all) == 0 {
		return []string{nowhereAddr}
	}
	return all
}

// has reports whether a port of that name is one of those that were asked for.
func (s *Service) has(name *string) bool {
	return slices.ContainsFunc(s.ports, func(p corev1.ServicePort) bool { return name == nil && p.Name == "" || name != nil && *name == p.Name })
}

// Own reports whether an address with its port is the service's own.
func (s *Service) Own(addr string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.own, addr)
}

// String is the service with its addresses, in words.
func (s *Service) String() string {
	all := s.Addresses()
	n := len(all) - len(s.own)
	if len(all) == 1 && all[0] == nowhereAddr {
		n = 0
	}
	text := "svc/" + s.Name
	switch {
	case len(s.own) > 0:
		text += " is " + strings.Join(s.own, ", ") + fmt.Sprintf(", and %d pod addresses behind it", n)
	default:
		text += fmt.Sprintf(" has no address of its own, and %d pod addresses", n)
	}
	if n == 0 {
		text += ": none of its pods is there"
	}
	return text
}

// Follow calls changed whenever the addresses of the service may have changed, until
// ctx is done.
func (s *Service) Follow(ctx context.Context, c *Cluster, changed func()) {
	all := c.Client.DiscoveryV1().EndpointSlices(c.Namespace)
	informer := cache.NewSharedInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = s.slicesOf().LabelSelector
			return all.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = s.slicesOf().LabelSelector
			return all.Watch(ctx, o)
		},
	}, &discoveryv1.EndpointSlice{}, 0)
	informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {}) // it goes on trying
	set := func(o any, there bool) {
		if last, is := o.(cache.DeletedFinalStateUnknown); is {
			o = last.Obj
		}
		slice, is := o.(*discoveryv1.EndpointSlice)
		if !is {
			return
		}
		s.mu.Lock()
		if there {
			s.slices[slice.Name] = slice
		} else {
			delete(s.slices, slice.Name)
		}
		s.mu.Unlock()
		changed()
	}
	informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { set(o, true) }, UpdateFunc: func(_, o any) { set(o, true) }, DeleteFunc: func(o any) { set(o, false) },
	})
	informer.RunWithContext(ctx)
}
