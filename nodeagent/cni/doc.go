// Package cni is the pods' network by a chain of CNI plug-ins, in place of the
// built-in one: it runs the first configuration of a directory for each pod,
// remembers on disk what it has asked the plug-ins for before it does, and takes
// all of that back.
//
//	Attach   record ─▶ ADD ─▶ record with addresses
//	   again, after a restart   what the pod has stays; CHECK says what is wrong with it
//	   again, without the link  DEL ─▶ ADD   (the machine was started anew, or ADD was cut short)
//	Detach   DEL with the configuration of its ADD ─▶ no record
//	Sweep    DEL for records of nobody, then the plug-ins' own GC
//
// Specification: https://www.cni.dev/docs/spec/, versions 0.3.0 to 1.1.0.
package cni
