package cluster

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Pods lists the pods of a selection, by name. Those that are over are left out.
func (c *Cluster) Pods(ctx context.Context, s *Selection) ([]*corev1.Pod, error) {
	var o metav1.ListOptions
	s.narrow(&o)
	list, err := c.Client.CoreV1().Pods(c.Namespace).List(ctx, o)
	if err != nil {
		return nil, c.failed("list the pods of namespace "+c.Namespace, err)
	}
	var pods []*corev1.Pod
	for i := range list.Items {
		if pod := &list.Items[i]; s.Matches(pod) && !Over(pod) {
			pods = append(pods, pod)
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return pods, nil
}

// Over reports whether a pod has ended or is about to.
func Over(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Follow calls changed with each pod of a selection as it is and whenever it changes,
// and gone when it is not there any more, until ctx is done. No two calls are made at
// the same time. When the API server cannot be reached it goes on trying; broken, which
// may be called at any time, gets why.
func (c *Cluster) Follow(ctx context.Context, s *Selection, changed, gone func(*corev1.Pod), broken func(error)) {
	pods := c.Client.CoreV1().Pods(c.Namespace)
	informer := cache.NewSharedInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			s.narrow(&o)
			return pods.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			s.narrow(&o)
			return pods.Watch(ctx, o)
		},
	}, &corev1.Pod{}, 0)
	informer.SetTransform(func(o any) (any, error) { // of a thousand pods this is half of the memory
		if pod, is := o.(*corev1.Pod); is {
			pod.ManagedFields = nil
		}
		return o, nil
	})
	informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { broken(err) })
	tell := func(o any) {
		if pod, is := o.(*corev1.Pod); is && s.Matches(pod) {
			changed(pod)
		}
	}
	informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: tell, UpdateFunc: func(_, o any) { tell(o) },
		DeleteFunc: func(o any) {
			if last, is := o.(cache.DeletedFinalStateUnknown); is {
				o = last.Obj
			}
			if pod, is := o.(*corev1.Pod); is && s.Matches(pod) {
				gone(pod)
			}
		},
	})
	informer.RunWithContext(ctx)
}
