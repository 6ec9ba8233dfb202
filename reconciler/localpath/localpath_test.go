package localpath_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/internal/localvolume"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/localpath"
)

func deps(objects ...client.Object) (controller.Deps, *record.FakeRecorder) {
	clk := clocktesting.NewFakeClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	events := record.NewFakeRecorder(100)
	return controller.Deps{Client: fakecluster.New(clk, objects...), Clock: clk, Logger: slog.New(slog.DiscardHandler), Events: events}, events
}

func node() *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelHostname: "host-1"}}}
}

func class() *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "local-path"}, Provisioner: localvolume.Provisioner}
}

func claim(set ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data", UID: "u1", Annotations: map[string]string{
			volumehelpers.AnnStorageProvisioner: localvolume.Provisioner, volumehelpers.AnnSelectedNode: "n1"}},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("local-path"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}},
	}
	for _, f := range set {
		f(c)
	}
	return c
}

func TestVolumeIsMade(t *testing.T) {
	t.Parallel()
	d, _ := deps(node(), class(), claim())
	r := &localpath.Claims{Deps: d}
	for range 2 { // the second time there is nothing to do
		if _, err := r.Reconcile(t.Context(), controller.Named("shop", "data")); err != nil {
			t.Fatal(err)
		}
	}
	v := &corev1.PersistentVolume{}
	if err := d.Client.Get(t.Context(), client.ObjectKey{Name: "pvc-u1"}, v); err != nil {
		t.Fatal(err)
	}
	if !localvolume.Is(v) || localvolume.Host(v) != "host-1" || v.Labels[corev1.LabelHostname] != "host-1" || v.Spec.ClaimRef.UID != "u1" ||
		v.Spec.Capacity.Storage().String() != "1Gi" || !slices.Contains(v.Finalizers, localvolume.Finalizer) ||
		v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		t.Errorf("volume %+v", v)
	}
}

func TestVolumesThatCannotBe(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		set  func(*corev1.PersistentVolumeClaim)
		want string
	}{
		"no node":      {func(c *corev1.PersistentVolumeClaim) { delete(c.Annotations, volumehelpers.AnnSelectedNode) }, "WaitForFirstConsumer"},
		"many writers": {func(c *corev1.PersistentVolumeClaim) { c.Spec.AccessModes[0] = corev1.ReadWriteMany }, "ReadWriteMany"},
		"a block":      {func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock) }, "Block"},
		"a selector":   {func(c *corev1.PersistentVolumeClaim) { c.Spec.Selector = &metav1.LabelSelector{} }, "selector"},
		"a source":     {func(c *corev1.PersistentVolumeClaim) { c.Spec.DataSource = &corev1.TypedLocalObjectReference{} }, "data source"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, events := deps(node(), class(), claim(test.set))
			if _, err := (&localpath.Claims{Deps: d}).Reconcile(t.Context(), controller.Named("shop", "data")); err != nil {
				t.Fatal(err)
			}
			if e := <-events.Events; !strings.Contains(e, "ProvisioningFailed") || !strings.Contains(e, test.want) {
				t.Errorf("event %q", e)
			}
		})
	}
}

func TestNodeThatHasGone(t *testing.T) {
	t.Parallel()
	d, _ := deps(class(), claim())
	if _, err := (&localpath.Claims{Deps: d}).Reconcile(t.Context(), controller.Named("shop", "data")); err != nil {
		t.Fatal(err)
	}
	c := &corev1.PersistentVolumeClaim{}
	if err := d.Client.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "data"}, c); err != nil || c.Annotations[volumehelpers.AnnSelectedNode] != "" {
		t.Errorf("%v, annotations %v", err, c.Annotations)
	}
}

