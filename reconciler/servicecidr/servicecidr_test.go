package servicecidr_test

import (
	"log/slog"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/internal/fakecluster"
	"github.com/headway-sh/headway/reconciler/controller"
	"github.com/headway-sh/headway/reconciler/servicecidr"
)

func cidr(name string, cidrs ...string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
}

func TestARangeStaysWhileItsAddressesAreTaken(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	api := fakecluster.New(clk, cidr("more", "10.8.0.0/24", "fd00::/112"))
	r := &servicecidr.Reconciler{Deps: controller.Deps{Client: api, Clock: clk, Logger: slog.New(slog.DiscardHandler)}}
	reconcile := func() *networkingv1.ServiceCIDR {
		t.Helper()
		if _, err := r.Reconcile(t.Context(), controller.Named("", "more")); err != nil {
			t.Fatal(err)
		}
		c := &networkingv1.ServiceCIDR{}
		if err := api.Get(t.Context(), client.ObjectKey{Name: "more"}, c); err != nil {
			if apierrors.IsNotFound(err) {
				return nil
			}
			t.Fatal(err)
		}
		return c
	}
	c := reconcile()
	if ready := meta.FindStatusCondition(c.Status.Conditions, "Ready"); ready == nil || ready.Status != metav1.ConditionTrue || len(c.Finalizers) != 1 {
		t.Fatalf("new: %v, %v", ready, c.Finalizers)
	}
	ip := &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: "fd00::7"}}
	if err := api.Create(t.Context(), ip); err != nil {
		t.Fatal(err)
	}
	if err := api.Delete(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	c = reconcile()
	if c == nil {
		t.Fatal("it went although an address is taken")
	}
	if ready := meta.FindStatusCondition(c.Status.Conditions, "Ready"); ready.Status != metav1.ConditionFalse || ready.Reason != "Terminating" {
		t.Errorf("condition: %+v", ready)
	}
	if err := api.Delete(t.Context(), ip); err != nil {
		t.Fatal(err)
	}
	if c = reconcile(); c != nil {
		t.Errorf("still there: %v", c.Finalizers)
	}
}

func TestNeeded(t *testing.T) {
	t.Parallel()
	going := cidr("a", "10.8.0.0/24")
	leaving := *cidr("c", "10.0.0.0/8")
	leaving.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	for name, tc := range map[string]struct {
		others []networkingv1.ServiceCIDR
		taken  string
		want   bool
	}{
		"in it":                        {nil, "10.8.0.3", true},
		"elsewhere":                    {nil, "10.9.0.3", false},
		"also in one that stays":       {[]networkingv1.ServiceCIDR{*cidr("b", "10.8.0.0/16")}, "10.8.0.3", false},
		"also in one that goes":        {[]networkingv1.ServiceCIDR{leaving}, "10.8.0.3", true},
		"in the part that only it has": {[]networkingv1.ServiceCIDR{*cidr("b", "10.8.0.128/25")}, "10.8.0.3", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			taken := []networkingv1.IPAddress{{ObjectMeta: metav1.ObjectMeta{Name: tc.taken}}}
			if got := servicecidr.Needed(going, append(tc.others, *going), taken); got != tc.want {
				t.Errorf("needed: %v, want %v", got, tc.want)
			}
		})
	}
}
