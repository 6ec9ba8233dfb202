package fieldmanager_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/apiserver/fieldmanager"
	"github.com/headway-sh/headway/apiserver/kinds"
)

// BenchmarkFirstWrite is what the first write of a process pays for reading
// the schemas.
func BenchmarkFirstWrite(b *testing.B) {
	scheme, err := kinds.Scheme()
	if err != nil {
		b.Fatal(err)
	}
	table, err := kinds.New(kinds.All())
	if err != nil {
		b.Fatal(err)
	}
	k, _ := table.ByGVK(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	for b.Loop() {
		if err := fieldmanager.New(scheme).Update(k, nil, &corev1.ConfigMap{}, fieldmanager.Writer{Version: corev1.SchemeGroupVersion}); err != nil {
			b.Fatal(err)
		}
	}
}
