package policy

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// aggregated is a role that is the sum of those with the label
// rbac.authorization.k8s.io/aggregate-to-NAME; rules are what they give at
// first, until the aggregation controller keeps it.
func aggregated(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	r := clusterRole(name, rules...)
	r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
		{MatchLabels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-" + name: "true"}},
	}}
	return r
}

func part(of string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	r := clusterRole("system:aggregate-to-"+of, rules...)
	r.Labels["rbac.authorization.k8s.io/aggregate-to-"+of] = "true"
	return r
}

// wider makes a role count for wider ones as well: view goes into edit, edit
// goes into admin, and so does whatever others let them aggregate.
func wider(r *rbacv1.ClusterRole, of ...string) *rbacv1.ClusterRole {
	for _, o := range of {
		r.Labels["rbac.authorization.k8s.io/aggregate-to-"+o] = "true"
	}
	return r
}

const (
	workloads      = "daemonsets deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale"
	workloadStatus = "daemonsets/status deployments/status replicasets/status statefulsets/status controllerrevisions"
	coreContent    = "configmaps endpoints persistentvolumeclaims pods replicationcontrollers replicationcontrollers/scale serviceaccounts services"
	coreStatus     = "bindings events limitranges namespaces namespaces/status persistentvolumeclaims/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status services/status"
)

func viewRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule(read, core, coreContent+" "+coreStatus),
		rule(read, discovery, "endpointslices"),
		rule(read, apps, workloads+" "+workloadStatus),
		rule(read, autoscale, "horizontalpodautoscalers horizontalpodautoscalers/status"),
		rule(read, "metrics.k8s.io", "pods nodes"),
		rule(read, batch, "cronjobs cronjobs/status jobs jobs/status"),
		rule(read, policies, "poddisruptionbudgets poddisruptionbudgets/status"),
		rule(read, network, "ingresses ingresses/status networkpolicies"),
		rule(read, resource, "resourceclaims resourceclaims/status resourceclaimtemplates"),
		rule(read, gitops, "gitsources releases plans"),
	}
}

func editRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule(read, core, "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
		rule(can("impersonate"), core, "serviceaccounts"),
		rule(write, core, "pods pods/attach pods/exec pods/portforward pods/proxy configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy"),
		rule(can("create"), core, "pods/eviction serviceaccounts/token"),
		rule(write, apps, workloads+" deployments/rollback"),
		rule(write, autoscale, "horizontalpodautoscalers"),
		rule(write, batch, "cronjobs jobs"),
		rule(write, policies, "poddisruptionbudgets"),
		rule(write, network, "ingresses networkpolicies"),
		rule(write, coordinate, "leases"),
		rule(read, coordinate, "leases"),
		rule(write, resource, "resourceclaims resourceclaimtemplates"),
	}
}

func adminRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule(can("create"), authz, "localsubjectaccessreviews"),
		rule(readWrite, rbac, "rolebindings roles"),
	}
}

func join(parts ...[]rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var all []rbacv1.PolicyRule
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// people are the roles that administrators give to people and applications:
// Kubernetes' roles of these names, with our own group in view and without
// extensions, which is not served. admin, edit and view begin with what they
// are the sum of, and so hold before the aggregation controller has run.
// system:heapster is left out: that add-on asked for kinds which are gone.
func people() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		clusterRole("cluster-admin",
			rule([]string{"*"}, "*", "*"), urls([]string{"*"}, "*")),
		aggregated("admin", join(editRules(), viewRules(), adminRules())...),
		wider(aggregated("edit", join(editRules(), viewRules())...), "admin"),
		wider(aggregated("view", viewRules()...), "edit"),
		part("admin", adminRules()...),
		part("edit", editRules()...),
		part("view", viewRules()...),
		clusterRole("system:discovery",
			urls(can("get"), "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/")),
		clusterRole("system:monitoring",
			urls(can("get"), "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*")),
		clusterRole("system:public-info-viewer", urls(can("get"), "/healthz /livez /readyz /version /version/")),
		clusterRole("system:service-account-issuer-discovery",
			urls(can("get"), "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/")),
		clusterRole("system:basic-user",
			rule(can("create"), authz, "selfsubjectaccessreviews selfsubjectrulesreviews"),
			rule(can("create"), authn, "selfsubjectreviews")),
	}
}

func peopleBindings() []*rbacv1.ClusterRoleBinding {
	everyone := group("system:authenticated")
	return []*rbacv1.ClusterRoleBinding{
		bind("cluster-admin", "cluster-admin", group("system:masters")),
		bind("system:discovery", "system:discovery", everyone),
		bind("system:monitoring", "system:monitoring", group("system:monitoring")),
		bind("system:basic-user", "system:basic-user", everyone),
		bind("system:public-info-viewer", "system:public-info-viewer", everyone, group("system:unauthenticated")),
		bind("system:service-account-issuer-discovery", "system:service-account-issuer-discovery", group("system:serviceaccounts")),
	}
}
