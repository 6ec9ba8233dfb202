// +k8s:deepcopy-gen=package
// +k8s:openapi-gen=true
// +k8s:openapi-model-package=sh.headway.gitops.v1alpha1
// +groupName=gitops.headway.sh

// Package v1alpha1 is Headway's own API group.
//
//	GitSource  where desired state is written down, and what became of it
//	Release    one commit of one source: what it changed and how it went
//	Plan       what a branch, tag or pull request would change
//
// All three are cluster-scoped: the unit of the design is a commit, and one
// commit may hold objects of every namespace and of the cluster. A tenant is
// confined by what its source may do (service account, target namespace), not
// by where the GitSource object lives; nobody who may write into a single
// namespace should be able to create something that writes elsewhere.
//
// Objects of this group are stored as JSON.
package v1alpha1

//go:generate go tool deepcopy-gen --output-file zz_generated.deepcopy.go .
