package volumebinder_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/volumebinder"
)

func storage(size string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
}

func claim(name, size string, set ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name)},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: storage(size)}, StorageClassName: ptr.To("")},
	}
	for _, f := range set {
		f(c)
	}
	return c
}

func volume(name, size string, set ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{Capacity: storage(size), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}}},
	}
	for _, f := range set {
		f(v)
	}
	return v
}

func reserved(name string, uid types.UID) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) {
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "shop", Name: name, UID: uid}
	}
}

func class(name string, mode storagev1.VolumeBindingMode, standard bool) *storagev1.StorageClass {
	c := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "example.com/disks", VolumeBindingMode: &mode}
	if standard {
		c.Annotations = map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}
	}
	return c
}

// cluster runs both controllers over everything until nothing changes.
type cluster struct {
	t      *testing.T
	api    *fakecluster.Cluster
	events *record.FakeRecorder
}

func newCluster(t *testing.T, objects ...client.Object) *cluster {
	t.Helper()
	clk := clocktesting.NewFakeClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	return &cluster{t: t, api: fakecluster.New(clk, objects...), events: record.NewFakeRecorder(1000)}
}

func (c *cluster) settle() {
	c.t.Helper()
	deps := controller.Deps{Client: c.api, Logger: slog.New(slog.DiscardHandler), Events: c.events}
	claims, volumes := &volumebinder.Claims{Deps: deps}, &volumebinder.Volumes{Deps: deps}
	for before := ""; before != c.versions(); {
		before = c.versions()
		for _, o := range c.volumes() {
			if _, err := volumes.Reconcile(c.t.Context(), controller.Request(o)); err != nil {
				c.t.Fatal(err)
			}
		}
		for _, o := range c.claims() {
			if _, err := claims.Reconcile(c.t.Context(), controller.Request(o)); err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

func (c *cluster) volumes() (all []*corev1.PersistentVolume) {
	var list corev1.PersistentVolumeList
	if err := c.api.List(c.t.Context(), &list); err != nil {
		c.t.Fatal(err)
	}
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	return all
}

func (c *cluster) claims() (all []*corev1.PersistentVolumeClaim) {
	var list corev1.PersistentVolumeClaimList
	if err := c.api.List(c.t.Context(), &list); err != nil {
		c.t.Fatal(err)
	}
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	return all
}

func (c *cluster) versions() string {
	var all []string
	for _, v := range c.volumes() {
		all = append(all, v.ResourceVersion)
	}
	for _, o := range c.claims() {
		all = append(all, o.ResourceVersion)
	}
	return strings.Join(all, " ") + "."
}

// picture is who is bound to whom, in one line.
func (c *cluster) picture() string {
	var all []string
	for _, v := range c.volumes() {
		ref := "-"
		if v.Spec.ClaimRef != nil {
			ref = v.Spec.ClaimRef.Name
		}
		all = append(all, fmt.Sprintf("%s:%s:%s", v.Name, v.Status.Phase, ref))
	}
	for _, o := range c.claims() {
		asked := ""
		if p := o.Annotations[volumehelpers.AnnStorageProvisioner]; p != "" && o.Spec.VolumeName == "" {
			asked = ":" + p
		}
		all = append(all, fmt.Sprintf("%s:%s:%s%s", o.Name, o.Status.Phase, o.Spec.VolumeName, asked))
	}
	return strings.Join(all, " ")
}

func (c *cluster) told(reason string) bool {
	for {
		select {
		case e := <-c.events.Events:
			if strings.Contains(e, " "+reason+" ") {
				return true
			}
		default:
			return false
		}
	}
}

func TestBinding(t *testing.T) {
	t.Parallel()
	classed := func(name string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = &name }
	}
	wants := func(name string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = name }
	}
	tests := []struct {
		name    string
		objects []client.Object
		want    string
		event   string
	}{
		{name: "the smallest that fits", objects: []client.Object{volume("a", "5Gi"), volume("b", "2Gi"), volume("c", "1Gi"), claim("data", "2Gi")},
			want: "a:Available:- b:Bound:data c:Available:- data:Bound:b"},
		{name: "none fits", objects: []client.Object{volume("a", "1Gi"), claim("data", "2Gi")},
			want: "a:Available:- data:Pending:", event: "FailedBinding"},
		{name: "a reserved one, though it is larger", objects: []client.Object{volume("a", "5Gi", reserved("data", "")), volume("b", "2Gi"), claim("data", "2Gi")},
			want: "a:Bound:data b:Available:- data:Bound:a"},
		{name: "one reserved for another stays free", objects: []client.Object{volume("a", "2Gi", reserved("other", "")), claim("data", "2Gi")},
			want: "a:Available:other data:Pending:"},
		{name: "another access mode", objects: []client.Object{volume("a", "2Gi"), claim("data", "1Gi", func(c *corev1.PersistentVolumeClaim) {
			c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
		})}, want: "a:Available:- data:Pending:"},
		{name: "by label", objects: []client.Object{volume("a", "2Gi"), volume("b", "2Gi", func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"disk": "fast"} }),
			claim("data", "1Gi", func(c *corev1.PersistentVolumeClaim) {
				c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"disk": "fast"}}
			})}, want: "a:Available:- b:Bound:data data:Bound:b"},
		{name: "the named one", objects: []client.Object{volume("a", "2Gi"), volume("b", "9Gi"), claim("data", "1Gi", wants("b"))},
			want: "a:Available:- b:Bound:data data:Bound:b"},
		{name: "the named one is too small", objects: []client.Object{volume("a", "1Gi"), claim("data", "2Gi", wants("a"))},
			want: "a:Available:- data:Pending:a", event: "VolumeMismatch"},
		{name: "the named one is another's", objects: []client.Object{volume("a", "1Gi"), claim("data", "1Gi"), claim("late", "1Gi", wants("a"))},
			want: "a:Bound:data data:Bound:a late:Pending:a", event: "FailedBinding"},
		{name: "two claims, one volume", objects: []client.Object{volume("a", "1Gi"), claim("one", "1Gi"), claim("two", "1Gi")},
			want: "a:Bound:one one:Bound:a two:Pending:"},
		{name: "a provisioner is asked", objects: []client.Object{class("disks", storagev1.VolumeBindingImmediate, false), claim("data", "1Gi", classed("disks"))},
			want: "data:Pending::example.com/disks", event: "ExternalProvisioning"},
		{name: "the class is missing", objects: []client.Object{claim("data", "1Gi", classed("disks"))},
			want: "data:Pending:", event: "ProvisioningFailed"},
		{name: "waits for its consumer, free volume or not", objects: []client.Object{class("disks", storagev1.VolumeBindingWaitForFirstConsumer, false),
			volume("a", "1Gi", func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "disks" }), claim("data", "1Gi", classed("disks"))},
			want: "a:Available:- data:Pending:", event: "WaitForFirstConsumer"},
		{name: "waits no longer", objects: []client.Object{class("disks", storagev1.VolumeBindingWaitForFirstConsumer, false),
			claim("data", "1Gi", classed("disks"), func(c *corev1.PersistentVolumeClaim) {
				c.Annotations = map[string]string{volumehelpers.AnnSelectedNode: "n1"}
			})}, want: "data:Pending::example.com/disks"},
		{name: "the default class comes late", objects: []client.Object{class("disks", storagev1.VolumeBindingImmediate, true),
			claim("data", "1Gi", func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil })}, want: "data:Pending::example.com/disks"},
		{name: "a bound claim whose volume has gone", objects: []client.Object{claim("data", "1Gi", wants("gone"), func(c *corev1.PersistentVolumeClaim) {
			c.Annotations = map[string]string{volumehelpers.AnnBindCompleted: "yes"}
		})}, want: "data:Lost:gone", event: "ClaimLost"},
		{name: "a volume whose claim has gone", objects: []client.Object{volume("a", "1Gi", reserved("data", "another"))}, want: "a:Released:data"},
		{name: "nothing deletes a host's path", objects: []client.Object{volume("a", "1Gi", reserved("data", "another"), func(v *corev1.PersistentVolume) {
			v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
		})}, want: "a:Failed:data", event: "VolumeFailedDelete"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, test.objects...)
			c.settle()
			if got := c.picture(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if test.event != "" && !c.told(test.event) {
				t.Errorf("no event %s", test.event)
			}
		})
	}
}

