package admission_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/localvolume"
)

// TestNodesLetGoOfVolumes: a node takes its finalizer off volumes of its own
// that are being deleted, and does nothing else to any volume.
func TestNodesLetGoOfVolumes(t *testing.T) {
	t.Parallel()
	volume := func(host string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
		v := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "v", Finalizers: []string{localvolume.Finalizer, "kubernetes.io/pv-protection"},
				DeletionTimestamp: &metav1.Time{Time: time.Unix(1700000000, 0)}},
			Spec: corev1.PersistentVolumeSpec{
				PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: localvolume.Driver, VolumeHandle: "v"}},
				NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{host}}}}}}},
			},
		}
		for _, f := range change {
			f(v)
		}
		return v
	}
	free := func(v *corev1.PersistentVolume) { v.Finalizers = []string{"kubernetes.io/pv-protection"} }
	lives := func(v *corev1.PersistentVolume) { v.DeletionTimestamp = nil }
	const held = `persistentvolumes "v" is forbidden: node "n1" may only let go of volumes that it held`
	const more = `persistentvolumes "v" is forbidden: node "n1" may change nothing of a volume but the finalizer headway.sh/local-path`
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{corev1.LabelHostname: "host-1"}}}
	for name, tt := range map[string]struct {
		o, old *corev1.PersistentVolume
		want   string
	}{
		"its own":                {volume("host-1", free), volume("host-1"), ""},
		"another node's":         {volume("host-2", free), volume("host-2"), held},
		"one that stays":         {volume("host-1", free, lives), volume("host-1", lives), held},
		"the other finalizer":    {volume("host-1", func(v *corev1.PersistentVolume) { v.Finalizers = nil }), volume("host-1"), more},
		"another path":           {volume("host-1", free, func(v *corev1.PersistentVolume) { v.Spec.CSI.VolumeHandle = "w" }), volume("host-1"), more},
		"a label":                {volume("host-1", free, func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"a": "b"} }), volume("host-1"), more},
		"one of another driver":  {volume("host-1", free), volume("host-1", func(v *corev1.PersistentVolume) { v.Spec.CSI.Driver = "example.com" }), held},
		"one that leads outside": {volume("host-1", free), volume("host-1", func(v *corev1.PersistentVolume) { v.Spec.CSI.VolumeHandle = "../x" }), held},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request(t, tt.o, tt.old)
			r.Identity = txn.Identity{Name: "system:node:n1", Groups: []string{"system:nodes"}}
			says(t, step(t, "NodeRestriction", view(t, node), r), tt.want)
		})
	}
}
