package admission_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
)

func quotaOf(name string, hard, used corev1.ResourceList) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}
	if used != nil {
		q.Status = corev1.ResourceQuotaStatus{Hard: hard, Used: used}
	}
	return q
}

func amounts(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func TestResourceQuota(t *testing.T) {
	t.Parallel()
	cpu := func(amount string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = amounts("cpu", amount) }
	}
	named := func(name string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Name = name } }
	running := func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }
	ended := func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }
	one := amounts("pods", "1")
	tests := []struct {
		name        string
		quotas      []txn.Object
		object, old txn.Object
		subresource string
		want        string
	}{
		{name: "no quota", object: pod()},
		{name: "there is room", quotas: []txn.Object{quotaOf("few", one, amounts("pods", "0"))}, object: pod()},
		{name: "there is none", quotas: []txn.Object{quotaOf("few", one, amounts("pods", "1"))}, object: pod(),
			want: `pods "web" is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1`},
		{name: "nobody has counted yet", quotas: []txn.Object{quotaOf("few", one, nil), pod(named("other"))}, object: pod(),
			want: `pods "web" is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1`},
		{name: "nobody has counted the new limit yet", quotas: []txn.Object{func() txn.Object {
			q := quotaOf("few", amounts("pods", "5"), amounts("pods", "1"))
			q.Spec.Hard = one
			return q
		}(), pod(named("other"))}, object: pod(),
			want: `pods "web" is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1`},
		{name: "the second of two quotas", quotas: []txn.Object{quotaOf("a", one, amounts("pods", "0")), quotaOf("b", amounts("count/pods", "3"), amounts("count/pods", "3"))}, object: pod(),
			want: `pods "web" is forbidden: exceeded quota: b, requested: count/pods=1, used: count/pods=3, limited: count/pods=3`},
		{name: "nothing stated", quotas: []txn.Object{quotaOf("few", amounts("cpu", "1"), amounts("cpu", "0"))}, object: pod(),
			want: `pods "web" is forbidden: failed quota: few: must specify cpu for: c`},
		{name: "grows too far", quotas: []txn.Object{quotaOf("few", amounts("cpu", "2"), amounts("cpu", "1"))}, object: pod(cpu("3")), old: pod(cpu("1")), subresource: "resize",
			want: `pods "web" is forbidden: exceeded quota: few, requested: cpu=2, used: cpu=1, limited: cpu=2`},
		{name: "shrinks although overdrawn", quotas: []txn.Object{quotaOf("few", amounts("cpu", "2"), amounts("cpu", "5"))}, object: pod(cpu("3")), old: pod(cpu("4")), subresource: "resize"},
		{name: "a status is never refused", quotas: []txn.Object{quotaOf("few", one, amounts("pods", "1"))}, object: pod(running), old: pod(ended), subresource: "status"},
		{name: "another namespace's", quotas: []txn.Object{func() txn.Object {
			q := quotaOf("few", one, amounts("pods", "1"))
			q.Namespace = "other"
			return q
		}()}, object: pod()},
		{name: "a service that wants node ports", quotas: []txn.Object{quotaOf("few", amounts("services.nodeports", "1"), amounts("services.nodeports", "0"))},
			object: serviceOf(corev1.ServiceTypeNodePort, 2), old: serviceOf(corev1.ServiceTypeClusterIP, 2),
			want: `services "web" is forbidden: exceeded quota: few, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := request(t, test.object, test.old)
			r.Subresource = test.subresource
			says(t, step(t, "ResourceQuota", view(t, test.quotas...), r), test.want)
		})
	}
}

func serviceOf(kind corev1.ServiceType, ports int) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{Type: kind}}
	s.Spec.Ports = make([]corev1.ServicePort, ports)
	return s
}
