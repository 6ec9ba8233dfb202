package fairness_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/headway-sh/headway/apiserver/fairness"
)

func limited(shares, lendable int32, borrowing *int32) flowcontrolv1.PriorityLevelConfigurationSpec {
	return flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementLimited, Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
		NominalConcurrencyShares: &shares, LendablePercent: &lendable, BorrowingLimitPercent: borrowing}}
}

func TestSharesBecomeSeats(t *testing.T) {
	t.Parallel()
	got := fairness.ShareOut(600, []flowcontrolv1.PriorityLevelConfigurationSpec{
		limited(30, 33, nil), limited(100, 90, ptr.To[int32](50)), limited(0, 0, nil), limited(20, 50, ptr.To[int32](0)),
		{Type: flowcontrolv1.PriorityLevelEnablementExempt, Exempt: &flowcontrolv1.ExemptPriorityLevelConfiguration{}},
	})
	want := []fairness.Limits{{120, 80, 600}, {400, 40, 600}, {0, 0, 600}, {80, 40, 80}, {0, 0, 600}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestSeatsGoWhereTheyAreNeeded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		levels []fairness.Demand
		want   []int
	}{
		"nobody needs any": {[]fairness.Demand{{Nominal: 60, Least: 30, Most: 100}, {Nominal: 40, Least: 20, Most: 100}}, []int{60, 40}},
		"one needs all": {[]fairness.Demand{{Nominal: 60, Least: 30, Most: 100, High: 500, Smoothed: 500}, {Nominal: 40, Least: 20, Most: 100}},
			[]int{80, 20}},
		"a lender that needs its seats keeps them": {[]fairness.Demand{{Nominal: 60, Least: 30, Most: 100, High: 500, Smoothed: 500},
			{Nominal: 40, Least: 20, Most: 100, High: 40, Smoothed: 40}}, []int{60, 40}},
		"who may not borrow": {[]fairness.Demand{{Nominal: 60, Least: 30, Most: 60, High: 500, Smoothed: 500}, {Nominal: 40, Least: 20, Most: 100}},
			[]int{60, 40}},
		"the exempt come first": {[]fairness.Demand{{Exempt: true, Most: 100, High: 50}, {Nominal: 60, Least: 10, Most: 100, High: 60, Smoothed: 60},
			{Nominal: 40, Least: 10, Most: 100, High: 40, Smoothed: 40}}, []int{50, 29, 21}},
	} {
		if diff := cmp.Diff(c.want, fairness.Allot(100, c.levels)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

func TestNobodyIsStarvedByDemand(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var specs []flowcontrolv1.PriorityLevelConfigurationSpec
		for range rapid.IntRange(1, 8).Draw(t, "levels") {
			specs = append(specs, limited(rapid.Int32Range(1, 100).Draw(t, "shares"), rapid.Int32Range(0, 100).Draw(t, "lendable"), nil))
		}
		total := rapid.IntRange(1, 1000).Draw(t, "total")
		var levels []fairness.Demand
		for _, l := range fairness.ShareOut(total, specs) {
			high := float64(rapid.IntRange(0, 2000).Draw(t, "high"))
			levels = append(levels, fairness.Demand{Nominal: l.Nominal, Least: l.Least, Most: l.Most, High: high, Smoothed: high * rapid.Float64Range(0, 1).Draw(t, "smoothed")})
		}
		sum := 0
		for i, seats := range fairness.Allot(total, levels) {
			l := levels[i]
			if sum += seats; seats < l.Least || seats > max(l.Most, l.Nominal) {
				t.Fatalf("level %d has %d seats, want %d to %d", i, seats, l.Least, l.Most)
			}
		}
		if sum > total+2*len(levels) { // nominal seats are rounded up, given ones to the nearest
			t.Fatalf("%d of %d seats are given away", sum, total)
		}
	})
}
