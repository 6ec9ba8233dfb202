package gitsource_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/gittest"
)

// TestReadsTheRefsThatAreAskedFor: of a remote's references beside branches and
// tags the mirror has those that a spec names, or that somebody wants planned.
func TestReadsTheRefsThatAreAskedFor(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	t.Cleanup(c.stop)
	c.server = gittest.New(t, c.dir)
	git := c.secret(map[string][]byte{"token": []byte(gittest.Token), "ca.crt": c.server.CA})
	c.write("one.yaml", configMap("one", "a"))
	first := c.push("one")
	c.write("two.yaml", configMap("two", "b"))
	c.git(c.work(), "add", "-A")
	c.git(c.work(), "commit", "-q", "-m", "two")
	for _, name := range []string{"refs/pull/7/head", "refs/pull/8/head", "refs/pull/8/merge"} {
		c.git(c.work(), "push", "-q", "origin", "HEAD:"+name)
	}
	c.follow("main", func(o *v1alpha1.GitSource) { o.Spec.URL, o.Spec.SecretRef = c.server.HTTPS("cluster.git"), &git })
	c.run()
	c.phase("main", first, v1alpha1.ReleaseHealthy)

	mirrored := func(want string) {
		t.Helper()
		c.eventually("references of the mirror", func() string {
			c.clock.Step(time.Second)
			got, err := c.tryGit(c.dir, "--git-dir", c.mirror(), "for-each-ref", "--format=%(refname)", "refs/pull")
			if err != nil || got != want {
				return fmt.Sprintf("they are %q, %v", got, err)
			}
			return ""
		})
	}
	mirrored("")
	for name, problem := range map[string]bool{"refs/pull/7/head": false, "refs/pull/9/head": true} {
		ref := txn.Ref{Resource: v1alpha1.Resource("plans"), Name: "of-" + name[10:11]}
		c.do(admin, txn.Change{Verb: txn.Create, Ref: ref, Object: &v1alpha1.Plan{
			ObjectMeta: metav1.ObjectMeta{Name: ref.Name}, Spec: v1alpha1.PlanSpec{Source: "main", Ref: v1alpha1.GitReference{Name: name}},
		}})
		c.eventually("plan of "+name, func() string {
			c.clock.Step(time.Second)
			p := c.get(ref).(*v1alpha1.Plan)
			if len(p.Status.Conditions) == 0 || (len(p.Status.Problems) > 0) != problem || (p.Status.Summary.Created == 1) == problem {
				return fmt.Sprintf("it says %+v", p.Status)
			}
			return ""
		})
	}
	mirrored("refs/pull/7/head")
	c.do(admin, txn.Change{Verb: txn.Patch, Ref: txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: "main"}, PatchType: types.MergePatchType,
		Patch: []byte(`{"spec":{"previews":{"refs":["refs/pull/*/head"]}}}`)})
	mirrored("refs/pull/7/head\nrefs/pull/8/head")
	for _, r := range c.server.Requests() {
		if strings.HasSuffix(r.Path, "/git-upload-pack") && r.Protocol != "version=2" {
			t.Errorf("%s was asked in %q", r.Path, r.Protocol)
		}
	}
}

// mirror is the directory of the only one.
func (c *cluster) mirror() string {
	found, err := filepath.Glob(filepath.Join(c.dir, "data", "mirrors", "*.git"))
	if err != nil || len(found) != 1 {
		c.t.Fatalf("mirrors are %v, %v", found, err)
	}
	return found[0]
}

// secret makes one with credentials.
func (c *cluster) secret(data map[string][]byte) v1alpha1.SecretReference {
	c.t.Helper()
	r := v1alpha1.SecretReference{Namespace: "default", Name: "git"}
	c.do(admin, txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: corev1.Resource("secrets"), Namespace: r.Namespace, Name: r.Name},
		Object: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name}, Data: data}})
	return r
}

// TestCertificateAndProxyOfTheSecret: the client certificate, the proxy and the
// hosts without one are taken from the Secret as it is at each conversation.
func TestCertificateAndProxyOfTheSecret(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	t.Cleanup(c.stop)
	c.server = gittest.New(t, c.dir)
	proxy := c.server.NewProxy(t)
	cert, key := c.server.WantClient(t)
	git := c.secret(map[string][]byte{"token": []byte(gittest.Token), "ca.crt": c.server.CA, "proxy": []byte(proxy.URL)})
	c.write("one.yaml", configMap("one", "a"))
	first := c.push("one")
	c.follow("main", func(o *v1alpha1.GitSource) {
		o.Spec.URL, o.Spec.SecretRef, o.Spec.Reports.Disabled = c.server.HTTPS("cluster.git"), &git, true // a push is several requests
	})
	c.run()
	fetched := func(want string) {
		t.Helper()
		c.eventually("fetched "+want, func() string {
			c.clock.Step(time.Minute)
			got := meta.FindStatusCondition(c.source("main").Status.Conditions, v1alpha1.ConditionFetched)
			if got == nil || string(got.Status) != want {
				return fmt.Sprintf("the condition is %+v", got)
			}
			return ""
		})
	}
	patch := func(data map[string][]byte) {
		t.Helper()
		encoded, err := json.Marshal(map[string]any{"data": data})
		if err != nil {
			t.Fatal(err)
		}
		c.do(admin, txn.Change{Verb: txn.Patch, Ref: txn.Ref{Resource: corev1.Resource("secrets"), Namespace: git.Namespace, Name: git.Name}, PatchType: types.MergePatchType, Patch: encoded})
	}
	fetched("False")
	patch(map[string][]byte{"tls.crt": cert, "tls.key": key})
	fetched("True")
	c.phase("main", first, v1alpha1.ReleaseHealthy)
	if len(proxy.Requests()) == 0 {
		t.Error("the proxy was not asked")
	}
	patch(map[string][]byte{"proxy": []byte("http://127.0.0.1:1")})
	fetched("False")
	proxy.Requests() // of a conversation that was under way
	patch(map[string][]byte{"noProxy": []byte("127.0.0.1")})
	fetched("True")
	if n := len(proxy.Requests()); n > 0 {
		t.Errorf("the proxy was asked %d times more", n)
	}
}
