package policy

import rbacv1 "k8s.io/api/rbac/v1"

// JoinGroup is the group of the tokens that admit agents.
const JoinGroup = "system:bootstrappers:headway:default-node-token"

// components are the roles of the cluster's own parts and of its nodes.
func components() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		clusterRole("system:kube-scheduler", append(eventRules(),
			rule(can("create get list watch update patch"), coordinate, "leases"),
			rule(read, core, "nodes namespaces persistentvolumeclaims persistentvolumes replicationcontrollers services"),
			rule(can("get list watch delete"), core, "pods"),
			rule(can("create"), core, "bindings pods/binding"),
			rule(can("patch update"), core, "pods/status"),
			rule(read, apps, "replicasets statefulsets"),
			rule(read, policies, "poddisruptionbudgets"),
			rule(read, storage, "csinodes csidrivers csistoragecapacities storageclasses volumeattachments"),
			rule(read, "scheduling.k8s.io", "priorityclasses"),
			rule(read, resource, "deviceclasses resourceslices"),
			rule(can("get list patch update watch"), resource, "resourceclaims resourceclaims/status"),
			rule(can("get list patch update watch"), core, "pods/finalizers"),
			rule(can("create"), authn, "tokenreviews"), rule(can("create"), authz, "subjectaccessreviews"))...),
		clusterRole("system:volume-scheduler",
			rule(can("get list patch update watch"), core, "persistentvolumeclaims persistentvolumes"),
			rule(read, storage, "storageclasses")),
		// Kubernetes' may also read and write Secrets, ConfigMaps and accounts
		// anywhere: ours does all of that as its controllers' own accounts.
		clusterRole("system:kube-controller-manager", append(eventRules(),
			rule(readWrite, coordinate, "leases"),
			rule(can("create"), core, "serviceaccounts/token"),
			rule(can("list watch"), "*", "*"))...),
		clusterRole("system:node", nodeRules()...),
		clusterRole("system:node-proxier", append(eventRules(),
			rule(can("list watch"), core, "endpoints services"),
			rule(read, core, "nodes"),
			rule(can("list watch"), discovery, "endpointslices"),
			rule(can("list watch"), network, "servicecidrs"))...),
		clusterRole("system:node-problem-detector", append(eventRules(),
			rule(can("get"), core, "nodes"), rule(can("patch"), core, "nodes/status"))...),
		clusterRole("system:node-bootstrapper", rule(can("create get list watch"), certs, "certificatesigningrequests")),
		clusterRole("system:kube-dns", rule(can("list watch"), core, "endpoints services")),
		clusterRole("system:auth-delegator",
			rule(can("create"), authn, "tokenreviews"), rule(can("create"), authz, "subjectaccessreviews")),
		clusterRole("system:kube-aggregator", rule(read, core, "endpoints services")),
		clusterRole("system:kubelet-api-admin",
			rule(read, core, "nodes"), rule(can("proxy"), core, "nodes"),
			rule([]string{"*"}, core, "nodes/log nodes/metrics nodes/proxy nodes/stats nodes/configz nodes/healthz nodes/pods")),
		// Transactions over HTTPS. To plan is to read and to ask, each object under
		// the caller's own rights; an applier also writes notes, ends epochs and
		// sees every write whole, Secrets included: nobody has that by default.
		clusterRole("headway:transaction-planner",
			urls(can("post"), "/apis/txn.headway.sh/v1/view /apis/txn.headway.sh/v1/plan")),
		clusterRole("headway:transaction-applier",
			urls(can("get post"), "/apis/txn.headway.sh/v1/*")),
		clusterRole("system:certificates.k8s.io:certificatesigningrequests:nodeclient",
			rule(can("create"), certs, "certificatesigningrequests/nodeclient")),
		clusterRole("system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
			rule(can("create"), certs, "certificatesigningrequests/selfnodeclient")),
		approver("kube-apiserver-client"), approver("kube-apiserver-client-kubelet"), approver("kubelet-serving"), approver("legacy-unknown"),
		clusterRole("system:persistent-volume-provisioner", append(eventRules(),
			rule(can("create delete get list watch"), core, "persistentvolumes"),
			rule(can("get list update watch"), core, "persistentvolumeclaims"),
			rule(read, storage, "storageclasses"),
			rule(can("watch"), core, "events"))...),
	}
}

// approver may approve the requests to one signer.
func approver(signer string) *rbacv1.ClusterRole {
	return clusterRole("system:certificates.k8s.io:"+signer+"-approver", named(rule(can("approve"), certs, "signers"), "kubernetes.io/"+signer))
}

