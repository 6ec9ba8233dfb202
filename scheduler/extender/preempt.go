package extender

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"github.com/headway-sh/headway/scheduler"
)

var _ scheduler.PreemptExtender = (*Extender)(nil)

// Preempts tells whether the extender has a say in who makes way for a pod.
func (e *Extender) Preempts() bool { return e.config.PreemptVerb != "" }

// Preempt asks on which of the nodes pods are to make way, and which.
func (e *Extender) Preempt(ctx context.Context, p *corev1.Pod, victims map[string]scheduler.Victims) (map[string]scheduler.Choice, error) {
	args := extenderv1.ExtenderPreemptionArgs{Pod: p}
	if e.config.NodeCacheCapable {
		args.NodeNameToMetaVictims = make(map[string]*extenderv1.MetaVictims, len(victims))
	} else {
		args.NodeNameToVictims = make(map[string]*extenderv1.Victims, len(victims))
	}
	for node, v := range victims {
		if !e.config.NodeCacheCapable {
			args.NodeNameToVictims[node] = &extenderv1.Victims{Pods: v.Pods, NumPDBViolations: int64(v.Violations)}
			continue
		}
		meta := &extenderv1.MetaVictims{NumPDBViolations: int64(v.Violations)}
		for _, pod := range v.Pods {
			meta.Pods = append(meta.Pods, &extenderv1.MetaPod{UID: string(pod.UID)})
		}
		args.NodeNameToMetaVictims[node] = meta
	}
	var answer extenderv1.ExtenderPreemptionResult
	if err := e.ask(ctx, e.config.PreemptVerb, args, &answer); err != nil {
		return nil, err
	}
	choices := make(map[string]scheduler.Choice, len(answer.NodeNameToMetaVictims))
	for node, v := range answer.NodeNameToMetaVictims {
		var c scheduler.Choice
		if v != nil {
			c.Violations = int(v.NumPDBViolations)
			for _, pod := range v.Pods {
				if pod != nil {
					c.Pods = append(c.Pods, types.UID(pod.UID))
				}
			}
		}
		choices[node] = c
	}
	return choices, nil
}
