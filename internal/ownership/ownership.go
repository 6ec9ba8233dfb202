// Package ownership names the two indexes by which the dependents of an owner
// are found without looking at any others: the objects that it controls, and
// the objects of a namespace that nobody controls and that may be adopted.
// The API server keeps them, in-process clients select by them as by fields,
// and emulators of the API offer them too. They are no part of the API.
package ownership

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// Controller finds objects by their controller's UID.
	Controller = "metadata.controller"
	// Orphan finds objects that have labels and no controller by their namespace.
	Orphan = "metadata.orphan"
)

// ControllerOf gives the values of Controller.
func ControllerOf(o metav1.Object) []string {
	if owner := metav1.GetControllerOfNoCopy(o); owner != nil {
		return []string{string(owner.UID)}
	}
	return nil
}

// OrphanIn gives the values of Orphan.
func OrphanIn(o metav1.Object) []string {
	if len(o.GetLabels()) == 0 || metav1.GetControllerOfNoCopy(o) != nil {
		return nil
	}
	return []string{o.GetNamespace()}
}
