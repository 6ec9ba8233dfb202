package kinds_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// create does what the write path does to a new object before validation.
func create(k *kind.Kind, o txn.Object) {
	if k.Default != nil {
		k.Default(o)
	}
	o.SetUID("00000000-0000-0000-0000-000000000001")
	o.SetCreationTimestamp(metav1.Time{Time: goldenTime})
	if k.Prepare != nil {
		k.Prepare(o, nil)
	}
}

func check(k *kind.Kind, o, old txn.Object) field.ErrorList {
	if k.Validate == nil {
		return nil
	}
	return k.Validate(o, old)
}

// valid gives a new valid object of the golden file's name.
func valid[T txn.Object](t testing.TB, name string) (*kind.Kind, T) {
	t.Helper()
	k, o := createdFrom(t, newTable(t), "testdata/kinds/"+name+".txtar")
	return k, o.(T)
}
