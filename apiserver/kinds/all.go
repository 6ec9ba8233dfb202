package kinds

import "github.com/headway-sh/headway/apiserver/kind"

// All returns a new copy of every row, in the order that discovery lists them.
func All() []*kind.Kind {
	return []*kind.Kind{
		// core/v1
		namespaceKind(), nodeKind(), podKind(), serviceKind(), endpointsKind(), configMapKind(), secretKind(),
		serviceAccountKind(), eventKind(), replicationControllerKind(), podTemplateKind(), limitRangeKind(),
		resourceQuotaKind(), persistentVolumeKind(), persistentVolumeClaimKind(), componentStatusKind(),
		// apps/v1
		deploymentKind(), replicaSetKind(), statefulSetKind(), daemonSetKind(), controllerRevisionKind(),
		// batch/v1, autoscaling/v2, policy/v1
		jobKind(), cronJobKind(), horizontalPodAutoscalerKind(), podDisruptionBudgetKind(),
		// networking.k8s.io/v1, discovery.k8s.io/v1
		ingressKind(), ingressClassKind(), networkPolicyKind(), endpointSliceKind(), ipAddressKind(), serviceCIDRKind(),
		// rbac.authorization.k8s.io/v1, certificates.k8s.io/v1
		roleKind(), clusterRoleKind(), roleBindingKind(), clusterRoleBindingKind(), certificateSigningRequestKind(),
		// coordination, scheduling, node, storage
		leaseKind(), priorityClassKind(), runtimeClassKind(), storageClassKind(),
		volumeAttachmentKind(), csiNodeKind(), csiDriverKind(), csiStorageCapacityKind(), volumeAttributesClassKind(),
		// admissionregistration.k8s.io/v1
		validatingWebhookConfigurationKind(), mutatingWebhookConfigurationKind(),
		validatingAdmissionPolicyKind(), validatingAdmissionPolicyBindingKind(),
		mutatingAdmissionPolicyKind(), mutatingAdmissionPolicyBindingKind(),
		// resource.k8s.io/v1, apiregistration.k8s.io/v1
		deviceClassKind(), resourceClaimKind(), resourceClaimTemplateKind(), resourceSliceKind(), apiServiceKind(),
		// flowcontrol.apiserver.k8s.io/v1
		flowSchemaKind(), priorityLevelConfigurationKind(),
		// apiextensions.k8s.io/v1
		customResourceDefinitionKind(),
		// gitops.headway.sh/v1alpha1
		gitSourceKind(), releaseKind(), planKind(),
	}
}
