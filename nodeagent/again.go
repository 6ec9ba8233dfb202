package nodeagent

import corev1 "k8s.io/api/core/v1"

// allAgain marks every container that there is to be followed by another
// attempt; those that have ended for good, too. The sandbox, its addresses and
// the volumes stay.
func (w *worker) allAgain() {
	w.event1("", corev1.EventTypeNormal, "RestartAllContainers", "All containers of the pod restart")
	w.observed.AllAgain = true
	for _, cancel := range w.starts {
		cancel()
	}
	for name, o := range w.observed.Containers {
		o.Again = true
		if o.Waiting != nil && !o.Exited() {
			o.Waiting, w.pulls[name] = nil, 0
		}
	}
}
