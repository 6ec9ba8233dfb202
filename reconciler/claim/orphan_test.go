package claim_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/reconciler/claim"
)

func TestOrphaned(t *testing.T) {
	t.Parallel()
	free := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}}
	other := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "db"}}}
	bare := &corev1.Pod{}
	owned, going := free.DeepCopy(), free.DeepCopy()
	owned.OwnerReferences = []metav1.OwnerReference{{UID: "set", Controller: ptr.To(true)}}
	going.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	for name, test := range map[string]struct {
		before, after *corev1.Pod
		want          bool
	}{
		"new":          {nil, free, true},
		"released":     {owned, free, true},
		"relabelled":   {other, free, true},
		"another beat": {free, free, false},
		"adopted":      {free, owned, false},
		"gone":         {free, nil, false},
		"going":        {nil, going, false},
		"no labels":    {nil, bare, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := claim.Orphaned(test.before, test.after); got != test.want {
				t.Errorf("%t, want %t", got, test.want)
			}
		})
	}
}
