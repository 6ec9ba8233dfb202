package write

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// FuzzPatch checks that a patch of any type either is refused or leaves
// something that can be encoded, however it is made.
func FuzzPatch(f *testing.F) {
	media := []types.PatchType{types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType}
	f.Add([]byte(`[{"op":"add","path":"/metadata/labels","value":{"a":"b"}},{"op":"copy","from":"/spec","path":"/status"}]`), uint8(0))
	f.Add([]byte(`{"metadata":{"labels":null,"finalizers":["x"]},"spec":{"containers":[]}}`), uint8(1))
	f.Add([]byte(`{"spec":{"containers":[{"name":"b","image":"i"},{"$patch":"delete","name":"a"}],"$setElementOrder/containers":[{"name":"b"}]}}`), uint8(2))
	f.Add([]byte(`{"spec":{"$patch":"replace","nodeName":"n"},"metadata":{"$deleteFromPrimitiveList/finalizers":["x/y"]}}`), uint8(2))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "shop", Finalizers: []string{"x/y"}, Labels: map[string]string{"a": "b"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "i"}}},
	}
	raw, err := json.Marshal(pod)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, patch []byte, form uint8) {
		before := map[string]any{}
		if err := utiljson.Unmarshal(raw, &before); err != nil {
			t.Fatal(err)
		}
		a := &attempt{}
		a.change.Patch, a.change.PatchType = patch, media[int(form)%len(media)]
		after, err := a.patched(before, pod)
		if err != nil {
			return
		}
		if _, err := json.Marshal(after); err != nil {
			t.Errorf("%s %q leaves what has no encoding: %v", a.change.PatchType, patch, err)
		}
	})
}
