package kinds

import (
	"maps"
	"math"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func defaultJob(o *batchv1.Job) {
	s := &o.Spec
	if s.Completions == nil && s.Parallelism == nil {
		setDefaultPtr(&s.Completions, 1)
	}
	setDefaultPtr(&s.Parallelism, 1)
	if s.BackoffLimitPerIndex != nil {
		setDefaultPtr(&s.BackoffLimit, math.MaxInt32)
	}
	setDefaultPtr(&s.BackoffLimit, 6)
	setDefaultPtr(&s.CompletionMode, batchv1.NonIndexedCompletion)
	setDefaultPtr(&s.Suspend, false)
	setDefaultPtr(&s.ManualSelector, false)
	if s.PodFailurePolicy != nil {
		setDefaultPtr(&s.PodReplacementPolicy, batchv1.Failed)
	}
	defaultConditions(s)
	setDefaultPtr(&s.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	if len(o.Labels) == 0 && len(s.Template.Labels) > 0 {
		o.Labels = mapsCopy(s.Template.Labels)
	}
	defaultPodSpec(&s.Template.Spec)
}

// defaultConditions lets a rule about a condition be about one that is true.
func defaultConditions(s *batchv1.JobSpec) {
	if s.PodFailurePolicy == nil {
		return
	}
	for i := range s.PodFailurePolicy.Rules {
		conditions := s.PodFailurePolicy.Rules[i].OnPodConditions
		for j := range conditions {
			setDefault(&conditions[j].Status, corev1.ConditionTrue)
		}
	}
}

// prepareJob gives a new job, unless it selects by hand, the selector that only
// its own pods match: its UID, which must be set already.
func prepareJob(o, old *batchv1.Job) {
	if old != nil || deref(o.Spec.ManualSelector, false) {
		return
	}
	t := &o.Spec.Template
	// Labels that the job has from its template stay the template's.
	shared := maps.Equal(o.Labels, t.Labels)
	t.Labels = mapsCopy(t.Labels)
	uid := string(o.UID)
	setDefaultKey(t.Labels, batchv1.JobNameLabel, o.Name)
	setDefaultKey(t.Labels, "job-name", o.Name)
	setDefaultKey(t.Labels, batchv1.ControllerUidLabel, uid)
	setDefaultKey(t.Labels, "controller-uid", uid)
	if o.Spec.Selector == nil {
		o.Spec.Selector = &metav1.LabelSelector{}
	}
	if o.Spec.Selector.MatchLabels == nil {
		o.Spec.Selector.MatchLabels = map[string]string{}
	}
	setDefaultKey(o.Spec.Selector.MatchLabels, batchv1.ControllerUidLabel, uid)
	if shared || len(o.Labels) == 0 {
		o.Labels = mapsCopy(t.Labels)
	}
}

func setDefaultKey(m map[string]string, key, value string) {
	if _, ok := m[key]; !ok {
		m[key] = value
	}
}

// mapsCopy copies m; a nil map becomes an empty one.
func mapsCopy(m map[string]string) map[string]string {
	c := make(map[string]string, len(m)+4)
	for k, v := range m {
		c[k] = v
	}
	return c
}
