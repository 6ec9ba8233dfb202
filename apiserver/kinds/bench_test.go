package kinds_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func BenchmarkPod(b *testing.B) {
	k, pod := valid[*corev1.Pod](b, "pod")
	encoded, err := k.Encode(pod)
	if err != nil {
		b.Fatal(err)
	}
	for _, bb := range []struct {
		name string
		run  func() error
	}{
		{"Default", func() error { k.Default(pod); return nil }},
		{"Validate", func() error { return k.Validate(pod, nil).ToAggregate() }},
		{"ValidateMeta", func() error { return k.ValidateMeta(pod, nil).ToAggregate() }},
		{"Row", func() error { k.Row(pod, goldenTime); return nil }},
		{"Encode", func() error { _, err := k.Encode(pod); return err }},
		{"Decode", func() error { _, err := k.Decode(encoded); return err }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := bb.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
