package apiserver_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestDryRunWritesNothing asks for a dry run of every verb on objects and
// subresources, built-in and custom: each answers as the real thing would, and
// the store stays where it is.
func TestDryRunWritesNothing(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	client, err := kubernetes.NewForConfig(clientConfig(t, s.server, "ada", "system:masters"))
	check(t, err)
	inNamespace(t, client, "shop")
	send := s.raw(t)
	const (
		maps, pods, deployments = "/api/v1/namespaces/shop/configmaps", "/api/v1/namespaces/shop/pods", "/apis/apps/v1/namespaces/shop/deployments"
		widgets                 = "/apis/shop.example.com/v1/namespaces/shop/widgets"
		pod                     = `{"metadata":{"name":"%s"},"spec":{"containers":[{"name":"c","image":"i"}]}}`
		deployment              = `{"metadata":{"name":"d"},"spec":{"replicas":1,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`
		widget                  = `{"apiVersion":"shop.example.com/v1","kind":"Widget","metadata":{"name":"%s"},"spec":{"size":%d}}`
		scale                   = `{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"%s","namespace":"shop"},"spec":{"replicas":3}}`
		applyMap                = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s"},"data":{"k":"w"}}`
		crd                     = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"cars.shop.example.com"},"spec":{"group":"shop.example.com","scope":"Cluster","names":{"plural":"cars","kind":"Car"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}`
	)
	for path, body := range map[string]string{
		maps: fmt.Sprintf(applyMap, "m"), pods: fmt.Sprintf(pod, "p"), deployments: deployment, widgets: fmt.Sprintf(widget, "w", 1),
	} {
		if code, answer := send("POST", path, asJSON, []byte(body)); code != 201 {
			t.Fatalf("%s: %d %s", path, code, answer)
		}
	}
	made, err := s.dynamic.Resource(widgetsResource).Namespace("shop").Get(t.Context(), "w", metav1.GetOptions{})
	check(t, err)
	version := made.GetResourceVersion()
	for _, c := range []struct {
		name, method, path, media, body string
		code                            int
		want                            string
	}{
		{"create", "POST", maps, asJSON, fmt.Sprintf(applyMap, "n"), 201, `"uid"`},
		{"create, generated name", "POST", maps, asJSON, `{"metadata":{"generateName":"n-"}}`, 201, `"name":"n-`},
		{"create, namespace", "POST", "/api/v1/namespaces", asJSON, `{"metadata":{"name":"other"}}`, 201, `"uid"`},
		{"create, service", "POST", "/api/v1/namespaces/shop/services", asJSON, `{"metadata":{"name":"s"},"spec":{"type":"NodePort","ports":[{"port":80}]}}`, 201, `"clusterIP"`},
		{"create, definition", "POST", crdsPath, asJSON, crd, 201, `"uid"`},
		{"create, custom", "POST", widgets, asJSON, fmt.Sprintf(widget, "n", 1), 201, `"limit":10`},
		{"update", "PUT", maps + "/m", asJSON, `{"metadata":{"name":"m"},"data":{"k":"x"}}`, 200, `"k":"x"`},
		{"update, custom", "PUT", widgets + "/w", asJSON, strings.Replace(fmt.Sprintf(widget, "w", 2), `{"name"`, `{"resourceVersion":"`+version+`","name"`, 1), 200, `"size":2`},
		{"JSON patch", "PATCH", maps + "/m", jsonPatch, `[{"op":"add","path":"/data/n","value":"v"}]`, 200, `"n":"v"`},
		{"JSON patch, custom", "PATCH", widgets + "/w", jsonPatch, `[{"op":"replace","path":"/spec/size","value":2}]`, 200, `"size":2`},
		{"merge patch", "PATCH", maps + "/m", mergePatch, `{"data":{"n":"v"}}`, 200, `"n":"v"`},
		{"merge patch, custom", "PATCH", widgets + "/w", mergePatch, `{"spec":{"size":2}}`, 200, `"size":2`},
		{"strategic patch", "PATCH", pods + "/p", strategic, `{"metadata":{"labels":{"n":"v"}}}`, 200, `"n":"v"`},
		{"apply", "PATCH", maps + "/m", applyPatch, fmt.Sprintf(applyMap, "m"), 200, `"Apply"`},
		{"apply, new", "PATCH", maps + "/n", applyPatch, fmt.Sprintf(applyMap, "n"), 201, `"uid"`},
		{"apply, custom", "PATCH", widgets + "/w", applyPatch, fmt.Sprintf(widget, "w", 2), 200, `"size":2`},
		{"apply, new, custom", "PATCH", widgets + "/n", applyPatch, fmt.Sprintf(widget, "n", 2), 201, `"uid"`},
		{"status", "PATCH", pods + "/p/status", mergePatch, `{"status":{"phase":"Running"}}`, 200, `"Running"`},
		{"status, custom", "PATCH", widgets + "/w/status", mergePatch, `{"status":{"replicas":2}}`, 200, `"replicas":2`},
		{"status, applied, custom", "PATCH", widgets + "/w/status", applyPatch, `{"apiVersion":"shop.example.com/v1","kind":"Widget","metadata":{"name":"w"},"status":{"replicas":2}}`, 200, `"replicas":2`},
		{"scale", "PUT", deployments + "/d/scale", asJSON, fmt.Sprintf(scale, "d"), 200, `"replicas":3`},
		{"scale, patch", "PATCH", deployments + "/d/scale", mergePatch, `{"spec":{"replicas":3}}`, 200, `"replicas":3`},
		{"scale, custom", "PUT", widgets + "/w/scale", asJSON, fmt.Sprintf(scale, "w"), 200, `"replicas":3`},
		{"scale, patch, custom", "PATCH", widgets + "/w/scale", mergePatch, `{"spec":{"replicas":3}}`, 200, `"replicas":3`},
		{"binding", "POST", pods + "/p/binding", asJSON, `{"metadata":{"name":"p"},"target":{"kind":"Node","name":"n1"}}`, 201, "Success"},
		{"eviction", "POST", pods + "/p/eviction", asJSON, `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"}}`, 201, "Success"},
		{"token", "POST", "/api/v1/namespaces/shop/serviceaccounts/default/token", asJSON, `{}`, 201, "TokenRequest"},
		{"delete", "DELETE", maps + "/m", asJSON, ``, 200, "Success"},
		{"delete, options", "DELETE", deployments + "/d", asJSON, `{"propagationPolicy":"Foreground","dryRun":["All"]}`, 200, ""},
		{"delete, pod", "DELETE", pods + "/p", asJSON, `{"gracePeriodSeconds":0,"dryRun":["All"]}`, 200, ""},
		{"delete, custom", "DELETE", widgets + "/w", asJSON, ``, 200, "Success"},
		{"delete, namespace", "DELETE", "/api/v1/namespaces/shop", asJSON, ``, 200, ""},
		{"delete, definition", "DELETE", crdsPath + "/widgets.shop.example.com", asJSON, ``, 200, ""},
		{"delete collection", "DELETE", maps, asJSON, ``, 200, ""},
		{"delete collection, options", "DELETE", pods, asJSON, `{"dryRun":["All"]}`, 200, ""},
		{"delete collection, custom", "DELETE", widgets, asJSON, ``, 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := revision(t, s.server)
			path := c.path
			if !strings.Contains(c.body, "dryRun") {
				path += "?dryRun=All"
				if c.media == applyPatch {
					path += "&force=true&fieldManager=ada"
				}
			}
			code, body := send(c.method, path, c.media, []byte(c.body))
			if code != c.code || !strings.Contains(body, c.want) {
				t.Errorf("%d %.500s\nwant %d %s", code, body, c.code, c.want)
			}
			if after := revision(t, s.server); after != before {
				t.Errorf("the store went from revision %d to %d", before, after)
			}
		})
	}
	// What a dry run has shown is free: the real thing does it.
	_, err = client.CoreV1().ConfigMaps("shop").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{})
	check(t, err)
}
