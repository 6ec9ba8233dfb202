package admission_test

import (
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission/policy"
	"github.com/headway-sh/headway/apiserver/admission/webhook"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/write"
)

// bare is a View of nothing, which can say so.
type bare struct{ txn.View }

func (bare) Count(schema.GroupResource) int { return 0 }

// TestNothingConfiguredCostsNothing: a write of a cluster without webhooks and
// policies pays no memory for them.
func TestNothingConfiguredCostsNothing(t *testing.T) {
	hooks := webhook.New(nil, nil, slog.New(slog.DiscardHandler))
	defer hooks.Close()
	mutating, validating, policies := hooks.Mutating(), hooks.Validating(), policy.New(policy.Config{}).Step()
	k := &kind.Kind{GVK: corev1.SchemeGroupVersion.WithKind("ConfigMap"), Plural: "configmaps", Namespaced: true}
	r := &write.Request{Operation: write.OperationUpdate, Kind: k, Served: k, Ref: k.Ref("shop", "a"), Object: &corev1.ConfigMap{}, Old: &corev1.ConfigMap{}}
	var view txn.View = bare{}
	ctx := t.Context()
	allocations := testing.AllocsPerRun(100, func() {
		if mutating.Mutate(ctx, view, r) != nil || policies.Validate(ctx, view, r) != nil || validating.Validate(ctx, view, r) != nil {
			t.Fatal("refused")
		}
	})
	if allocations > 0 {
		t.Errorf("%v allocations", allocations)
	}
}
