package apiserver_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/headway-sh/headway/apiserver"
)

// kubectl runs the machine's kubectl as an administrator of the server.
func kubectl(t *testing.T, server *apiserver.Server) func(stdin string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("no kubectl on this machine")
	}
	home := t.TempDir()
	cert, key, err := server.Authorities().UserCertificate("ada", []string{"system:masters"}, 0)
	check(t, err)
	file := func(name string, b []byte) string {
		check(t, os.WriteFile(filepath.Join(home, name), b, 0o600))
		return filepath.Join(home, name)
	}
	flags := []string{"--server", "https://" + server.Address().String(), "--tls-server-name", "kubernetes.default.svc", "--cache-dir", filepath.Join(home, "cache"),
		"--certificate-authority", file("ca", server.Authorities().API.PEM), "--client-certificate", file("cert", cert), "--client-key", file("key", key)}
	return func(stdin string, args ...string) (string, error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, append(flags[:len(flags):len(flags)], args...)...)
		cmd.Env = append(os.Environ(), "HOME="+home, "KUBECONFIG="+filepath.Join(home, "none"))
		cmd.Stdin = strings.NewReader("---\n" + stdin)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		return out.String(), err
	}
}

// TestKubectlKnowsCustomResources finds, explains, applies and shows widgets
// by their short name.
func TestKubectlKnowsCustomResources(t *testing.T) {
	t.Parallel()
	server := start(t)
	run := kubectl(t, server)
	for _, c := range []struct {
		stdin string
		args  string
		want  []string
	}{
		{widgets, "apply -f -", []string{"widgets.shop.example.com created"}},
		{"", "get crd", []string{"widgets.shop.example.com"}},
		{"", "wait --for condition=established crd/widgets.shop.example.com", []string{"condition met"}},
		{"", "api-resources --api-group shop.example.com", []string{"widgets", "wd", "shop.example.com/v", "true", "Widget"}},
		{"", "explain widget.spec --api-version shop.example.com/v1 --recursive", []string{"size", "<integer> -required-", "parts", "<[]Object>", "color"}},
		{`{apiVersion: shop.example.com/v1, kind: Widget, metadata: {name: a, namespace: default}, spec: {size: 3}}`, "apply -f -", []string{"widget.shop.example.com/a created"}},
		{`{apiVersion: shop.example.com/v1, kind: Widget, metadata: {name: a, namespace: default}, spec: {size: 4}}`, "apply -f -", []string{"widget.shop.example.com/a configured"}},
		{`{apiVersion: shop.example.com/v1, kind: Widget, metadata: {name: b, namespace: default}, spec: {size: 5}}`, "apply --server-side -f -", []string{"serverside-applied"}},
		{"", "get wd", []string{"NAME   AGE", "a "}},
		{"", "get widgets.v1.shop.example.com -o wide", []string{"SIZE   COLOR", "a      4      red"}},
		{"", "get widgets.v1.shop.example.com -A --field-selector spec.color=blue", []string{"No resources found"}},
		{"", "get all", []string{"widget.shop.example.com/a"}},
		{"", "delete crd widgets.shop.example.com", []string{"deleted"}},
	} {
		out, err := run(c.stdin, strings.Fields(c.args)...)
		if err != nil {
			t.Fatalf("kubectl %s: %v\n%s", c.args, err, out)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("kubectl %s: no %q in\n%s", c.args, want, out)
			}
		}
	}
	if out, err := run(`{apiVersion: shop.example.com/v1, kind: Widget, metadata: {name: c}, spec: {size: 1}}`, "create", "-f", "-"); err == nil || !strings.Contains(out, "could not find the requested resource") {
		t.Errorf("a kind that is gone: %v %s", err, out)
	}
}

