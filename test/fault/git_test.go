package fault_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// problems are what a source complains about, a line each.
func (s *server) problems(source string) string {
	var lines []string
	for _, p := range s.source(source).Status.Problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// awaitProblems waits until each pattern is found among a source's problems.
func (s *server) awaitProblems(source string, patterns ...string) {
	s.t.Helper()
	eventually(s.t, "problems of "+source, func() string {
		got := s.problems(source)
		for _, p := range patterns {
			if !regexp.MustCompile(p).MatchString(got) {
				return fmt.Sprintf("%q does not match %q", got, p)
			}
		}
		return ""
	})
}

// TestCommitIsOneTransaction: a commit is there whole, at one revision.
func TestCommitIsOneTransaction(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write("namespace.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
	for i := range 20 {
		r.write(fmt.Sprintf("%02d.yaml", i), strings.Replace(configMap(fmt.Sprintf("cm-%02d", i), "one"), "namespace: default", "namespace: shop", 1))
	}
	r.write("web.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec:\n  replicas: 0\n  selector: {matchLabels: {app: web}}\n"+
		"  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers: [{name: web, image: example.org/web:1}]\n")
	commit := r.push("first")
	s := controlPlane(t, "--repo", r.bare(), "--disable", "reconciler")
	eventually(t, "applied", func() string {
		if s.source("main").Status.AppliedCommit != commit {
			return fmt.Sprintf("%+v", s.source("main").Status)
		}
		return ""
	})
	var configMaps corev1.ConfigMapList
	check(t, s.client.List(t.Context(), &configMaps, client.InNamespace("shop")))
	versions := map[string][]string{}
	add := func(o client.Object) {
		versions[o.GetResourceVersion()] = append(versions[o.GetResourceVersion()], o.GetName())
	}
	for i := range configMaps.Items {
		add(&configMaps.Items[i])
	}
	var ns corev1.Namespace
	check(t, s.client.Get(t.Context(), client.ObjectKey{Name: "shop"}, &ns))
	add(&ns)
	web, err := s.kubectl("get", "deployment", "-n", "shop", "web", "-o", "jsonpath={.metadata.resourceVersion}")
	check(t, err)
	versions[web] = append(versions[web], "web")
	if len(versions) != 1 || len(configMaps.Items) != 20 {
		t.Fatalf("the commit's objects are at revisions %v", versions)
	}
}

// TestBadCommitChangesNothing: what cannot be applied whole is not applied at
// all, and the source says where the mistake is.
func TestBadCommitChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write("a.yaml", configMap("a", "one"))
	s := controlPlane(t, "--repo", r.bare())
	s.awaitPhase("main", r.push("first"), v1alpha1.ReleaseHealthy)

	r.write("a.yaml", configMap("a", "two"))
	r.write("broken.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n   labels: {}\n")
	broken := r.push("broken YAML")
	s.awaitPhase("main", broken, v1alpha1.ReleaseRefused)
	s.awaitProblems("main", `broken\.yaml:5: not valid YAML`)
	r.remove("broken.yaml")

	// One bad object among ten good ones, of each kind of badness.
	for i := range 10 {
		r.write(fmt.Sprintf("good/%d.yaml", i), configMap(fmt.Sprintf("good-%d", i), "x"))
	}
	r.write("bad.yaml", configMap("fine", "x")+"---\n# too many letters\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: typo}\ndatta: {}\n"+
		"---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ports: [{port: 700000}]\n"+
		"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: lost, namespace: nowhere}\n")
	bad := r.push("bad objects")
	s.awaitPhase("main", bad, v1alpha1.ReleaseRefused)
	s.awaitProblems("main", `bad\.yaml:13: configmaps default/typo: .*\.datta: field not declared in schema`,
		`bad\.yaml:19: services default/web: .*700000`, `bad\.yaml:21: configmaps nowhere/lost: .*nowhere`)
	if got := s.values("a", "fine", "good-0", "good-9"); got != "one - - -" {
		t.Errorf("a refused commit has written: %q", got)
	}
	source := s.source("main")
	ready := meta.FindStatusCondition(source.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionFalse || source.Status.ObservedCommit != bad || source.Status.AppliedCommit == bad {
		t.Errorf("the source says %+v", source.Status)
	}
	r.remove("bad.yaml")
	s.awaitPhase("main", r.push("mended"), v1alpha1.ReleaseHealthy)
	s.awaitValues("two x x", "a", "good-0", "good-9")
	if got := s.problems("main"); got != "" {
		t.Errorf("mended, the source still complains: %s", got)
	}
}

// TestOverlayPruneMoveAndGuard goes through the life of a directory.
func TestOverlayPruneMoveAndGuard(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write("base/kustomization.yaml", "resources: [web.yaml]\n")
	r.write("base/web.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {key: base}\n")
	r.write("overlays/prod/kustomization.yaml", "namePrefix: prod-\nresources: [../../base, more]\npatches:\n- patch: |\n    - {op: replace, path: /data/key, value: prod}\n  target: {kind: ConfigMap, name: web}\n")
	r.write("overlays/prod/more/kustomization.yaml", "resources: [all.yaml]\n")
	all := make([]string, 12)
	for i := range all {
		all[i] = configMap(fmt.Sprintf("x%d", i), "x")
	}
	r.write("overlays/prod/more/all.yaml", strings.Join(all, "---\n"))
	s := controlPlane(t, "--repo", r.bare(), "--path", "overlays/prod")
	s.awaitPhase("main", r.push("overlay"), v1alpha1.ReleaseHealthy)
	s.awaitValues("prod x x", "prod-web", "prod-x0", "prod-x11")
	before, err := s.configMap("prod-x0")
	check(t, err)

	// Moving a file deletes nothing.
	r.git(r.work(), "mv", "overlays/prod/more/all.yaml", "overlays/prod/more/moved.yaml")
	r.write("overlays/prod/more/kustomization.yaml", "resources: [moved.yaml]\n")
	s.awaitPhase("main", r.push("move"), v1alpha1.ReleaseHealthy)
	after, err := s.configMap("prod-x0")
	check(t, err)
	if before.UID != after.UID {
		t.Error("moving its file has deleted an object")
	}
	// What is not in git any more goes.
	r.write("overlays/prod/more/moved.yaml", strings.Join(all[1:], "---\n"))
	s.awaitPhase("main", r.push("prune"), v1alpha1.ReleaseHealthy)
	s.awaitValues("- x", "prod-x0", "prod-x1")
	// But not most of it at once without a word.
	r.write("overlays/prod/more/moved.yaml", all[1])
	held := r.push("mass delete")
	s.awaitPhase("main", held, v1alpha1.ReleaseRefused)
	s.awaitProblems("main", `would delete 10 of .*12 objects.*Allow-Delete: all`)
	if got := s.values("prod-x1", "prod-x2", "prod-x11"); got != "x x x" {
		t.Errorf("a held commit has deleted: %q", got)
	}
	s.awaitPhase("main", r.push("yes, really\n\nAllow-Delete: all"), v1alpha1.ReleaseHealthy)
	s.awaitValues("prod x - -", "prod-web", "prod-x1", "prod-x2", "prod-x11")
}

// TestDriftIsPutBackAndReported: who changes what git says is named, his
// change is undone, and Secrets are told without their values.
func TestDriftIsPutBackAndReported(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write("a.yaml", configMap("a", "one"))
	r.write("b.yaml", configMap("b", "one"))
	r.write("s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: default}\nstringData: {password: correct-horse}\n")
	s := controlPlane(t, "--repo", r.bare())
	first := r.push("first")
	s.awaitPhase("main", first, v1alpha1.ReleaseHealthy)
	uid := func() string { o, _ := s.configMap("b"); return string(o.UID) }()

	jane := s.as("jane", "system:masters", "oncall")
	check(t, jane.Patch(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"key":"hers"}}`))))
	s.awaitValues("one", "a")
	check(t, jane.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"}}))
	s.awaitValues("one", "b")
	if b, err := s.configMap("b"); err != nil || string(b.UID) == uid {
		t.Errorf("b was not deleted and made again: %v, %v", b, err)
	}
	check(t, jane.Patch(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}}, client.RawPatch("application/merge-patch+json", []byte(`{"stringData":{"password":"battery-staple"}}`))))
	eventually(t, "the Secret", func() string {
		var o corev1.Secret
		if err := s.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "s"}, &o); err != nil || string(o.Data["password"]) != "correct-horse" {
			return fmt.Sprintf("is %s, %v", o.Data["password"], err)
		}
		return ""
	})
	// Nothing is reported that is not the report's own business.
	check(t, s.as("joe", "system:masters").Patch(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"other":"field"}}`))))

	eventually(t, "drift in the report", func() string {
		var status struct {
			Sources []struct {
				Drift []struct {
					Object, User, Impersonator, Address, UserAgent string
					Groups                                         []string
					Deleted                                        bool
					Fields                                         []struct{ Path, Before, After string }
				}
			}
		}
		if err := json.Unmarshal([]byte(r.report("status.json")), &status); err != nil || len(status.Sources) != 1 {
			return fmt.Sprintf("status.json: %v", err)
		}
		drift := status.Sources[0].Drift
		if len(drift) != 3 {
			return fmt.Sprintf("has %d records, want 3", len(drift))
		}
		for i, want := range []string{"configmaps default/a", "configmaps default/b", "secrets default/s"} {
			d := drift[i]
			if d.Object != want || d.User != "jane" || d.Impersonator != "headway-admin" || d.Address != "127.0.0.1" || d.UserAgent != "fault-test" || !slices.Contains(d.Groups, "oncall") || d.Deleted != (i == 1) {
				t.Fatalf("record %d is %+v", i, d)
			}
		}
		if f := drift[0].Fields; len(f) != 1 || f[0].Path != "data.key" || f[0].Before != `"one"` || f[0].After != `"hers"` {
			t.Fatalf("the fields of a are %+v", f)
		}
		return ""
	})
	page := r.report("drift/configmap.default.a.md")
	for _, want := range []string{"jane", "headway-admin", "127.0.0.1", "fault-test", "data.key", "hers", "a.yaml:1"} {
		if !strings.Contains(page, want) {
			t.Errorf("a's page does not tell %q:\n%s", want, page)
		}
	}
	for _, file := range strings.Split(r.git(r.bare(), "ls-tree", "-r", "--name-only", "headway/headway"), "\n") {
		content := r.report(file)
		for _, secret := range []string{"correct-horse", "battery-staple", "Y29ycmVjdC1ob3JzZQ", "YmF0dGVyeS1zdGFwbGU"} {
			if strings.Contains(content, secret) {
				t.Errorf("%s tells a Secret's value:\n%s", file, content)
			}
		}
	}
	if status := r.report("STATUS.md"); !strings.Contains(status, "main: Synced, Healthy") || !strings.Contains(status, first[:12]) {
		t.Errorf("STATUS.md:\n%s", status)
	}
	// The report is an orphan, and following nothing of it: the source stays
	// at its commit.
	if out := r.git(r.bare(), "rev-list", "--max-parents=0", "headway/headway"); len(strings.Fields(out)) != 1 || strings.Contains(out, first) {
		t.Errorf("the report's roots are %s", out)
	}
	if s.source("main").Status.ObservedCommit != first {
		t.Errorf("the report was taken for a commit: %+v", s.source("main").Status)
	}
	releases, err := s.kubectl("get", "releases", "-o", "name")
	check(t, err)
	if len(strings.Fields(releases)) != 1 {
		t.Errorf("the report has made releases: %s", releases)
	}
}

