package policy

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Groups as rules name them.
const (
	core       = ""
	apps       = "apps"
	batch      = "batch"
	autoscale  = "autoscaling"
	policies   = "policy"
	network    = "networking.k8s.io"
	discovery  = "discovery.k8s.io"
	rbac       = "rbac.authorization.k8s.io"
	authn      = "authentication.k8s.io"
	authz      = "authorization.k8s.io"
	certs      = "certificates.k8s.io"
	coordinate = "coordination.k8s.io"
	events     = "events.k8s.io"
	storage    = "storage.k8s.io"
	runtimes   = "node.k8s.io"
	resource   = "resource.k8s.io"
	admission  = "admissionregistration.k8s.io"
	gitops     = "gitops.headway.sh"
)

var (
	read      = []string{"get", "list", "watch"}
	write     = []string{"create", "delete", "deletecollection", "patch", "update"}
	readWrite = append(append([]string{}, read...), write...)
)

// rule grants verbs on resources of one group. The resources are separated by
// blanks, the verbs as well unless they come from one of the lists above.
func rule(verbs []string, group, resources string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, APIGroups: []string{group}, Resources: strings.Fields(resources)}
}

// can makes a list of verbs.
func can(verbs string) []string { return strings.Fields(verbs) }

// named narrows a rule to objects of those names.
func named(r rbacv1.PolicyRule, names ...string) rbacv1.PolicyRule {
	r.ResourceNames = names
	return r
}

// urls grants verbs on paths that are no resources.
func urls(verbs []string, paths string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, NonResourceURLs: strings.Fields(paths)}
}

// eventRules let a component tell what it does.
func eventRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{rule(can("create patch update"), core, "events"), rule(can("create patch update"), events, "events")}
}

// meta marks an object as one that starts with the cluster and is kept up.
func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name,
		Labels:      map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: meta("", name), Rules: rules}
}

func role(namespace, name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: meta(namespace, name), Rules: rules}
}

func group(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbac, Name: name}
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbac, Name: name}
}

func account(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: metav1.NamespaceSystem, Name: name}
}

// bind binds a cluster role of the same name, unless another is given, to subjects.
func bind(name, clusterRole string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta("", name),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbac, Kind: "ClusterRole", Name: clusterRole},
		Subjects:   subjects,
	}
}

func bindRole(namespace, name string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: meta(namespace, name),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbac, Kind: "Role", Name: name},
		Subjects:   subjects,
	}
}