// TestBoundClaims says what a bound claim and its volume tell about each other.
func TestBoundClaims(t *testing.T) {
	t.Parallel()
	c := newCluster(t, volume("a", "5Gi"), claim("data", "2Gi"))
	c.settle()
	v, o := c.volumes()[0], c.claims()[0]
	if size := o.Status.Capacity[corev1.ResourceStorage]; size.String() != "5Gi" || len(o.Status.AccessModes) != 1 {
		t.Errorf("status %+v", o.Status)
	}
	if v.Spec.ClaimRef.UID != o.UID || v.Annotations[volumehelpers.AnnBoundByController] == "" || o.Annotations[volumehelpers.AnnBindCompleted] == "" {
		t.Errorf("volume %+v, claim %+v", v, o.ObjectMeta)
	}
	if err := c.api.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	c.settle()
	if got := c.picture(); got != "a:Released:data" {
		t.Errorf("after the claim has gone: %s", got)
	}
	// A new claim of the same name must not get the old one's data.
	if err := c.api.Create(t.Context(), claim("data", "2Gi", func(c *corev1.PersistentVolumeClaim) { c.UID = "" })); err != nil {
		t.Fatal(err)
	}
	c.settle()
	if got := c.picture(); got != "a:Released:data data:Pending:" {
		t.Errorf("with a new claim: %s", got)
	}
}

// TestMatch compares the choice with what a slow and obvious one would be.
func TestMatch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o := claim("data", fmt.Sprintf("%dGi", rapid.IntRange(1, 4).Draw(t, "wants")))
		var volumes []*corev1.PersistentVolume
		for i := range rapid.IntRange(0, 6).Draw(t, "volumes") {
			v := volume(fmt.Sprint("v", i), fmt.Sprintf("%dGi", rapid.IntRange(1, 4).Draw(t, "size")))
			v.Status.Phase = rapid.SampledFrom([]corev1.PersistentVolumePhase{corev1.VolumeAvailable, corev1.VolumeAvailable, corev1.VolumePending}).Draw(t, "phase")
			v.Spec.StorageClassName = rapid.SampledFrom([]string{"", "", "other"}).Draw(t, "class")
			if rapid.IntRange(0, 5).Draw(t, "taken") == 0 {
				reserved("other", "x")(v)
			}
			volumes = append(volumes, v)
		}
		got, err := volumebinder.Match(o, volumes, false)
		if err != nil {
			t.Fatal(err)
		}
		wants := o.Spec.Resources.Requests.Storage()
		for _, v := range volumes {
			free := v.Spec.ClaimRef == nil && v.Status.Phase == corev1.VolumeAvailable && v.Spec.StorageClassName == "" && v.Spec.Capacity.Storage().Cmp(*wants) >= 0
			switch {
			case v == got && !free:
				t.Fatalf("%s is not free", v.Name)
			case free && got == nil:
				t.Fatalf("%s was not found", v.Name)
			case free && v.Spec.Capacity.Storage().Cmp(*got.Spec.Capacity.Storage()) < 0:
				t.Fatalf("%s is smaller than %s", v.Name, got.Name)
			}
		}
	})
}
