package job

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// verdict is what a Job's failure policy makes of a pod that failed.
type verdict struct {
	// action is empty when no rule matches.
	action batchv1.PodFailurePolicyAction
	// why says which rule matched, and by what.
	why string
}

// counts tells whether the failure counts towards the limits.
func (v verdict) counts() bool { return v.action != batchv1.PodFailurePolicyActionIgnore }

// judge applies the first rule that matches a failed pod.
func judge(job *batchv1.Job, pod *corev1.Pod) verdict {
	if job.Spec.PodFailurePolicy == nil {
		return verdict{}
	}
	for i, rule := range job.Spec.PodFailurePolicy.Rules {
		if rule.OnExitCodes != nil {
			if c := exited(pod, rule.OnExitCodes); c != nil {
				return verdict{rule.Action, fmt.Sprintf("Container %s for pod %s/%s failed with exit code %v matching %v rule at index %d",
					c.Name, pod.Namespace, pod.Name, c.State.Terminated.ExitCode, rule.Action, i)}
			}
			continue
		}
		if c := conditioned(pod, rule.OnPodConditions); c != nil {
			return verdict{rule.Action, fmt.Sprintf("Pod %s/%s has condition %v matching %v rule at index %d", pod.Namespace, pod.Name, c.Type, rule.Action, i)}
		}
	}
	return verdict{}
}

// exited finds the container whose exit code meets a requirement. Success never
// does.
func exited(pod *corev1.Pod, r *batchv1.PodFailurePolicyOnExitCodesRequirement) *corev1.ContainerStatus {
	for _, all := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i, c := range all {
			if r.ContainerName != nil && *r.ContainerName != c.Name || c.State.Terminated == nil || c.State.Terminated.ExitCode == 0 {
				continue
			}
			listed := slices.Contains(r.Values, c.State.Terminated.ExitCode)
			if listed == (r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
				return &all[i]
			}
		}
	}
	return nil
}

func conditioned(pod *corev1.Pod, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern) *corev1.PodCondition {
	for i, c := range pod.Status.Conditions {
		for _, p := range patterns {
			if p.Type == c.Type && p.Status == c.Status {
				return &pod.Status.Conditions[i]
			}
		}
	}
	return nil
}

// successful finds the rule of a success policy that the indexes meet; -1: none.
func successful(policy *batchv1.SuccessPolicy, completions int, done indexes) int {
	if policy == nil {
		return -1
	}
	return slices.IndexFunc(policy.Rules, func(r batchv1.SuccessPolicyRule) bool {
		reached, needed := done.total(), 0
		if r.SucceededIndexes != nil {
			asked := parseIndexes(*r.SucceededIndexes, completions)
			reached, needed = done.common(asked), asked.total()
		}
		if r.SucceededCount != nil {
			needed = int(*r.SucceededCount)
		}
		return needed > 0 && reached >= needed
	})
}
