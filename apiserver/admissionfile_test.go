package apiserver_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/apiserver"
)

const admissionFile = `apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline}
    exemptions: {namespaces: [free]}
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources:
    - {resource: pods, matchScopes: [{scopeName: PriorityClass, operator: In, values: [high]}]}
    - {resource: services, matchContains: [services.loadbalancers]}
`

// TestAdmissionIsConfiguredByFile holds writes to what the file says.
func TestAdmissionIsConfiguredByFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "admission.yaml")
	check(t, os.WriteFile(path, []byte(admissionFile), 0o600))
	server, _ := startIn(t, dir, func(c *apiserver.Config) {
		c.AdmissionConfig, c.ExternalIPs = path, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	client := adminClient(t, server)
	for _, name := range []string{"shop", "free"} {
		inNamespace(t, client, name)
	}
	_, err := client.SchedulingV1().PriorityClasses().Create(t.Context(), &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 1000}, metav1.CreateOptions{})
	check(t, err)
	pod := func(namespace, name, class string, host bool) error {
		_, err := client.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PodSpec{HostPID: host, PriorityClassName: class, Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
		return err
	}
	service := func(name string, kind corev1.ServiceType, external ...string) error {
		_, err := client.CoreV1().Services("shop").Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{Port: 80}}, ExternalIPs: external}}, metav1.CreateOptions{})
		return err
	}
	expect := func(what string, err error, want string) {
		t.Helper()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	expect("a pod that looks around", pod("shop", "host", "", true), "violates PodSecurity \"baseline:latest\"")
	expect("one where it may", pod("free", "host", "", true), "")
	expect("a pod", pod("shop", "plain", "", false), "")
	expect("an important one", pod("shop", "first", "high", false), "insufficient quota to match these scopes: [{PriorityClass In [high]}]")
	expect("a balanced service", service("wide", corev1.ServiceTypeLoadBalancer), "insufficient quota to consume: services.loadbalancers")
	expect("a service", service("near", corev1.ServiceTypeClusterIP), "")
	expect("a claimed address", service("claim", corev1.ServiceTypeClusterIP, "192.0.2.7"), "")
	expect("another one", service("theft", corev1.ServiceTypeClusterIP, "198.51.100.7"), "Use of external IPs is denied")
	for name, q := range map[string]corev1.ResourceQuotaSpec{
		"important": {Hard: corev1.ResourceList{"pods": resource.MustParse("1")}, ScopeSelector: &corev1.ScopeSelector{
			MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"high"}}}}},
		"wide": {Hard: corev1.ResourceList{"services.loadbalancers": resource.MustParse("1")}},
	} {
		_, err := client.CoreV1().ResourceQuotas("shop").Create(t.Context(), &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: q}, metav1.CreateOptions{})
		check(t, err)
	}
	expect("an important one with a quota", pod("shop", "first", "high", false), "")
	expect("one too many", pod("shop", "second", "high", false), "exceeded quota: important")
	expect("a balanced service with a quota", service("wide", corev1.ServiceTypeLoadBalancer), "")
	expect("as much as before", func() error {
		s, err := client.CoreV1().Services("shop").Get(t.Context(), "wide", metav1.GetOptions{})
		check(t, err)
		check(t, client.CoreV1().ResourceQuotas("shop").Delete(t.Context(), "wide", metav1.DeleteOptions{}))
		s.Labels = map[string]string{"a": "b"}
		_, err = client.CoreV1().Services("shop").Update(t.Context(), s, metav1.UpdateOptions{})
		return err
	}(), "")
}
