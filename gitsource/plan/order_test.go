package plan_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/api/txn/txntest"
	"github.com/headway-sh/headway/gitsource/plan"
	"github.com/headway-sh/headway/gitsource/render"
)

// bench is an emulated API and what a source has in it.
type bench struct {
	store     *txntest.Store
	inventory *plan.Inventory
}

func newBench() *bench {
	return &bench{store: txntest.New(clocktesting.NewFakeClock(time.Unix(0, 0))), inventory: plan.NewInventory()}
}

func (b *bench) input(t testing.TB, objects ...*render.Object) plan.Input {
	t.Helper()
	view, err := b.store.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := &v1alpha1.GitSource{Spec: v1alpha1.GitSourceSpec{TargetNamespace: "default"}}
	v1alpha1.SetDefaultsGitSource(o)
	return plan.Input{
		Source: "main", Spec: &o.Spec, Set: &render.Set{Objects: objects}, Inventory: b.inventory, View: view, Mapper: b.store.Mapper(),
		Consents: []string{"all"},
	}
}

// object reads YAML, one line of it being its digest.
func object(t testing.TB, text string) *render.Object {
	t.Helper()
	body := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &body); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return &render.Object{Body: &unstructured.Unstructured{Object: body}, File: "all.yaml", Line: 1, Digest: text}
}

func objects(t testing.TB, texts ...string) []*render.Object {
	t.Helper()
	var out []*render.Object
	for _, text := range texts {
		out = append(out, object(t, text))
	}
	return out
}

// asked names what a plan asks for, stages apart.
func asked(p *plan.Plan) []string {
	var out []string
	for i, s := range p.Stages {
		if i > 0 {
			out = append(out, "---")
		}
		for _, c := range s.Changes {
			out = append(out, strings.TrimPrefix(fmt.Sprintf("%s %s %s", c.Verb, c.Object.GetObjectKind().GroupVersionKind().Kind, c.Ref.Name), "apply "))
		}
	}
	return out
}

const pod = `{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {serviceAccountName: runner, priorityClassName: high, runtimeClassName: fast,
  imagePullSecrets: [{name: pull}], containers: [{name: c, image: i, envFrom: [{configMapRef: {name: env}}],
  env: [{name: A, valueFrom: {secretKeyRef: {name: key, key: k}}}]}], volumes: [{name: a, persistentVolumeClaim: {claimName: data}},
  {name: b, projected: {sources: [{configMap: {name: part}}]}}]}}`

