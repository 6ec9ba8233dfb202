package admission_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/apiserver/admission"
	"github.com/headway-sh/headway/internal/quota"
)

const configuration = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n"

func TestLoadFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"psa.yaml": "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\ndefaults: {enforce: baseline, enforce-version: v1.30}\nexemptions: {namespaces: [kube-system]}\n",
		"file.yaml": configuration + `plugins:
- {name: PodSecurity, path: psa.yaml}
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources:
    - resource: pods
      matchScopes: [{scopeName: PriorityClass, operator: In, values: [high]}]
    - {resource: persistentvolumeclaims, matchContains: [.storageclass.storage.k8s.io/requests.storage]}
- {name: MutatingAdmissionWebhook}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got admission.Config
	if err := admission.LoadFile(filepath.Join(dir, "file.yaml"), &got); err != nil {
		t.Fatal(err)
	}
	want := admission.Config{
		PodSecurity: admission.PodSecurity{Enforce: "baseline", EnforceVersion: "v1.30", Audit: "privileged", AuditVersion: "latest", Warn: "privileged", WarnVersion: "latest", Namespaces: []string{"kube-system"}},
		Limited: []quota.Rule{
			{Resource: corev1.Resource("pods"), Scopes: []corev1.ScopedResourceSelectorRequirement{{ScopeName: "PriorityClass", Operator: "In", Values: []string{"high"}}}},
			{Resource: corev1.Resource("persistentvolumeclaims"), Contains: []string{".storageclass.storage.k8s.io/requests.storage"}},
		},
	}
	if diff := cmp.Diff(want.PodSecurity, got.PodSecurity); diff != "" {
		t.Errorf("pod security (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Limited, got.Limited); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
}

func TestLoadFileRefuses(t *testing.T) {
	t.Parallel()
	plugin := func(text string) string { return configuration + "plugins: [" + text + "]\n" }
	for name, c := range map[string]struct{ text, want string }{
		"nonsense":           {"plugins: [", "did not find expected"},
		"another kind":       {"apiVersion: v1\nkind: ConfigMap\n", "it is a /v1, Kind=ConfigMap, want apiserver.config.k8s.io/v1, Kind=AdmissionConfiguration"},
		"unknown field":      {configuration + "plugin: []\n", `unknown field "plugin"`},
		"unknown plug-in":    {plugin("{name: ImagePolicyWebhook}"), `plug-in "ImagePolicyWebhook": there is no such plug-in; there are `},
		"twice":              {plugin("{name: PodSecurity}, {name: PodSecurity}"), `plug-in "PodSecurity" has two configurations`},
		"no file":            {plugin("{name: PodSecurity, path: none.yaml}"), "no such file"},
		"takes none":         {plugin("{name: LimitRanger, configuration: {a: b}}"), `plug-in "LimitRanger": it takes no configuration`},
		"webhook's clients":  {plugin("{name: ValidatingAdmissionWebhook, configuration: {kubeConfigFile: x}}"), "client certificates for webhooks are not supported"},
		"level":              {plugin("{name: PodSecurity, configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, defaults: {enforce: strict}}}"), "defaults.enforce"},
		"field of a plug-in": {plugin("{name: PodSecurity, configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, default: {}}}"), `unknown field "default"`},
		"quota's kind":       {plugin("{name: ResourceQuota, configuration: {apiVersion: v1, kind: Configuration}}"), "want apiserver.config.k8s.io/v1, Kind=ResourceQuotaConfiguration"},
		"quota's resource":   {plugin("{name: ResourceQuota, configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: ResourceQuotaConfiguration, limitedResources: [{matchContains: [x]}]}}"), "limitedResources[0].resource: Required value"},
		"quota's operator":   {plugin("{name: ResourceQuota, configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: ResourceQuotaConfiguration, limitedResources: [{resource: pods, matchScopes: [{scopeName: PriorityClass, operator: Is}]}]}}"), `Unsupported value: "Is"`},
	} {
		path := filepath.Join(t.TempDir(), "file.yaml")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := admission.LoadFile(path, &admission.Config{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}
