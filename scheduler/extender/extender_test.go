package extender_test

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"github.com/headway-sh/headway/scheduler"
	"github.com/headway-sh/headway/scheduler/extender"
)

func nodes(names ...string) (all []*corev1.Node) {
	for _, name := range names {
		all = append(all, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"zone": "a"}}})
	}
	return all
}

var web = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u1"}}

// serve answers each path with a text, and keeps what was asked.
func serve(t *testing.T, answers map[string]string) (*httptest.Server, map[string]map[string]any) {
	asked := map[string]map[string]any{}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		question := map[string]any{}
		if err := json.NewDecoder(r.Body).Decode(&question); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		asked[r.URL.Path] = question
		_, _ = io.WriteString(w, answers[r.URL.Path])
	}))
	t.Cleanup(s.Close)
	return s, asked
}

func settings(s *httptest.Server, change func(*configv1.Extender)) configv1.Extender {
	c := configv1.Extender{URLPrefix: s.URL + "/x/", FilterVerb: "filter", PrioritizeVerb: "prioritize", BindVerb: "bind", Weight: 2, EnableHTTPS: true,
		TLSConfig: &configv1.ExtenderTLSConfig{CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})}}
	if change != nil {
		change(&c)
	}
	return c
}

func made(t *testing.T, c configv1.Extender) *extender.Extender {
	t.Helper()
	e, err := extender.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestSpeaksTheProtocol(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		knows  bool
		filter string
	}{
		"whole nodes":    {false, `{"Nodes":{"items":[{"metadata":{"name":"n2"}}]},"FailedNodes":{"n1":"no room"},"FailedAndUnresolvableNodes":{"n3":"wrong rack"}}`},
		"names of nodes": {true, `{"nodenames":["n2"],"failedNodes":{"n1":"no room"},"failedAndUnresolvableNodes":{"n3":"wrong rack"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			s, asked := serve(t, map[string]string{
				"/x/filter":     test.filter,
				"/x/prioritize": `[{"Host":"n2","Score":7},{"Host":"n1","Score":99}]`,
				"/x/bind":       `{}`,
			})
			e := made(t, settings(s, func(c *configv1.Extender) { c.NodeCacheCapable = test.knows }))
			fit, refused, err := e.Filter(t.Context(), web, nodes("n1", "n2", "n3"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]any{map[string]bool{"n2": true}, map[string]string{"n1": "no room", "n3": "wrong rack"}}, []any{fit, refused}); diff != "" {
				t.Errorf("filter (-want +got):\n%s", diff)
			}
			question := asked["/x/filter"]
			if got := question["Pod"].(map[string]any)["metadata"].(map[string]any)["name"]; got != "web" {
				t.Errorf("asked about pod %v", got)
			}
			if test.knows {
				if diff := cmp.Diff([]any{"n1", "n2", "n3"}, question["NodeNames"]); diff != "" || question["Nodes"] != nil {
					t.Errorf("asked about (-want +got):\n%s%v", diff, question["Nodes"])
				}
			} else if items := question["Nodes"].(map[string]any)["items"].([]any); len(items) != 3 || question["NodeNames"] != nil {
				t.Errorf("asked about %v", question)
			}
			scores, err := e.Prioritize(t.Context(), web, nodes("n1", "n2"))
			if diff := cmp.Diff(map[string]int64{"n1": 200, "n2": 140}, scores); diff != "" || err != nil {
				t.Errorf("scores (-want +got):\n%s%v", diff, err)
			}
			if declined, err := e.Bind(t.Context(), web, "n2"); declined || err != nil {
				t.Errorf("bind: %v, %v", declined, err)
			}
			if diff := cmp.Diff(map[string]any{"PodName": "web", "PodNamespace": "shop", "PodUID": "u1", "Node": "n2"}, asked["/x/bind"]); diff != "" {
				t.Errorf("bind (-want +got):\n%s", diff)
			}
		})
	}
}

// TestVictims: an extender that knows pods and nodes is told UIDs, others are
// told whole pods; both answer with UIDs.
func TestVictims(t *testing.T) {
	t.Parallel()
	for name, knows := range map[string]bool{"whole pods": false, "UIDs": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, asked := serve(t, map[string]string{"/x/preempt": `{"NodeNameToMetaVictims":{"n2":{"Pods":[{"UID":"u2"}],"NumPDBViolations":1}}}`})
			e := made(t, settings(s, func(c *configv1.Extender) { c.PreemptVerb, c.NodeCacheCapable = "preempt", knows }))
			victim := func(uid types.UID) scheduler.Victims {
				return scheduler.Victims{Pods: []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: string(uid), UID: uid}}}, Violations: 1}
			}
			got, err := e.Preempt(t.Context(), web, map[string]scheduler.Victims{"n1": victim("u1"), "n2": victim("u2")})
			if diff := cmp.Diff(map[string]scheduler.Choice{"n2": {Pods: []types.UID{"u2"}, Violations: 1}}, got); diff != "" || err != nil || !e.Preempts() {
				t.Errorf("error %v, choices (-want +got):\n%s", err, diff)
			}
			question := asked["/x/preempt"]
			told, other := "NodeNameToVictims", "NodeNameToMetaVictims"
			pod := func(p map[string]any) any { return p["metadata"].(map[string]any)["uid"] }
			if knows {
				told, other = other, told
				pod = func(p map[string]any) any { return p["UID"] }
			}
			node := question[told].(map[string]any)["n1"].(map[string]any)
			if question[other] != nil || node["NumPDBViolations"] != 1.0 || pod(node["Pods"].([]any)[0].(map[string]any)) != "u1" {
				t.Errorf("asked about %v", question)
			}
		})
	}
}

// TestAnswersThatAreNone: each is an error that says what is wrong, and none is
// taken for a yes.
func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"an error of its own": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"Error":"no idea"}`) }, "filter: no idea"},
		"a refusal":           {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "go away", http.StatusForbidden) }, "403 Forbidden: go away"},
		"no JSON":             {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "cannot be read"},
		"elsewhere":           {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/y", http.StatusTemporaryRedirect) }, "307"},
		"long words": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, strings.Repeat("x", 5000), http.StatusTeapot)
		}, "xxx…"},
		"silence": {func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() }, "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewTLSServer(test.answer)
			defer s.Close()
			e := made(t, settings(s, func(c *configv1.Extender) { c.HTTPTimeout.Duration = 300 * time.Millisecond }))
			fit, _, err := e.Filter(t.Context(), web, nodes("n1"))
			if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 600 || len(fit) > 0 {
				t.Errorf("fit %v, error %v, want %q", fit, err, test.want)
			}
		})
	}
}

