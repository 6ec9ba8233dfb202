package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/test/bench/rig"
)

const (
	drifts = 24
	// perCommit is how often an edit of a field is put back before the source
	// takes it for a fight and waits for the next commit.
	perCommit = 4
)

// measureDrift times from the answer to a foreign write until a watch sees
// what git says again.
func measureDrift(ctx context.Context, b *bench) error {
	c, err := b.up(ctx)
	if err != nil {
		return err
	}
	value := 1 << 20
	w, err := rig.Watch(ctx, c.client, &corev1.ConfigMapList{}, client.InNamespace("default"), client.MatchingFields{"metadata.name": "settings"})
	if err != nil {
		return err
	}
	defer w.Stop()
	right := func(o client.Object) bool { return o.(*corev1.ConfigMap).Data["value"] == fmt.Sprint(value) }
	push := func() error {
		value++
		if _, _, err := c.repo.Push(ctx, map[string]string{"settings.yaml": settingsFile(value)}); err != nil {
			return err
		}
		_, err := w.Await(ctx, "the pushed ConfigMap", right)
		return err
	}
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}}
	edit := func() error {
		return c.client.Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(`{"data":{"value":"edited"}}`)))
	}
	remove := func() error { return c.client.Delete(ctx, object) }
	for _, one := range []struct {
		name  string
		write func() error
		wrong func(rig.Seen) bool
	}{
		{"drift → corrected, an edited ConfigMap", edit, func(s rig.Seen) bool { return !right(s.Object) }},
		{"drift → corrected, a deleted ConfigMap", remove, func(s rig.Seen) bool { return s.Deleted }},
	} {
		var all []time.Duration
		for i := range drifts {
			if i%perCommit == 0 {
				if err := push(); err != nil {
					return err
				}
			}
			if err := c.settled(ctx); err != nil {
				return err
			}
			if err := one.write(); err != nil {
				return err
			}
			answered := time.Now()
			if _, err := w.Next(ctx, "the drift", one.wrong); err != nil {
				return err
			}
			at, err := w.Await(ctx, "the correction", right)
			if err != nil {
				return err
			}
			all = append(all, at.Sub(answered))
		}
		b.report.Times(one.name, all, "Flux at 10 s: 5 s", "≤ 20 ms p50")
	}
	return nil
}