func TestVolumesGo(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		phase   corev1.PersistentVolumePhase
		policy  corev1.PersistentVolumeReclaimPolicy
		node    bool
		deleted bool
		// state is "there", "waits" for its node, or "gone".
		state string
	}{
		{name: "a bound one stays", phase: corev1.VolumeBound, policy: corev1.PersistentVolumeReclaimDelete, node: true, state: "there"},
		{name: "a released one is deleted by its node", phase: corev1.VolumeReleased, policy: corev1.PersistentVolumeReclaimDelete, node: true, state: "waits"},
		{name: "its node is no more", phase: corev1.VolumeReleased, policy: corev1.PersistentVolumeReclaimDelete, state: "gone"},
		{name: "a retained one stays", phase: corev1.VolumeReleased, policy: corev1.PersistentVolumeReclaimRetain, node: true, state: "there"},
		{name: "a retained one that is deleted leaves its data", phase: corev1.VolumeReleased, policy: corev1.PersistentVolumeReclaimRetain, node: true, deleted: true, state: "gone"},
		{name: "a bound one waits for its claim", phase: corev1.VolumeBound, policy: corev1.PersistentVolumeReclaimDelete, deleted: true, state: "waits"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			v, err := localpath.Volume(claim(), class(), node())
			if err != nil {
				t.Fatal(err)
			}
			v.Status.Phase, v.Spec.PersistentVolumeReclaimPolicy = test.phase, test.policy
			objects := []client.Object{v}
			if test.node {
				objects = append(objects, node())
			}
			d, _ := deps(objects...)
			if test.deleted {
				if err := d.Client.Delete(t.Context(), v); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if _, err := (&localpath.Volumes{Deps: d}).Reconcile(t.Context(), controller.Request(v)); err != nil {
					t.Fatal(err)
				}
			}
			state := "there"
			switch err := d.Client.Get(t.Context(), client.ObjectKeyFromObject(v), v); {
			case apierrors.IsNotFound(err):
				state = "gone"
			case err != nil:
				t.Fatal(err)
			case v.DeletionTimestamp != nil:
				state = "waits"
			}
			if state != test.state {
				t.Errorf("it is %s, want %s", state, test.state)
			}
		})
	}
}

func TestExpansion(t *testing.T) {
	t.Parallel()
	v, err := localpath.Volume(claim(), class(), node())
	if err != nil {
		t.Fatal(err)
	}
	c := claim(func(c *corev1.PersistentVolumeClaim) {
		c.Spec.VolumeName = v.Name
		c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("3Gi")}
		c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}
	})
	d, _ := deps(v, c)
	if _, err := (&localpath.Expand{Deps: d}).Reconcile(t.Context(), controller.Request(c)); err != nil {
		t.Fatal(err)
	}
	if err := d.Client.Get(t.Context(), client.ObjectKeyFromObject(v), v); err != nil {
		t.Fatal(err)
	}
	if err := d.Client.Get(t.Context(), client.ObjectKeyFromObject(c), c); err != nil {
		t.Fatal(err)
	}
	if v.Spec.Capacity.Storage().String() != "3Gi" || c.Status.Capacity.Storage().String() != "3Gi" {
		t.Errorf("volume %s, claim %s", v.Spec.Capacity.Storage(), c.Status.Capacity.Storage())
	}
}

func TestClass(t *testing.T) {
	t.Parallel()
	other := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "mine", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}}, Provisioner: "example.com/x"}
	for name, test := range map[string]struct {
		have     []client.Object
		standard string
	}{"a new cluster": {standard: "true"}, "one with a default": {have: []client.Object{other}, standard: "false"}} {
		d, _ := deps(test.have...)
		for range 2 {
			if _, err := (&localpath.Class{Deps: d}).Reconcile(t.Context(), controller.Named("", localpath.ClassName)); err != nil {
				t.Fatal(err)
			}
		}
		c := &storagev1.StorageClass{}
		if err := d.Client.Get(t.Context(), client.ObjectKey{Name: localpath.ClassName}, c); err != nil {
			t.Fatal(err)
		}
		if got := c.Annotations["storageclass.kubernetes.io/is-default-class"]; got != test.standard {
			t.Errorf("%s: default %q, want %q", name, got, test.standard)
		}
	}
}