func TestOrder(t *testing.T) {
	t.Parallel()
	named := func(version, kind, name, rest string) string {
		return fmt.Sprintf("{apiVersion: %s, kind: %s, metadata: {name: %s}%s}", version, kind, name, rest)
	}
	for name, c := range map[string]struct{ in, want []string }{
		"what a pod names comes before it": {
			[]string{
				pod, named("v1", "Secret", "pull", ""), named("v1", "Secret", "key", ""), named("v1", "ConfigMap", "env", ""), named("v1", "ConfigMap", "part", ""),
				named("v1", "PersistentVolumeClaim", "data", ", spec: {storageClassName: slow}"), named("storage.k8s.io/v1", "StorageClass", "slow", ", provisioner: p"),
				named("v1", "ServiceAccount", "runner", ""), named("scheduling.k8s.io/v1", "PriorityClass", "high", ", value: 1"),
				named("node.k8s.io/v1", "RuntimeClass", "fast", ", handler: h"),
			},
			[]string{
				"RuntimeClass fast", "PriorityClass high", "StorageClass slow", "ServiceAccount runner", "ConfigMap env", "ConfigMap part", "Secret key", "Secret pull",
				"PersistentVolumeClaim data", "Pod web",
			},
		},
		"a reference goes before the rank": {
			[]string{named("v1", "ServiceAccount", "a", ", imagePullSecrets: [{name: z}]"), named("v1", "ServiceAccount", "b", ""), named("v1", "Secret", "z", "")},
			[]string{"ServiceAccount b", "Secret z", "ServiceAccount a"},
		},
		"a token's account and secret name each other": {
			[]string{
				"{apiVersion: v1, kind: ServiceAccount, metadata: {name: b}, secrets: [{name: token}]}", named("v1", "Secret", "token", ""),
				named("v1", "ServiceAccount", "a", ""),
			},
			[]string{"ServiceAccount a", "Secret token", "ServiceAccount b"},
		},
		"a claim comes after the volume it names": {
			[]string{named("v1", "PersistentVolumeClaim", "c", ", spec: {volumeName: v}"), named("v1", "PersistentVolume", "v", ", spec: {}")},
			[]string{"PersistentVolume v", "PersistentVolumeClaim c"},
		},
		"a binding comes after its role and accounts": {
			[]string{
				named("rbac.authorization.k8s.io/v1", "RoleBinding", "a", ", roleRef: {kind: Role, name: r}, subjects: [{kind: ServiceAccount, name: s}]"),
				named("rbac.authorization.k8s.io/v1", "Role", "r", ""), named("v1", "ServiceAccount", "s", ""),
			},
			[]string{"ServiceAccount s", "Role r", "RoleBinding a"},
		},
		"a webhook comes after what it calls": {
			[]string{
				named("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "w", ", webhooks: [{name: a.b.c, clientConfig: {service: {namespace: default, name: hook}}}]"),
				named("v1", "Service", "hook", ""),
			},
			[]string{"Service hook", "ValidatingWebhookConfiguration w"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 5 {
				in := objects(t, c.in...)
				rand.Shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
				p := plan.Make(newBench().input(t, in...))
				if len(p.Problems) > 0 {
					t.Fatal(p.Problems)
				}
				if diff := cmp.Diff(c.want, asked(p)); diff != "" {
					t.Fatalf("order (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestDeletionIsTurnedRound: what goes, goes before what it names.
func TestDeletionIsTurnedRound(t *testing.T) {
	t.Parallel()
	b := newBench()
	all := objects(t, pod, "{apiVersion: v1, kind: Secret, metadata: {name: key}}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: env}}",
		"{apiVersion: v1, kind: ServiceAccount, metadata: {name: runner}, imagePullSecrets: [{name: key}]}")
	created := plan.Make(b.input(t, all...))
	for _, s := range created.Stages {
		if _, err := b.store.Do(t.Context(), txn.Identity{Name: "test"}, s.Changes...); err != nil {
			t.Fatal(err)
		}
	}
	b.inventory = created.Next
	var want, got []string
	for _, c := range created.Stages[0].Changes {
		want = append(want, c.Ref.String())
	}
	slices.Reverse(want)
	for _, c := range plan.Make(b.input(t)).Stages[0].Changes {
		got = append(got, c.Ref.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("deletions (-want +got):\n%s", diff)
	}
}

// TestOrderIsTopological: however objects name each other, nothing is lost,
// the order does not depend on the set's, and without circles every object
// comes after what it names.
func TestOrderIsTopological(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(rt, "objects")
		circles := rapid.Bool().Draw(rt, "circles")
		targets := make([]int, n)
		var texts []string
		for i := range n {
			most := i // only what is before it
			if circles {
				most = n - 1
			}
			targets[i] = rapid.IntRange(0, most).Draw(rt, "target")
			// Autoscalers may name each other, however little sense that makes.
			texts = append(texts, fmt.Sprintf("{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: h%02d}, spec: {scaleTargetRef: "+
				"{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: h%02d}}}", 99-i, 99-targets[i]))
		}
		name := func(i int) string { return fmt.Sprintf("HorizontalPodAutoscaler h%02d", 99-i) }
		one := asked(plan.Make(newBench().input(t, objects(t, texts...)...)))
		two := asked(plan.Make(newBench().input(t, objects(t, rapid.Permutation(texts).Draw(rt, "shuffled")...)...)))
		if diff := cmp.Diff(one, two); diff != "" {
			rt.Fatalf("the order depends on the set's (-one +two):\n%s", diff)
		}
		if len(one) != n {
			rt.Fatalf("%d changes for %d objects", len(one), n)
		}
		for i, target := range targets {
			if !circles && slices.Index(one, name(target)) > slices.Index(one, name(i)) {
				rt.Fatalf("%s comes before what it names: %v", name(i), one)
			}
		}
	})
}
