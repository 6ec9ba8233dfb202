package claim

import (
	"maps"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Orphaned tells whether a change makes after an object that owners may want:
// one without a controller that is new, has lost its controller or has other
// labels than before.
func Orphaned[T client.Object](before, after T) bool {
	if absent(after) || metav1.GetControllerOf(after) != nil || len(after.GetLabels()) == 0 || after.GetDeletionTimestamp() != nil {
		return false
	}
	return absent(before) || metav1.GetControllerOf(before) != nil || !maps.Equal(before.GetLabels(), after.GetLabels())
}

func absent(o client.Object) bool { return o == nil || reflect.ValueOf(o).IsNil() }

// Wants tells whether an owner's selector matches an object. One that matches
// everything, or is wrong, wants nothing.
func Wants(selector *metav1.LabelSelector, o client.Object) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && !s.Empty() && s.Matches(labels.Set(o.GetLabels()))
}
