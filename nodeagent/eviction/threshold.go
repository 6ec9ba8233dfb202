package eviction

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Signal is something that a node can run out of.
type Signal string

// The signals are named as in Kubernetes' documentation.
const (
	MemoryAvailable Signal = "memory.available"
	NodeAvailable   Signal = "nodefs.available"
	NodeInodes      Signal = "nodefs.inodesFree"
	ImageAvailable  Signal = "imagefs.available"
	ImageInodes     Signal = "imagefs.inodesFree"
	PIDAvailable    Signal = "pid.available"
)

// about is what a signal says of the node, in the order in which signals are
// acted upon.
var about = []struct {
	signal    Signal
	condition corev1.NodeConditionType
	resource  corev1.ResourceName
}{
	{MemoryAvailable, corev1.NodeMemoryPressure, corev1.ResourceMemory},
	{NodeAvailable, corev1.NodeDiskPressure, corev1.ResourceEphemeralStorage},
	{ImageAvailable, corev1.NodeDiskPressure, corev1.ResourceEphemeralStorage},
	{NodeInodes, corev1.NodeDiskPressure, "inodes"},
	{ImageInodes, corev1.NodeDiskPressure, "inodes"},
	{PIDAvailable, corev1.NodePIDPressure, "pids"},
}

func order(s Signal) int {
	for i := range about {
		if about[i].signal == s {
			return i
		}
	}
	return -1
}

// Condition and Resource are what the signal is about.
func (s Signal) Condition() corev1.NodeConditionType { return about[order(s)].condition }

// Resource is what the signal measures: memory, ephemeral-storage, inodes, pids.
func (s Signal) Resource() corev1.ResourceName { return about[order(s)].resource }

// Disk tells whether removing images can help.
func (s Signal) Disk() bool { return s.Condition() == corev1.NodeDiskPressure }

// Amount is a quantity or a part of the capacity.
type Amount struct {
	Value   int64
	Percent float64 // not 0: Value is not used
}

// Of is the amount in a capacity.
func (a Amount) Of(capacity int64) int64 {
	if a.Percent != 0 {
		return int64(float64(capacity) * a.Percent / 100)
	}
	return a.Value
}

// Threshold is met while less than Below is available.
type Threshold struct {
	Signal Signal
	Below  Amount
	// Grace is how long it has to be met before a pod goes; 0: not at all, and
	// the pod goes at once (a hard threshold).
	Grace time.Duration
	// Reclaim is how much more than Below has to be available until it is met no
	// more, once it was.
	Reclaim Amount
}

// DefaultHard are Kubernetes' documented thresholds, and one for process
// numbers, for which it has none.
const DefaultHard = "memory.available<100Mi,nodefs.available<10%,imagefs.available<15%,nodefs.inodesFree<5%,imagefs.inodesFree<5%,pid.available<5%"

// Parse reads thresholds as flags have them: hard and soft are
// "signal<amount,…", grace "signal=duration,…", reclaim "signal=amount,…".
func Parse(hard, soft, grace, reclaim string) ([]Threshold, error) {
	graces, err := pairs(grace, "=", time.ParseDuration)
	if err != nil {
		return nil, fmt.Errorf("grace periods: %w", err)
	}
	reclaims, err := pairs(reclaim, "=", parseAmount)
	if err != nil {
		return nil, fmt.Errorf("amounts to reclaim: %w", err)
	}
	var all []Threshold
	for _, one := range []struct {
		text string
		soft bool
	}{{hard, false}, {soft, true}} {
		belows, err := pairs(one.text, "<", parseAmount)
		if err != nil {
			return nil, fmt.Errorf("thresholds: %w", err)
		}
		for _, signal := range slices.SortedFunc(maps.Keys(belows), func(a, b Signal) int { return cmp.Compare(order(a), order(b)) }) {
			t := Threshold{Signal: signal, Below: belows[signal], Reclaim: reclaims[signal]}
			if one.soft {
				if t.Grace = graces[signal]; t.Grace <= 0 {
					return nil, fmt.Errorf("soft threshold of %s: it has no grace period", signal)
				}
			}
			if t.Below != (Amount{}) { // 0 switches one off
				all = append(all, t)
			}
		}
	}
	return all, nil
}

func pairs[T any](text, sign string, parse func(string) (T, error)) (map[Signal]T, error) {
	all := map[Signal]T{}
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, sign)
		if !ok {
			return nil, fmt.Errorf("%q is not signal%svalue", part, sign)
		}
		signal := Signal(strings.TrimSpace(name))
		if order(signal) < 0 {
			return nil, fmt.Errorf("%q is no signal", signal)
		}
		if _, twice := all[signal]; twice {
			return nil, fmt.Errorf("%s is there twice", signal)
		}
		v, err := parse(strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", signal, err)
		}
		all[signal] = v
	}
	return all, nil
}

func parseAmount(text string) (Amount, error) {
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(n >= 0 && n <= 100) {
			return Amount{}, fmt.Errorf("%q is not between 0%% and 100%%", text)
		}
		return Amount{Percent: n}, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Sign() < 0 {
		return Amount{}, fmt.Errorf("%q is no amount", text)
	}
	return Amount{Value: q.Value()}, nil
}
