package horizontalpodautoscaler

import (
	"errors"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/reconciler/podstate"
)

const (
	// startup is how long the CPU that a pod uses may be that of its start.
	startup = 5 * time.Minute
	// firstReady is how long after its start a pod that is not ready never was.
	firstReady = 30 * time.Second
)

var (
	errNoPods    = errors.New("no pods returned by selector while calculating replica count")
	errNoMetrics = errors.New("did not receive metrics for targeted pods (pods might be unready)")
)

// Sample is what one pod uses, in thousandths.
type Sample struct {
	Value  int64
	At     time.Time
	Window time.Duration
}

// tolerance is how far from 1 a ratio may be without anything being done.
type tolerance struct{ down, up float64 }

func (t tolerance) within(ratio float64) bool { return 1-t.down <= ratio && ratio <= 1+t.up }

// grouped are pods by what their samples say.
type grouped struct {
	ready            int
	unready, missing []string
	ignored          []string
}

func group(pods []*corev1.Pod, samples map[string]Sample, cpu bool, now time.Time) grouped {
	var g grouped
	for _, p := range pods {
		sample, sampled := samples[p.Name]
		switch {
		case p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed:
			g.ignored = append(g.ignored, p.Name)
		case p.Status.Phase == corev1.PodPending:
			g.unready = append(g.unready, p.Name)
		case !sampled:
			g.missing = append(g.missing, p.Name)
		case cpu && starting(p, sample, now):
			g.unready = append(g.unready, p.Name)
		default:
			g.ready++
		}
	}
	return g
}

// starting tells whether what a pod uses says nothing about its work yet.
func starting(p *corev1.Pod, sample Sample, now time.Time) bool {
	c := podstate.Condition(p, corev1.PodReady)
	if c == nil || p.Status.StartTime == nil {
		return true
	}
	since := p.Status.StartTime.Time
	if now.Before(since.Add(startup)) {
		return c.Status == corev1.ConditionFalse || sample.At.Before(c.LastTransitionTime.Add(sample.Window))
	}
	return c.Status == corev1.ConditionFalse && c.LastTransitionTime.Time.Before(since.Add(firstReady))
}

// usage is a question: how many replicas bring what pods use to a target?
type usage struct {
	current   int32
	pods      []*corev1.Pod
	samples   map[string]Sample
	cpu       bool // the metric is CPU, of which pods use more while they start
	tolerance tolerance
	now       time.Time
	// ratio says how far above the target the pods are; 1: at it.
	ratio func(values map[string]int64) (float64, error)
	// full is what a pod is taken to use whose sample is missing, so that too
	// few are never left.
	full func(pod string) int64
}

// replicas answers it.
func (u usage) replicas() (int32, error) {
	if len(u.pods) == 0 {
		return 0, errNoPods
	}
	g := group(u.pods, u.samples, u.cpu, u.now)
	values := u.values(g)
	if len(values) == 0 {
		return 0, errNoMetrics
	}
	ratio, err := u.ratio(values)
	if err != nil {
		return 0, err
	}
	up := len(g.unready) > 0 && ratio > 1
	if !up && len(g.missing) == 0 {
		if u.tolerance.within(ratio) {
			return u.current, nil
		}
		return ceil(ratio * float64(g.ready)), nil
	}
	for _, name := range g.missing {
		switch {
		case ratio < 1:
			values[name] = u.full(name)
		case ratio > 1:
			values[name] = 0
		}
	}
	if up {
		for _, name := range g.unready {
			values[name] = 0
		}
	}
	careful, err := u.ratio(values)
	if err != nil {
		return 0, err
	}
	if u.tolerance.within(careful) || ratio < 1 && careful > 1 || ratio > 1 && careful < 1 {
		return u.current, nil
	}
	n := ceil(careful * float64(len(values)))
	if careful < 1 && n > u.current || careful > 1 && n < u.current {
		return u.current, nil
	}
	return n, nil
}

// values are the samples that count.
func (u usage) values(g grouped) map[string]int64 {
	values := map[string]int64{}
	for _, p := range u.pods {
		if s, ok := u.samples[p.Name]; ok {
			values[p.Name] = s.Value
		}
	}
	for _, names := range [][]string{g.ignored, g.unready} {
		for _, name := range names {
			delete(values, name)
		}
	}
	return values
}

func ceil(f float64) int32 {
	if f >= math.MaxInt32 {
		return math.MaxInt32
	}
	return int32(math.Ceil(f))
}

func total(values map[string]int64) int64 {
	var sum int64
	for _, v := range values {
		sum += v
	}
	return sum
}

// whole is the answer for a metric that is one value for all pods. Nothing is
// scaled from zero by as much as it takes.
func whole(ratio float64, current int32, pods []*corev1.Pod, t tolerance) (int32, error) {
	if current == 0 {
		return ceil(ratio), nil
	}
	if t.within(ratio) {
		return current, nil
	}
	ready := 0
	for _, p := range pods {
		if p.Status.Phase == corev1.PodRunning && podstate.IsReady(p) {
			ready++
		}
	}
	if len(pods) == 0 {
		return 0, errNoPods
	}
	return ceil(ratio * float64(ready)), nil
}

// each is the answer for a metric that is shared by all pods, with a target for
// each.
func each(value, target int64, replicas int32, t tolerance) int32 {
	if replicas > 0 && t.within(float64(value)/(float64(target)*float64(replicas))) {
		return replicas
	}
	return ceil(float64(value) / float64(target))
}