// TestCustomResourcesAreDescribed looks at discovery and OpenAPI before, with
// and after a definition.
func TestCustomResourcesAreDescribed(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	client := typedClient(t, s.server, "ada", "system:masters")
	names := func() string {
		t.Helper()
		lists, err := discovery.ServerPreferredResources(client.Discovery())
		check(t, err)
		var found []string
		for _, l := range lists {
			for _, r := range l.APIResources {
				if l.GroupVersion == "shop.example.com/v2" || l.GroupVersion == "shop.example.com/v1" {
					found = append(found, l.GroupVersion+" "+r.Name+" "+r.Kind)
				}
			}
		}
		return strings.Join(found, ", ")
	}
	document := func(path string) string {
		t.Helper()
		b, err := client.RESTClient().Get().AbsPath(path).SetHeader("Accept", "application/json").Do(t.Context()).Raw()
		if apierrors.IsNotFound(err) {
			return ""
		}
		check(t, err)
		return string(b)
	}
	if got := names(); got != "shop.example.com/v2 widgets Widget" {
		t.Errorf("discovered %q", got)
	}
	for path, want := range map[string]string{
		"/openapi/v2":                           `"com.example.shop.v1.Widget"`,
		"/openapi/v3":                           `"apis/shop.example.com/v1"`,
		"/openapi/v3/apis/shop.example.com/v1":  `"x-kubernetes-list-map-keys":["name"]`,
		"/apis/shop.example.com/v1":             `"widgets/scale"`,
		"/apis/shop.example.com":                `"preferredVersion":{"groupVersion":"shop.example.com/v2"`,
		"/openapi/v3/apis/shop.example.com/v2/": `com.example.shop.v2.WidgetList`,
	} {
		if got := document(path); !strings.Contains(got, want) {
			t.Errorf("%s lacks %s (%d bytes)", path, want, len(got))
		}
	}
	s.define(t, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: anythings.shop.example.com}
spec:
  group: shop.example.com
  scope: Namespaced
  names: {plural: anythings, kind: Anything}
  versions: [{name: v1alpha1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`)
	// Clients of v2 would refuse what is not among the properties.
	if got, want := document("/openapi/v2"), `"com.example.shop.v1alpha1.Anything":{"type":"object","x-kubernetes-group-version-kind":`; !strings.Contains(got, want) {
		t.Errorf("OpenAPI v2 lacks %s", want)
	}
	check(t, s.crds.ApiextensionsV1().CustomResourceDefinitions().Delete(t.Context(), "anythings.shop.example.com", metav1.DeleteOptions{}))
	before := document("/openapi/v3")
	definitions := s.crds.ApiextensionsV1().CustomResourceDefinitions()
	crd, err := definitions.Get(t.Context(), "widgets.shop.example.com", metav1.GetOptions{})
	check(t, err)
	crd.Spec.Versions[1].Served = false
	crd, err = definitions.Update(t.Context(), crd, metav1.UpdateOptions{})
	check(t, err)
	if got := names(); got != "shop.example.com/v1 widgets Widget, shop.example.com/v1 widgets/scale Scale, shop.example.com/v1 widgets/status Widget" && got != "shop.example.com/v1 widgets Widget" {
		t.Errorf("discovered %q", got)
	}
	if after := document("/openapi/v3"); after == before || strings.Contains(after, "shop.example.com/v2") || document("/openapi/v3/apis/shop.example.com/v2") != "" {
		t.Errorf("a version that is not served is described")
	}
	gone, err := definitions.Watch(t.Context(), metav1.ListOptions{ResourceVersion: crd.ResourceVersion})
	check(t, err)
	defer gone.Stop()
	check(t, definitions.Delete(t.Context(), crd.Name, metav1.DeleteOptions{}))
	await(t, gone, func(e watch.Event) bool { return e.Type == watch.Deleted })
	if got := names(); got != "" || strings.Contains(document("/openapi/v2"), "com.example.shop") {
		t.Errorf("described after it is gone: %q", got)
	}
}

// TestDefinitionsRefused tables what a definition may not be.
func TestDefinitionsRefused(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	for name, c := range map[string]struct{ from, to, want string }{
		"broken pattern": {"free: {type: object", "bad: {type: string, pattern: '(('}\n              free: {type: object", "must be a valid regular expression, but isn't"},
		"huge pattern":   {"free: {type: object", "bad: {type: string, pattern: '((a{0,1000}){0,1000}){0,1000}'}\n              free: {type: object", "must be a valid regular expression, but isn't"},
		"costly rule": {"self.size <= self.limit", "'self.parts.all(x, self.parts.all(y, self.parts.all(z, x.name != y.name || z.name.contains(x.name))))'",
			"exceeds budget"},
		"rule of another type": {"self.size <= self.limit", "self.size", "must evaluate to a bool"},
		"name":                 {"{name: widgets.shop.example.com}", "{name: gadgets.shop.example.com}", `must be spec.names.plural+"."+spec.group`},
		"no structure":         {"limit: {type: integer, default: 10}", "limit: {default: 10}", "must not be empty for specified object fields"},
		"wrong default":        {"limit: {type: integer, default: 10}", "limit: {type: integer, default: ten}", "must be of type integer"},
		"conversion webhook": {"  scope: Namespaced", "  scope: Namespaced\n  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: 'https://example.com'}}}",
			`spec.conversion.strategy: Unsupported value: "Webhook": supported values: "None"`},
		"two stored": {"storage: false", "storage: true", "must have exactly one version marked as storage version"},
	} {
		text := strings.Replace(widgets, c.from, c.to, 1)
		if text == widgets {
			t.Fatalf("%s changes nothing", name)
		}
		crd := definition(t, text)
		began := time.Now()
		_, err := s.crds.ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), crd, metav1.CreateOptions{DryRun: []string{"All"}})
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
}

// TestNamesAreGivenOnce lets a second definition have its names when the first
// one leaves.
func TestNamesAreGivenOnce(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	rival := strings.NewReplacer("name: widgets.shop", "name: gizmos.shop", "plural: widgets", "plural: gizmos").Replace(widgets)
	crd := s.define(t, rival)
	condition := apihelpers.FindCRDCondition(crd, apiextensionsv1.NamesAccepted)
	if condition == nil || condition.Status != "False" || !strings.Contains(condition.Reason, "Conflict") || apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
		t.Fatalf("conditions %+v", crd.Status.Conditions)
	}
	gizmos := widgetsResource
	gizmos.Resource = "gizmos"
	if _, err := s.dynamic.Resource(gizmos).List(t.Context(), metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("served without a name: %v", err)
	}
	definitions := s.crds.ApiextensionsV1().CustomResourceDefinitions()
	changes, err := definitions.Watch(t.Context(), metav1.ListOptions{ResourceVersion: crd.ResourceVersion})
	check(t, err)
	defer changes.Stop()
	check(t, definitions.Delete(t.Context(), "widgets.shop.example.com", metav1.DeleteOptions{}))
	await(t, changes, func(e watch.Event) bool {
		d := e.Object.(*apiextensionsv1.CustomResourceDefinition)
		return d.Name == crd.Name && apihelpers.IsCRDConditionTrue(d, apiextensionsv1.Established)
	})
	if _, err := s.dynamic.Resource(gizmos).List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("with its names: %v", err)
	}
	community := s.define(t, strings.NewReplacer("metadata: {name: widgets.shop.example.com}",
		"metadata: {name: widgets.shop.k8s.io, annotations: {api-approved.kubernetes.io: 'unapproved, for a test'}}", "shop.example.com", "shop.k8s.io").Replace(widgets))
	if c := apihelpers.FindCRDCondition(community, apiextensionsv1.KubernetesAPIApprovalPolicyConformant); c == nil || c.Reason != "UnapprovedAnnotation" {
		t.Errorf("conditions %+v", community.Status.Conditions)
	}
}

// TestDefaultsAreReadFromStorage changes a definition under stored objects.
func TestDefaultsAreReadFromStorage(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	_, err := s.widgets().Create(t.Context(), widget(t, "w", "{size: 2}"), metav1.CreateOptions{})
	check(t, err)
	definitions := s.crds.ApiextensionsV1().CustomResourceDefinitions()
	crd, err := definitions.Get(t.Context(), "widgets.shop.example.com", metav1.GetOptions{})
	check(t, err)
	spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	spec.Properties["weight"] = apiextensionsv1.JSONSchemaProps{Type: "integer", Default: &apiextensionsv1.JSON{Raw: []byte("5")}}
	_, err = definitions.Update(t.Context(), crd, metav1.UpdateOptions{})
	check(t, err)
	o, err := s.widgets().Get(t.Context(), "w", metav1.GetOptions{})
	check(t, err)
	if at(t, o, "spec.weight") != int64(5) {
		t.Errorf("read %v", o.Object)
	}
}

// TestCustomResourcesSoon measures how soon after its definition is answered a
// custom resource can be made; the aim is 100 ms.
func TestCustomResourcesSoon(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	var slowest time.Duration
	for i := range 5 {
		plural := fmt.Sprintf("soon%ds", i)
		text := strings.NewReplacer("name: widgets.shop", "name: "+plural+".shop", "plural: widgets", "plural: "+plural, "kind: Widget", fmt.Sprintf("kind: Soon%d", i), "shortNames: [wd], ", "").Replace(widgets)
		s.define(t, text)
		began := time.Now()
		o := widget(t, "w", "{size: 1}")
		o.SetKind(fmt.Sprintf("Soon%d", i))
		resource := widgetsResource
		resource.Resource = plural
		_, err := s.dynamic.Resource(resource).Namespace("default").Create(t.Context(), o, metav1.CreateOptions{})
		check(t, err)
		slowest = max(slowest, time.Since(began))
	}
	t.Logf("the slowest first object took %s", slowest)
}

// TestDynamicInformer keeps a client-go informer on custom resources.
func TestDynamicInformer(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	factory := dynamicinformer.NewDynamicSharedInformerFactory(s.dynamic, 0)
	seen := make(chan string, 10)
	_, err := factory.ForResource(widgetsResource).Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { seen <- "added " + o.(*unstructured.Unstructured).GetName() },
		DeleteFunc: func(o any) { seen <- "deleted " + o.(*unstructured.Unstructured).GetName() },
	})
	check(t, err)
	factory.Start(t.Context().Done())
	factory.WaitForCacheSync(t.Context().Done())
	_, err = s.widgets().Create(t.Context(), widget(t, "w", "{size: 2}"), metav1.CreateOptions{})
	check(t, err)
	check(t, s.widgets().Delete(t.Context(), "w", metav1.DeleteOptions{}))
	for _, want := range []string{"added w", "deleted w"} {
		if got := <-seen; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
