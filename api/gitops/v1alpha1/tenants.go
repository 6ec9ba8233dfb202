package v1alpha1

// Tenant is somebody who may write to a part of the repository, and how far
// what he writes may reach. A file belongs to the tenant whose paths it matches;
// what kustomize or a chart makes belongs to the tenant whose files were read
// for it, and is refused when those are of several tenants. Files of no tenant
// are the source's own. Objects of the group gitops.headway.sh are never a
// tenant's.
type Tenant struct {
	// Name of the tenant. Problems with his objects name it.
	Name string `json:"name"`
	// Paths are the files that are his: "teams/a" or "teams/a/**" for
	// everything in a directory; * and ? do not span slashes, ** does.
	// +listType=atomic
	Paths []string `json:"paths"`
	// ServiceAccountName is the account that his objects are planned, written,
	// corrected and deleted as. Empty: who the source's own objects are.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// ServiceAccountNamespace is where the account is. Empty: the first of the
	// namespaces that is written in full.
	// +optional
	ServiceAccountNamespace string `json:"serviceAccountNamespace,omitempty"`
	// Namespaces are those that his objects may be in, as "shop" or "shop-*".
	// Where exactly one is written in full, it is the namespace of objects that
	// name none.
	// +listType=atomic
	Namespaces []string `json:"namespaces"`
	// ClusterResources permits objects that are in no namespace, as far as the
	// account's rights reach. Namespaces that match may always be his.
	// +optional
	ClusterResources bool `json:"clusterResources,omitempty"`
	// Decryption says which keys open his encrypted files. The source's own keys
	// never do; without keys of his own, his encrypted files are refused.
	// +optional
	Decryption *DecryptionSpec `json:"decryption,omitempty"`
}

// Account is the namespace and name of the account that a tenant's objects are
// written as; an empty name stands for the source's own.
func (t *Tenant) Account() (namespace, name string) {
	if t.ServiceAccountNamespace != "" || t.ServiceAccountName == "" {
		return t.ServiceAccountNamespace, t.ServiceAccountName
	}
	for _, n := range t.Namespaces {
		if exactNamespace(n) {
			return n, t.ServiceAccountName
		}
	}
	return "", t.ServiceAccountName
}

// Namespace is the one of a tenant's objects that name none, or nothing.
func (t *Tenant) Namespace() string {
	found := ""
	for _, n := range t.Namespaces {
		switch {
		case !exactNamespace(n):
		case found != "":
			return ""
		default:
			found = n
		}
	}
	return found
}

// Account is the namespace and name of the account that the source's own
// objects are written as; an empty name stands for the engine itself.
func (s *GitSourceSpec) Account() (namespace, name string) {
	if s.ServiceAccountName == "" {
		return "", ""
	}
	switch {
	case s.ServiceAccountNamespace != "":
		return s.ServiceAccountNamespace, s.ServiceAccountName
	case s.TargetNamespace != "":
		return s.TargetNamespace, s.ServiceAccountName
	}
	return DefaultTargetNamespace, s.ServiceAccountName
}