// TestRepositoryGone: without its repository the cluster works on, and still
// puts back what somebody changes, also after a restart.
func TestRepositoryGone(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write("a.yaml", configMap("a", "one"))
	s := controlPlane(t, "--repo", r.bare())
	first := r.push("first")
	s.awaitPhase("main", first, v1alpha1.ReleaseHealthy)
	away := filepath.Join(r.dir, "away.git")
	check(t, os.Rename(r.bare(), away))

	change := func() {
		t.Helper()
		before, err := s.configMap("a")
		check(t, err)
		check(t, s.as("jane", "system:masters").Patch(t.Context(), before.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"data":{"key":"hers"}}`))))
		eventually(t, "a", func() string {
			o, err := s.configMap("a")
			if err != nil || o.Data["key"] != "one" || o.ResourceVersion == before.ResourceVersion {
				return fmt.Sprintf("is %v, %v", o.Data, err)
			}
			return ""
		})
	}
	change()
	s.kill()
	s.start()
	s.ready()
	change() // a server that is ready sees what is changed
	check(t, s.client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "other"}}))
	eventually(t, "the source says so", func() string {
		c := meta.FindStatusCondition(s.source("main").Status.Conditions, v1alpha1.ConditionFetched)
		if c == nil || c.Status != metav1.ConditionFalse {
			return fmt.Sprintf("%+v", s.source("main").Status.Conditions)
		}
		return ""
	})
	change()
	if applied := s.source("main").Status.AppliedCommit; applied != first {
		t.Errorf("applied is %q", applied)
	}
	check(t, os.Rename(away, r.bare()))
	r.write("a.yaml", configMap("a", "two"))
	s.awaitPhase("main", r.push("second"), v1alpha1.ReleaseHealthy)
	s.awaitValues("two", "a")
}
