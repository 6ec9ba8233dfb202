package admission_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission"
)

func held(labels ...string) *corev1.Namespace {
	ns := namespace("shop", corev1.NamespaceActive)
	ns.Labels = map[string]string{}
	for i := 0; i < len(labels); i += 2 {
		ns.Labels["pod-security.kubernetes.io/"+labels[i]] = labels[i+1]
	}
	return ns
}

// secured changes the first container's security context.
func secured(change func(*corev1.SecurityContext)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{}
		change(p.Spec.Containers[0].SecurityContext)
	}
}

// careful is all that the restricted standard asks for.
func careful(s *corev1.SecurityContext) {
	s.AllowPrivilegeEscalation, s.RunAsNonRoot = ptr.To(false), ptr.To(true)
	s.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}
	s.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
}

func TestPodSecurityRefuses(t *testing.T) {
	t.Parallel()
	hostPath := func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "etc", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/etc"}}}}
	}
	ephemeral := func(p *corev1.Pod) {
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", SecurityContext: &corev1.SecurityContext{Privileged: ptr.To(true)}}}}
	}
	tests := []struct {
		name        string
		namespace   *corev1.Namespace
		object, old txn.Object
		subresource string
		want        string // beginning, after "pods "web" is forbidden: violates PodSecurity "
	}{
		{name: "privileged where nothing is asked", namespace: held(), object: pod(secured(func(s *corev1.SecurityContext) { s.Privileged = ptr.To(true) }))},
		{name: "privileged", namespace: held("enforce", "baseline"), object: pod(secured(func(s *corev1.SecurityContext) { s.Privileged = ptr.To(true) })),
			want: `"baseline:latest": privileged (container "c" must not set securityContext.privileged=true)`},
		{name: "host path", namespace: held("enforce", "baseline"), object: pod(hostPath), want: `"baseline:latest": hostPath volumes (volume "etc")`},
		{name: "host namespaces", namespace: held("enforce", "baseline"), object: pod(func(p *corev1.Pod) { p.Spec.HostNetwork, p.Spec.HostPID = true, true }),
			want: `"baseline:latest": host namespaces (hostNetwork=true, hostPID=true)`},
		{name: "a capability", namespace: held("enforce", "baseline"), object: pod(secured(func(s *corev1.SecurityContext) {
			s.Capabilities = &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}}
		})), want: `"baseline:latest": non-default capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add)`},
		{name: "unconfined", namespace: held("enforce", "baseline"), object: pod(secured(func(s *corev1.SecurityContext) {
			s.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
		})), want: `"baseline:latest": seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")`},
		{name: "an older version", namespace: held("enforce", "restricted", "enforce-version", "v1.18"), object: pod(secured(func(s *corev1.SecurityContext) {
			careful(s)
			s.SeccompProfile = nil
		}))},
		{name: "ordinary under restricted", namespace: held("enforce", "restricted", "enforce-version", "v1.25"), object: pod(),
			want: `"restricted:v1.25": allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")`},
		{name: "careful under restricted", namespace: held("enforce", "restricted"), object: pod(secured(careful))},
		{name: "an ephemeral container", namespace: held("enforce", "baseline"), object: pod(ephemeral), old: pod(), subresource: "ephemeralcontainers",
			want: `"baseline:latest": privileged (container "debug" must not set securityContext.privileged=true)`},
		{name: "an update that changes nothing of it", namespace: held("enforce", "baseline"), object: pod(hostPath, func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }), old: pod(hostPath)},
		{name: "a status", namespace: held("enforce", "baseline"), object: pod(hostPath), old: pod(hostPath), subresource: "status"},
		{name: "a deployment's template is not refused", namespace: held("enforce", "baseline"), object: deployment(pod(hostPath))},
		{name: "an unknown level holds as the strictest", namespace: held("enforce", "strict"), object: pod(), want: `"restricted:latest": allowPrivilegeEscalation != false`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := request(t, test.object, test.old)
			r.Subresource = test.subresource
			err := step(t, "PodSecurity", view(t, test.namespace), r)
			prefix := `pods "web" is forbidden: violates PodSecurity ` + test.want
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), prefix)) {
				t.Errorf("got  %v\nwant %s", err, prefix)
			}
		})
	}
}

func deployment(p *corev1.Pod) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: p.Spec}}}
}

func TestPodSecurityWarns(t *testing.T) {
	t.Parallel()
	hostNetwork := pod(func(p *corev1.Pod) { p.Spec.HostNetwork = true })
	tests := []struct {
		name        string
		view        []txn.Object
		object, old txn.Object
		want        string
	}{
		{"a pod", []txn.Object{held("warn", "baseline")}, hostNetwork, nil, `would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`},
		{"a deployment's template", []txn.Object{held("warn", "baseline")}, deployment(hostNetwork), nil, `would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`},
		{"a namespace's pods", []txn.Object{hostNetwork}, held("enforce", "baseline"), held(),
			"existing pods in namespace \"shop\" violate the new PodSecurity enforce level \"baseline:latest\"\nweb: host namespaces"},
		{"a namespace that asks for less", []txn.Object{hostNetwork}, held("enforce", "privileged"), held("enforce", "baseline"), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := request(t, test.object, test.old)
			says(t, step(t, "PodSecurity", view(t, test.view...), r), "")
			if got := strings.Join(r.Warnings(), "\n"); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestPodSecurityLabelsAreChecked(t *testing.T) {
	t.Parallel()
	err := step(t, "PodSecurity", view(t), request(t, held("enforce", "strict", "warn-version", "newest"), nil))
	says(t, err, `Namespace "shop" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "newest": must be "latest" or "v1.x"]`)
}

func TestPodSecurityConfiguration(t *testing.T) {
	t.Parallel()
	if err := (admission.PodSecurity{Enforce: "strict"}).Validate(); err == nil {
		t.Error("a level that does not exist is valid")
	}
	c := admission.Config{PodSecurity: admission.PodSecurity{Enforce: "baseline", Users: []string{"root"}, RuntimeClasses: []string{"vm"}}}
	hostNetwork := func(p *corev1.Pod) { p.Spec.HostNetwork = true }
	exempt := request(t, pod(hostNetwork), nil)
	exempt.Identity.Name = "root"
	says(t, stepOf(t, c, "PodSecurity", view(t, held()), exempt), "")
	says(t, stepOf(t, c, "PodSecurity", view(t, held()), request(t, pod(hostNetwork, func(p *corev1.Pod) { p.Spec.RuntimeClassName = ptr.To("vm") }), nil)), "")
	says(t, stepOf(t, c, "PodSecurity", view(t, held()), request(t, pod(hostNetwork), nil)),
		`pods "web" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`)
}
