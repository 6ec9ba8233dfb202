package scheduler_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const selectedNode = "volume.kubernetes.io/selected-node"

func lateClass() *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "late"}, Provisioner: "headway.sh/local-path",
		VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer)}
}

func withClaim(p *corev1.Pod) (*corev1.Pod, *corev1.PersistentVolumeClaim) {
	p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data"}}
	c.Spec.StorageClassName = ptr.To("late")
	c.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeFilesystem)
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	return p, c
}

func (r *run) claim() *corev1.PersistentVolumeClaim {
	r.Helper()
	c := &corev1.PersistentVolumeClaim{}
	if err := r.api.Get(r.Context(), client.ObjectKey{Namespace: "shop", Name: "data"}, c); err != nil {
		r.Fatal(err)
	}
	return c
}

func (r *run) update(o client.Object) {
	r.Helper()
	if err := r.api.Update(r.Context(), o); err != nil {
		r.Fatal(err)
	}
}

// TestAPodWaitsForItsVolume: the node is chosen and said on the claim; the pod
// is bound when the claim is. A provisioner that gives up lets it choose anew.
func TestAPodWaitsForItsVolume(t *testing.T) {
	p, c := withClaim(pod("db", "1"))
	r := start(t, true, node("n1", "2"), lateClass(), p)
	r.await("the reason", func() bool {
		return strings.HasPrefix(condition(r.pod("db"), corev1.PodScheduled).Message, `0/1 nodes are available: persistentvolumeclaim "data" not found.`)
	})
	r.create(c)
	r.await("the node is selected", func() bool { return r.claim().Annotations[selectedNode] == "n1" })
	given := r.claim()
	delete(given.Annotations, selectedNode)
	r.update(given)
	r.await("selected anew", func() bool { return r.claim().Annotations[selectedNode] == "n1" })
	if got := r.pod("db").Spec.NodeName; got != "" {
		t.Errorf("bound to %q before its claim is", got)
	}
	made := r.claim()
	made.Spec.VolumeName = "v"
	made.Annotations["pv.kubernetes.io/bind-completed"] = "yes"
	r.create(&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Spec: corev1.PersistentVolumeSpec{StorageClassName: "late"}})
	r.update(made)
	r.await("bound", func() bool { return r.pod("db").Spec.NodeName == "n1" })
}

// TestAVolumeThatIsThereIsBound: nothing is provisioned.
func TestAVolumeThatIsThereIsBound(t *testing.T) {
	p, c := withClaim(pod("db", "1"))
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}}
	v.Spec.StorageClassName, v.Spec.VolumeMode = "late", ptr.To(corev1.PersistentVolumeFilesystem)
	v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	v.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	v.Status.Phase = corev1.VolumeAvailable
	r := start(t, true, node("n1", "2"), lateClass(), v, c, p)
	r.await("the volume's claim", func() bool {
		got := &corev1.PersistentVolume{}
		if err := r.api.Get(t.Context(), client.ObjectKey{Name: "v"}, got); err != nil {
			t.Fatal(err)
		}
		return got.Spec.ClaimRef != nil && got.Spec.ClaimRef.Name == "data" && got.Spec.ClaimRef.UID == r.claim().UID
	})
	if got := r.claim().Annotations[selectedNode]; got != "" {
		t.Errorf("provisioning on %q as well", got)
	}
}
