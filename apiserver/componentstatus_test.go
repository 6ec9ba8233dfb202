package apiserver_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestComponentStatus(t *testing.T) {
	t.Parallel()
	client := adminClient(t, start(t))
	ctx := t.Context()
	_, err := client.CoordinationV1().Leases("kube-system").Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "kube-scheduler"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: ptr.To("s1")}}, metav1.CreateOptions{})
	check(t, err)
	list, err := client.CoreV1().ComponentStatuses().List(ctx, metav1.ListOptions{})
	check(t, err)
	got := map[string]string{}
	for _, o := range list.Items {
		got[o.Name] = string(o.Conditions[0].Status) + " " + o.Conditions[0].Message + o.Conditions[0].Error
	}
	want := map[string]string{"scheduler": "True ok", "controller-manager": "False no server runs it", "etcd-0": "True ok"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("component statuses (-want +got):\n%s", diff)
	}
	one, err := client.CoreV1().ComponentStatuses().Get(ctx, "scheduler", metav1.GetOptions{})
	check(t, err)
	if one.Name != "scheduler" || one.Conditions[0].Message != "ok" {
		t.Errorf("got %+v", one)
	}
	if _, err := client.CoreV1().ComponentStatuses().Get(ctx, "other", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("get what there is not: %v", err)
	}
	list, err = client.CoreV1().ComponentStatuses().List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=etcd-0"})
	check(t, err)
	if len(list.Items) != 1 || list.Items[0].Name != "etcd-0" {
		t.Errorf("selected by name: %+v", list.Items)
	}
	err = client.CoreV1().ComponentStatuses().Delete(ctx, "etcd-0", metav1.DeleteOptions{})
	if !apierrors.IsMethodNotSupported(err) {
		t.Errorf("delete: %v, want %d", err, http.StatusMethodNotAllowed)
	}
}
