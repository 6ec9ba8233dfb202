package status_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/status"
)

func TestAfter(t *testing.T) {
	t.Parallel()
	rule := func(action corev1.ContainerRestartRuleAction, operator corev1.ContainerRestartRuleOnExitCodesOperator, codes ...int32) corev1.ContainerRestartRule {
		return corev1.ContainerRestartRule{Action: action, ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: operator, Values: codes}}
	}
	const restart, all = corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers
	const in, notIn = corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn
	const always, never, onFailure = "Always", "Never", "OnFailure"
	type rules = []corev1.ContainerRestartRule
	for name, tc := range map[string]struct {
		pod, own string
		rules    rules
		init     bool
		code     int
		want     status.AfterExit
	}{
		"always":                   {pod: always, want: status.Again},
		"never":                    {pod: never, code: 1, want: status.Stay},
		"on failure, good":         {pod: onFailure, want: status.Stay},
		"on failure, bad":          {pod: onFailure, code: 1, want: status.Again},
		"own before the pod's":     {pod: always, own: never, code: 1, want: status.Stay},
		"own after none":           {pod: never, own: always, want: status.Again},
		"rule before own":          {pod: never, own: never, rules: rules{rule(restart, in, 42)}, code: 42, want: status.Again},
		"rule does not meet":       {pod: always, own: never, rules: rules{rule(restart, in, 42)}, code: 41, want: status.Stay},
		"not in":                   {pod: never, own: never, rules: rules{rule(restart, notIn, 0)}, code: 5, want: status.Again},
		"first rule wins":          {pod: never, own: never, rules: rules{rule(all, in, 1), rule(restart, in, 1)}, code: 1, want: status.AllAgain},
		"init done":                {pod: always, init: true, want: status.Stay},
		"init failed":              {pod: always, init: true, code: 1, want: status.Again},
		"init failed for good":     {pod: always, own: never, init: true, code: 1, want: status.Stay},
		"init done, rule or not":   {pod: never, own: never, rules: rules{rule(restart, in, 0)}, init: true, want: status.Stay},
		"init done restarts all":   {pod: never, own: never, rules: rules{rule(all, in, 0)}, init: true, want: status.AllAgain},
		"sidecar":                  {pod: never, own: always, init: true, want: status.Again},
		"a sidecar's rule for all": {pod: never, own: always, rules: rules{rule(all, in, 88)}, init: true, code: 88, want: status.AllAgain},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := corev1.Container{Name: "c", RestartPolicyRules: tc.rules}
			if tc.own != "" {
				policy := corev1.ContainerRestartPolicy(tc.own)
				c.RestartPolicy = &policy
			}
			pod := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicy(tc.pod)}}
			if tc.init {
				pod.Spec.InitContainers = []corev1.Container{c}
			} else {
				pod.Spec.Containers = []corev1.Container{c}
			}
			if got := status.After(pod, &c, tc.code); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}