func TestWhomItBelieves(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, map[string]string{"/x/filter": `{}`})
	e := made(t, settings(s, func(c *configv1.Extender) { c.TLSConfig = nil }))
	if _, _, err := e.Filter(t.Context(), web, nodes("n1")); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
}

func TestInterest(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, nil)
	e := made(t, settings(s, func(c *configv1.Extender) {
		c.ManagedResources = []configv1.ExtenderManagedResource{{Name: "example.com/fpga", IgnoredByScheduler: true}, {Name: "example.com/gpu"}}
	}))
	with := web.DeepCopy()
	with.Spec.InitContainers = []corev1.Container{{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"example.com/gpu": resource.MustParse("1")}}}}
	if e.Interested(web) || !e.Interested(with) {
		t.Error("interested in the wrong pods")
	}
	if declined, err := e.Bind(t.Context(), web, "n1"); !declined || err != nil {
		t.Errorf("binds a pod that it has no interest in: %v, %v", declined, err)
	}
	if diff := cmp.Diff([]corev1.ResourceName{"example.com/fpga"}, e.Ignored()); diff != "" {
		t.Errorf("ignored (-want +got):\n%s", diff)
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, nil)
	for want, change := range map[string]func(*configv1.Extender){
		"an http or https URL is wanted": func(c *configv1.Extender) { c.URLPrefix = "ftp://x" },
		"enableHTTPS wants":              func(c *configv1.Extender) { c.URLPrefix = "http://x" },
		"one of filterVerb":              func(c *configv1.Extender) { c.FilterVerb, c.PrioritizeVerb, c.BindVerb = "", "", "" },
		"weight":                         func(c *configv1.Extender) { c.Weight = 0 },
		"tlsConfig":                      func(c *configv1.Extender) { c.TLSConfig.CertFile = "/nonexistent" },
		"twice": func(c *configv1.Extender) {
			c.ManagedResources = []configv1.ExtenderManagedResource{{Name: "example.com/a"}, {Name: "example.com/a"}}
		},
	} {
		if _, err := extender.New(settings(s, change)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
