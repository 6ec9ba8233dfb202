package status

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// AfterExit is what follows the end of a container.
type AfterExit int

const (
	// Stay leaves it ended.
	Stay AfterExit = iota
	// Again starts it again.
	Again
	// AllAgain starts every container of the pod again, init containers first.
	AllAgain
)

// After decides what follows the end of a container with an exit code: the
// first of its rules that the code meets, else its own policy, else the pod's
// (KEP-5307, KEP-5532). An init container that has succeeded is done, whatever
// its policy says.
func After(pod *corev1.Pod, c *corev1.Container, code int) AfterExit {
	for i := range c.RestartPolicyRules {
		r := &c.RestartPolicyRules[i]
		if !meets(r.ExitCodes, code) {
			continue
		}
		if r.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
			return AllAgain
		}
		if code != 0 || Restartable(c) || !isInit(pod, c.Name) {
			return Again
		}
		return Stay
	}
	policy := pod.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	switch {
	case policy == corev1.RestartPolicyNever:
		return Stay
	case code != 0:
		return Again
	case policy == corev1.RestartPolicyOnFailure, isInit(pod, c.Name) && !Restartable(c):
		return Stay
	}
	return Again
}

func meets(e *corev1.ContainerRestartRuleOnExitCodes, code int) bool {
	return e != nil && slices.Contains(e.Values, int32(code)) == (e.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn)
}

func isInit(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == name })
}

// Restarts tells whether a container that has ended is about to start again.
func Restarts(pod *corev1.Pod, c *corev1.Container, o *Container) bool {
	return o.Exited() && (o.Again || After(pod, c, o.ExitCode) != Stay)
}

// FailedForGood tells whether an init container has failed and is not tried
// again, so that its pod has failed.
func FailedForGood(pod *corev1.Pod, c *corev1.Container, o *Container) bool {
	return o.Exited() && o.ExitCode != 0 && !o.Stale && !Restarts(pod, c, o)
}

// restarting tells of pods that have rules which restart all containers
// whether that is under way: some have not ended yet.
func restarting(pod *corev1.Pod, o *Observed) (corev1.PodCondition, bool) {
	c := corev1.PodCondition{Type: corev1.AllContainersRestarting, Status: corev1.ConditionFalse}
	for _, at := range o.Containers {
		if at.Again && at.Running() {
			c.Status, c.Reason = corev1.ConditionTrue, "RestartAllContainers"
		}
	}
	return c, o.AllAgain || find(pod.Status.Conditions, c.Type) != nil
}
