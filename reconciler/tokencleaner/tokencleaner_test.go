package tokencleaner_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/tokencleaner"
)

func TestTokensGoWhenTheirTimeIsOver(t *testing.T) {
	t.Parallel()
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	secret := func(namespace, name string, kind corev1.SecretType, expiration string) *corev1.Secret {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Type: kind, Data: map[string][]byte{}}
		if expiration != "" {
			s.Data["expiration"] = []byte(expiration)
		}
		return s
	}
	const token = corev1.SecretTypeBootstrapToken
	hour := start.Add(time.Hour).Format(time.RFC3339)
	all := []*corev1.Secret{
		secret("kube-system", "bootstrap-token-soon", token, hour),
		secret("kube-system", "bootstrap-token-never", token, ""),
		secret("kube-system", "bootstrap-token-odd", token, "tomorrow"),
		secret("kube-system", "other", corev1.SecretTypeOpaque, hour),
		secret("shop", "bootstrap-token-elsewhere", token, hour),
	}
	clk := clocktesting.NewFakeClock(start)
	api := fakecluster.New(clk)
	for _, s := range all {
		if err := api.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	r := &tokencleaner.Reconciler{Deps: controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler)}}
	pass := func() (waits map[string]time.Duration, left []string) {
		waits = map[string]time.Duration{}
		for _, s := range all {
			result, err := r.Reconcile(t.Context(), controller.Named(s.Namespace, s.Name))
			if err != nil {
				t.Fatal(err)
			}
			if result.RequeueAfter > 0 {
				waits[s.Name] = result.RequeueAfter
			}
		}
		var list corev1.SecretList
		if err := api.List(t.Context(), &list); err != nil {
			t.Fatal(err)
		}
		for _, s := range list.Items {
			left = append(left, s.Name)
		}
		return waits, left
	}
	waits, left := pass()
	if diff := cmp.Diff(map[string]time.Duration{"bootstrap-token-soon": time.Hour}, waits); diff != "" || len(left) != len(all) {
		t.Errorf("before: %d are left, waits (-want +got):\n%s", len(left), diff)
	}
	clk.Step(time.Hour)
	_, left = pass()
	if diff := cmp.Diff([]string{"bootstrap-token-never", "bootstrap-token-odd", "other", "bootstrap-token-elsewhere"}, left); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
}