// nodeRules hold for every node beside what the Node authorizer's graph says;
// NodeRestriction then narrows writes to the node's own objects. Kubernetes
// binds its role to nobody and repeats the rules in the authorizer; ours has
// them once. Without Secrets, ConfigMaps, claims, tokens and Leases, which the
// graph decides alone; with what the proxy and the network of the same process
// read: all nodes, endpoint slices and network policies. Persistent volumes are
// followed by the nodes that hold their data, who let them go when it is gone.
func nodeRules() []rbacv1.PolicyRule {
	return append(eventRules(),
		rule(read, core, "services nodes namespaces"),
		rule(read, discovery, "endpointslices"),
		rule(can("create get list watch delete patch update"), core, "nodes"),
		rule(can("patch update"), core, "nodes/status"),
		rule(can("create delete"), core, "pods"),
		rule(can("patch update"), core, "pods/status"),
		rule(can("create"), core, "pods/eviction"),
		rule(can("get list watch patch update"), core, "persistentvolumes"),
		rule(can("patch update"), core, "persistentvolumeclaims/status"),
		rule(can("create get list watch"), certs, "certificatesigningrequests"),
		rule(can("create"), authn, "tokenreviews"),
		rule(can("create"), authz, "localsubjectaccessreviews subjectaccessreviews"),
		rule(read, storage, "csidrivers volumeattachments"),
		rule(can("create delete get patch update"), storage, "csinodes"),
		rule(read, runtimes, "runtimeclasses"),
		rule(read, network, "networkpolicies"),
	)
}

func componentBindings() []*rbacv1.ClusterRoleBinding {
	return []*rbacv1.ClusterRoleBinding{
		bind("system:kube-scheduler", "system:kube-scheduler", user("system:kube-scheduler")),
		bind("system:volume-scheduler", "system:volume-scheduler", user("system:kube-scheduler")),
		bind("system:kube-controller-manager", "system:kube-controller-manager", user("system:kube-controller-manager")),
		bind("system:node", "system:node", group("system:nodes")),
		bind("system:node-proxier", "system:node-proxier", user("system:kube-proxy")),
		bind("system:kube-dns", "system:kube-dns", account("kube-dns")),
		bind("headway:node-bootstrapper", "system:node-bootstrapper", group(JoinGroup)),
		bind("headway:node-autoapprove-bootstrap", "system:certificates.k8s.io:certificatesigningrequests:nodeclient", group(JoinGroup)),
		bind("headway:node-autoapprove-renewal", "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", group("system:nodes")),
		// A source without a serviceAccountName acts for whoever may push to its
		// repository: that is the administrator of the cluster.
		bind("headway:gitsource", "cluster-admin", account("gitsource")),
	}
}

// systemRoles are those that hold in one namespace.
func systemRoles() []*rbacv1.Role {
	return []*rbacv1.Role{
		role("kube-system", "extension-apiserver-authentication-reader",
			named(rule(read, core, "configmaps"), "extension-apiserver-authentication")),
		role("kube-system", "system:controller:bootstrap-signer", rule(read, core, "secrets")),
		role("kube-system", "system:controller:cloud-provider", rule(can("create get list watch"), core, "configmaps")),
		role("kube-system", "system:controller:token-cleaner", append(eventRules(),
			rule(can("get list watch delete"), core, "secrets"))...),
		leaderRole("kube-controller-manager"),
		leaderRole("kube-scheduler"),
		role("kube-public", "system:controller:bootstrap-signer", append(eventRules(),
			rule(read, core, "configmaps"),
			named(rule(can("update"), core, "configmaps"), "cluster-info"))...),
	}
}

// leaderRole lets a component hold the lock that older releases of it used.
func leaderRole(component string) *rbacv1.Role {
	return role("kube-system", "system::leader-locking-"+component,
		rule(can("watch"), core, "configmaps"),
		named(rule(can("get update"), core, "configmaps"), component))
}

func systemRoleBindings() []*rbacv1.RoleBinding {
	reader := bindRole("kube-system", "extension-apiserver-authentication-reader", user("system:kube-controller-manager"), user("system:kube-scheduler"))
	reader.Name = "system::extension-apiserver-authentication-reader"
	return []*rbacv1.RoleBinding{
		reader,
		bindRole("kube-system", "system:controller:bootstrap-signer", account("bootstrap-signer")),
		bindRole("kube-system", "system:controller:cloud-provider", account("cloud-provider")),
		bindRole("kube-system", "system:controller:token-cleaner", account("token-cleaner")),
		bindRole("kube-system", "system::leader-locking-kube-controller-manager", user("system:kube-controller-manager"), account("kube-controller-manager")),
		bindRole("kube-system", "system::leader-locking-kube-scheduler", user("system:kube-scheduler"), account("kube-scheduler")),
		bindRole("kube-public", "system:controller:bootstrap-signer", account("bootstrap-signer")),
	}
}
