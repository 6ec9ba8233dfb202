package discovery_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientdiscovery "k8s.io/client-go/discovery"
	clientrest "k8s.io/client-go/rest"

	"github.com/headway-sh/headway/apiserver/discovery"
	"github.com/headway-sh/headway/apiserver/kinds"
)

func serve(t *testing.T) *httptest.Server {
	t.Helper()
	h, err := discovery.New(kinds.All(), nil, map[schema.GroupVersion][]metav1.APIResource{
		{Group: "authorization.k8s.io", Version: "v1"}: {{Name: "subjectaccessreviews", SingularName: "subjectaccessreview", Kind: "SubjectAccessReview", Verbs: metav1.Verbs{"create"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server
}

// TestFormsAgree checks that a client learns the same from both forms.
func TestFormsAgree(t *testing.T) {
	t.Parallel()
	server := serve(t)
	client, err := clientdiscovery.NewDiscoveryClientForConfig(&clientrest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	learn := func(legacy bool) []string {
		client.UseLegacyDiscovery = legacy
		_, lists, err := client.ServerGroupsAndResources()
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, l := range lists {
			for _, r := range l.APIResources {
				singular := r.SingularName
				if strings.Contains(r.Name, "/") {
					singular = "" // clients fill it in from the aggregated form only
				}
				all = append(all, l.GroupVersion+" "+r.Name+" "+r.Kind+" "+singular+" "+r.Verbs.String())
			}
		}
		slices.Sort(all)
		return all
	}
	legacy, aggregated := learn(true), learn(false)
	if !slices.Equal(legacy, aggregated) {
		t.Errorf("legacy     %q\naggregated %q", legacy, aggregated)
	}
	for _, want := range []string{
		"apps/v1 deployments Deployment deployment [create delete deletecollection get list patch update watch]",
		"apps/v1 deployments/scale Scale  [get patch update]",
		"v1 pods Pod pod [create delete deletecollection get list patch update watch]",
		"authorization.k8s.io/v1 subjectaccessreviews SubjectAccessReview subjectaccessreview [create]",
	} {
		if !slices.Contains(legacy, want) {
			t.Errorf("%q is not among %q", want, legacy)
		}
	}
}

func TestETag(t *testing.T) {
	t.Parallel()
	server := serve(t)
	for _, accept := range []string{"application/json", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"} {
		ask := func(tag string) *http.Response {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/apis", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", accept)
			r.Header.Set("If-None-Match", tag)
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			return response
		}
		tag := ask("").Header.Get("ETag")
		if again := ask(tag); tag == "" || again.StatusCode != http.StatusNotModified {
			t.Errorf("tag %q: %s", tag, again.Status)
		}
		if other := ask(`"X"`); other.StatusCode != http.StatusOK {
			t.Errorf("another tag: %s", other.Status)
		}
	}
}
