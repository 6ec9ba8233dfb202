package node

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// conditionEvents are the reasons that a node's events have, by condition and
// whether it holds.
var conditionEvents = map[corev1.NodeConditionType]map[bool]string{
	corev1.NodeReady:          {true: "NodeReady", false: "NodeNotReady"},
	corev1.NodeMemoryPressure: {true: "NodeHasInsufficientMemory", false: "NodeHasSufficientMemory"},
	corev1.NodeDiskPressure:   {true: "NodeHasDiskPressure", false: "NodeHasNoDiskPressure"},
	corev1.NodePIDPressure:    {true: "NodeHasInsufficientPID", false: "NodeHasSufficientPID"},
}

// tell records an event about the node itself. Its UID is the node's name:
// that is what clients look for.
func (n *Node) tell(reason, message string) {
	if n.Recorder == nil {
		return
	}
	n.Recorder.Event(&corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: types.UID(n.Name)}, corev1.EventTypeNormal, reason, message)
}

// tellConditions records what has changed from one status to the next.
func (n *Node) tellConditions(old, now []corev1.NodeCondition) {
	before := map[corev1.NodeConditionType]corev1.ConditionStatus{}
	for _, c := range old {
		before[c.Type] = c.Status
	}
	for _, c := range now {
		reason := conditionEvents[c.Type][c.Status == corev1.ConditionTrue]
		if reason != "" && before[c.Type] != c.Status {
			n.tell(reason, fmt.Sprintf("Node %s status is now: %s", n.Name, reason))
		}
	}
}
