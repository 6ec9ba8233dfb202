package policy

import rbacv1 "k8s.io/api/rbac/v1"

// controllerRules are what each controller may do beside telling events. The
// controllers act as service accounts in kube-system of these names. They are
// Kubernetes' but for verbs that ours use besides, patch mostly; without the
// group extensions, which is not served, and without roles of controllers
// whose kinds are not, or that are off by default.
var controllerRules = map[string][]rbacv1.PolicyRule{
	"deployment-controller": {
		rule(can("get list patch update watch"), apps, "deployments"),
		rule(can("update patch"), apps, "deployments/status deployments/finalizers"),
		rule(can("create delete get list patch update watch"), apps, "replicasets"),
		rule(can("get list update watch"), core, "pods"),
	},
	"replicaset-controller": {
		rule(can("get list patch update watch"), apps, "replicasets"),
		rule(can("update patch"), apps, "replicasets/status replicasets/finalizers"),
		rule(can("create delete list get patch watch"), core, "pods"),
	},
	"replication-controller": {
		rule(can("get list update watch"), core, "replicationcontrollers"),
		rule(can("update patch"), core, "replicationcontrollers/status replicationcontrollers/finalizers"),
		rule(can("create delete list get patch watch"), core, "pods"),
	},
	"daemon-set-controller": {
		rule(can("get list update watch"), apps, "daemonsets"),
		rule(can("update patch"), apps, "daemonsets/status daemonsets/finalizers"),
		rule(read, core, "nodes"),
		rule(can("create delete list get patch watch"), core, "pods"),
		rule(can("create"), core, "pods/binding"),
		rule(can("create delete get list patch update watch"), apps, "controllerrevisions"),
	},
	"statefulset-controller": {
		rule(can("get list update watch"), apps, "statefulsets"),
		rule(can("update patch"), apps, "statefulsets/status statefulsets/finalizers"),
		rule(can("get create delete update patch list watch"), core, "pods"),
		rule(can("update"), core, "pods/finalizers"),
		rule(can("create get list watch update delete patch"), core, "persistentvolumeclaims"),
		rule(can("create delete get list patch update watch"), apps, "controllerrevisions"),
	},
	"job-controller": {
		rule(can("get list update patch watch"), batch, "jobs"),
		rule(can("update patch"), batch, "jobs/status jobs/finalizers"),
		rule(can("create delete list get patch watch"), core, "pods"),
	},
	"cronjob-controller": {
		rule(can("get list update watch"), batch, "cronjobs"),
		rule(can("create delete get list patch update watch"), batch, "jobs"),
		rule(can("update patch"), batch, "cronjobs/status cronjobs/finalizers"),
		rule(can("delete list watch"), core, "pods"),
	},
	"endpoint-controller": {
		rule(read, core, "pods services"),
		rule(can("create delete get list update watch"), core, "endpoints"),
		rule(can("create"), core, "endpoints/restricted"),
	},
	"endpointslice-controller": {
		rule(read, core, "nodes pods services"),
		rule(can("update"), core, "services/finalizers"),
		rule(can("create delete get list update watch"), discovery, "endpointslices"),
		rule(can("create"), discovery, "endpointslices/restricted"),
	},
	"endpointslicemirroring-controller": {
		rule(read, core, "endpoints services"),
		rule(can("update"), core, "endpoints/finalizers services/finalizers"),
		rule(can("create delete get list update watch"), discovery, "endpointslices"),
		rule(can("create"), discovery, "endpointslices/restricted"),
	},
	"networkpolicy-controller": {
		rule(read, core, "namespaces pods"),
		rule(read, network, "networkpolicies"),
		rule(can("create delete get list update watch"), discovery, "endpointslices"),
		rule(can("create"), discovery, "endpointslices/restricted"),
	},
	"service-cidrs-controller": {
		rule(can("get list patch update watch"), network, "servicecidrs"),
		rule(can("patch update"), network, "servicecidrs/finalizers servicecidrs/status"),
		rule(read, network, "ipaddresses"),
	},
	"namespace-controller": {
		rule(can("delete get list watch"), core, "namespaces"),
		rule(can("update"), core, "namespaces/finalize namespaces/status"),
		rule(can("delete deletecollection get list watch"), "*", "*"),
	},
	"bootstrap-controller": {
		rule(can("create get list watch"), core, "namespaces"),
		rule(can("create get list watch"), storage, "storageclasses"),
	},
	"service-account-controller": {
		rule(can("create get list watch"), core, "serviceaccounts namespaces"),
	},
	"root-ca-cert-publisher": {
		rule(can("create update get list watch"), core, "configmaps"),
		rule(read, core, "namespaces"),
	},
	"generic-garbage-collector": {
		rule(can("delete get list patch update watch"), "*", "*"),
	},
	"node-controller": {
		rule(can("delete get list patch update watch"), core, "nodes"),
		rule(can("patch update"), core, "nodes/status pods/status"),
		rule(can("delete get list watch"), core, "pods"),
		rule(can("create"), core, "pods/eviction"),
		rule(read, coordinate, "leases"),
		rule(read, network, "servicecidrs"),
	},
	"pod-garbage-collector": {
		rule(can("delete get list watch"), core, "pods"),
		rule(can("patch"), core, "pods/status"),
		rule(read, core, "nodes"),
	},
	"certificate-controller": {
		rule(can("delete get list watch"), certs, "certificatesigningrequests"),
		rule(can("get"), core, "nodes"),
		rule(can("update"), certs, "certificatesigningrequests/approval certificatesigningrequests/status"),
		// Kubernetes leaves serving certificates to be approved by others; ours are
		// approved for the addresses of the node's own Node.
		named(rule(can("approve sign"), certs, "signers"), "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"),
		named(rule(can("sign"), certs, "signers"), "kubernetes.io/kube-apiserver-client", "kubernetes.io/legacy-unknown"),
		rule(can("create"), authz, "subjectaccessreviews"),
	},
	"clusterrole-aggregation-controller": {
		rule(can("escalate get list patch update watch"), rbac, "clusterroles"),
	},
	"disruption-controller": {
		rule(read, apps, "deployments replicasets statefulsets"),
		rule(read, core, "replicationcontrollers pods"),
		rule(can("patch update"), core, "pods/status"),
		rule(read, policies, "poddisruptionbudgets"),
		rule(can("update"), policies, "poddisruptionbudgets/status"),
		rule(can("get"), "*", "*/scale"),
	},
	"horizontal-pod-autoscaler": {
		rule(read, autoscale, "horizontalpodautoscalers"),
		rule(can("update"), autoscale, "horizontalpodautoscalers/status"),
		rule(can("get update"), "*", "*/scale"),
		rule(can("list watch get"), core, "pods"),
		rule(can("list watch"), "metrics.k8s.io", "pods"),
		rule(read, "custom.metrics.k8s.io", "*"),
		rule(read, "external.metrics.k8s.io", "*"),
	},
	"resourcequota-controller": {
		rule(can("list watch get"), "*", "*"),
		rule(can("update"), core, "resourcequotas/status"),
	},
	"ttl-after-finished-controller": {
		rule(can("delete get list watch"), batch, "jobs"),
	},
	"persistent-volume-binder": {
		rule(can("create delete get list update watch"), core, "persistentvolumes"),
		rule(can("update"), core, "persistentvolumes/status persistentvolumeclaims/status"),
		rule(can("get list update watch"), core, "persistentvolumeclaims"),
		rule(can("create delete get list watch"), core, "pods"),
		rule(read, storage, "storageclasses csinodes"),
		rule(can("get list watch"), core, "nodes"),
		rule(can("watch"), core, "events"),
	},
	"pvc-protection-controller": {
		rule(can("get list update watch"), core, "persistentvolumeclaims"), rule(read, core, "pods"),
	},
	"pv-protection-controller": {
		rule(can("get list update watch"), core, "persistentvolumes"),
	},
	"expand-controller": {
		rule(can("get list patch update watch"), core, "persistentvolumes"),
		rule(can("get list watch"), core, "persistentvolumeclaims"),
		rule(can("patch update"), core, "persistentvolumeclaims/status"),
		rule(read, storage, "storageclasses"),
	},
	"attachdetach-controller": {
		rule(can("list watch"), core, "persistentvolumes persistentvolumeclaims pods"),
		rule(read, core, "nodes"),
		rule(can("patch update"), core, "nodes/status"),
		rule(can("create delete get list watch"), storage, "volumeattachments"),
		rule(read, storage, "csidrivers csinodes"),
	},
	"volumeattributesclass-protection-controller": {
		rule(read, core, "persistentvolumeclaims persistentvolumes"),
		rule(can("get list update watch"), storage, "volumeattributesclasses"),
	},
	"resource-claim-controller": {
		rule(read, core, "pods"),
		rule(can("update"), core, "pods/finalizers"),
		rule(can("create delete get list watch"), resource, "resourceclaims"),
		rule(can("patch update"), resource, "resourceclaims resourceclaims/status"),
		rule(can("patch update"), core, "pods/status"),
	},
	"route-controller": {
		rule(can("list watch"), core, "nodes"), rule(can("patch"), core, "nodes/status"),
	},
	"service-controller": {
		rule(read, core, "services"), rule(can("patch update"), core, "services/status"),
		rule(can("list watch"), core, "nodes"),
	},
	"ttl-controller": {
		rule(can("list patch update watch"), core, "nodes"),
	},
	"legacy-service-account-token-cleaner": {
		named(rule(can("get"), core, "configmaps"), "kube-apiserver-legacy-service-account-token-tracking"),
		rule(can("delete patch"), core, "secrets"),
	},
	"validatingadmissionpolicy-status-controller": {
		rule(read, admission, "validatingadmissionpolicies"),
		rule(can("get patch update"), admission, "validatingadmissionpolicies/status"),
	},
	"local-path-provisioner": {
		rule(can("create delete get list update watch"), core, "persistentvolumes"),
		rule(can("get list update watch"), core, "persistentvolumeclaims"),
		rule(read, core, "nodes"),
		rule(read, storage, "storageclasses"),
	},
	"ephemeral-volume-controller": {
		rule(read, core, "pods"), rule(can("update"), core, "pods/finalizers"),
		rule(can("create get list watch"), core, "persistentvolumeclaims"),
	},
}
