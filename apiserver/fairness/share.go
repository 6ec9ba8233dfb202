package fairness

import (
	"math"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
)

// limits are how many seats a level has: its own, and from where to where
// lending and borrowing may move them.
type limits struct{ nominal, least, most int }

// shareOut divides all seats among levels by their shares.
func shareOut(total int, specs []flowcontrolv1.PriorityLevelConfigurationSpec) []limits {
	sum := 0.0
	for i := range specs {
		shares, _, _ := terms(&specs[i])
		sum += shares
	}
	out := make([]limits, len(specs))
	for i := range specs {
		shares, lendable, borrowing := terms(&specs[i])
		l := limits{}
		if sum > 0 {
			l.nominal = int(math.Ceil(float64(total) * shares / sum))
		}
		l.least = l.nominal - int(math.Round(float64(l.nominal)*lendable/100))
		l.most = total
		if borrowing >= 0 {
			l.most = min(total, l.nominal+int(math.Round(float64(l.nominal)*borrowing/100)))
		}
		l.most = max(l.most, l.nominal)
		out[i] = l
	}
	return out
}

// terms are a level's shares and the percentages that it lends and may borrow;
// a negative one means that it may borrow everything.
func terms(s *flowcontrolv1.PriorityLevelConfigurationSpec) (shares, lendable, borrowing float64) {
	value := func(p *int32, otherwise float64) float64 {
		if p == nil {
			return otherwise
		}
		return float64(*p)
	}
	switch {
	case s.Limited != nil:
		return value(s.Limited.NominalConcurrencyShares, defaultShares), value(s.Limited.LendablePercent, 0), value(s.Limited.BorrowingLimitPercent, -1)
	case s.Exempt != nil:
		return value(s.Exempt.NominalConcurrencyShares, 0), value(s.Exempt.LendablePercent, 0), -1
	}
	return 0, 0, -1
}

// demand is what a level needed of late, in seats.
type demand struct {
	exempt   bool
	limits   limits
	high     float64 // the most at any moment of the last period
	smoothed float64 // falls slowly
}

// smoothing is how much of the former demand remains after a period.
const smoothing = 0.977

// smooth takes a period's average and deviation in: demand rises at once.
func smooth(before, average, deviation float64) float64 {
	envelope := average + deviation
	return math.Max(envelope, smoothing*before+(1-smoothing)*envelope)
}

// allot gives each level its seats for the next period. No level gets less
// than it had need of up to its nominal seats, nor less than it does not lend;
// what is left goes to the levels by their demand.
func allot(total int, levels []demand) []int {
	seats := make([]int, len(levels))
	low := make([]float64, len(levels))
	left, sum, least := float64(total), 0.0, 0.0
	for i, l := range levels {
		if l.exempt {
			seats[i] = int(math.Max(float64(l.limits.least), l.high))
			left -= float64(seats[i])
			continue
		}
		low[i] = math.Max(float64(l.limits.least), math.Min(float64(l.limits.nominal), l.high))
		sum, least = sum+low[i], least+float64(l.limits.least)
	}
	if left <= sum {
		part := 0.0
		if sum > least {
			part = math.Max(0, (left-least)/(sum-least))
		}
		for i, l := range levels {
			if !l.exempt {
				seats[i] = l.limits.least + int(math.Round((low[i]-float64(l.limits.least))*part))
			}
		}
		return seats
	}
	fair := proportion(left, levels, low)
	for i, l := range levels {
		if !l.exempt {
			seats[i] = int(math.Round(l.at(fair, low[i])))
		}
	}
	return seats
}

// at is what a level gets when everybody gets so many times their demand.
func (l *demand) at(fair, low float64) float64 {
	target := math.Max(math.Max(low, l.smoothed), 0.001)
	return math.Min(math.Max(fair*target, low), math.Max(low, float64(l.limits.most)))
}

// proportion finds how many times its demand everybody gets so that all seats
// are given away: what is given grows with it, so halving finds it.
func proportion(total float64, levels []demand, low []float64) float64 {
	given := func(fair float64) float64 {
		sum := 0.0
		for i := range levels {
			if !levels[i].exempt {
				sum += levels[i].at(fair, low[i])
			}
		}
		return sum
	}
	from, to := 0.0, total*1000+1 // the least target is a thousandth
	for range 64 {
		if middle := (from + to) / 2; given(middle) < total {
			from = middle
		} else {
			to = middle
		}
	}
	return to
}
