package gitsource_test

import (
	"bytes"
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// An encrypted file waits for its key, is applied when it is there, and its
// plain text is nowhere but in the Secret: not on disk, not in a report, not in
// what a refused commit says.
func TestEncryptedRepository(t *testing.T) {
	t.Parallel()
	const plain = "hunter2-plain"
	c := newCluster(t, t.TempDir())
	defer c.stop()
	read := func(name string) string {
		content, err := os.ReadFile(filepath.Join("render/testdata/sops", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	c.write("secret.yaml", read("secret.yaml"))
	first := c.push("first")
	key := v1alpha1.SecretReference{Namespace: "default", Name: "age"}
	c.follow("main", func(o *v1alpha1.GitSource) { o.Spec.Decryption = &v1alpha1.DecryptionSpec{SecretRef: &key} })
	c.run()
	c.phase("main", first, v1alpha1.ReleaseRefused)
	if got := c.release("main", first).Status.Message; !strings.Contains(got, "secret.yaml:9: is encrypted with SOPS, and the source's age keys cannot be read: the Secret default/age does not exist") {
		t.Errorf("the message is %q", got)
	}
	c.do(admin, txn.Change{Verb: txn.Create, Ref: txn.Ref{Resource: corev1.Resource("secrets"), Namespace: key.Namespace, Name: key.Name},
		Object: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Data: map[string][]byte{"age.agekey": []byte(read("age.key"))}}})
	c.eventually("release "+first, func() string {
		c.clock.Step(time.Second) // to the next try
		return c.phaseIs("main", first, v1alpha1.ReleaseHealthy)
	})
	db := c.get(ref("secrets", "default/db")).(*corev1.Secret)
	if string(db.Data["password"]) != plain {
		t.Errorf("the Secret has %q", db.Data)
	}
	// A refused commit does not tell, either.
	c.write("values.yaml", "# headway: substitute\n"+configMap("x", "${nothing}"))
	refused := c.push("refused")
	c.phase("main", refused, v1alpha1.ReleaseRefused)
	c.eventually("report", func() string {
		out, err := c.tryGit(c.bare(), "show", "headway/test:status.json")
		if err != nil || !strings.Contains(out, refused) {
			return out
		}
		return ""
	})
	// A pull request, which anybody may push, is planned without the keys.
	c.do(admin, txn.Change{Verb: txn.Patch, Ref: txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: "main"}, PatchType: types.MergePatchType,
		Patch: []byte(`{"spec":{"previews":{"refs":["refs/pull/*/head"]}}}`)})
	c.git(c.work(), "push", "-q", "origin", "HEAD:refs/pull/3/head")
	c.eventually("plan of a pull request", func() string {
		out, err := c.tryGit(c.bare(), "show", "headway/test:plans/main/pull-3-head.md")
		if err != nil || !strings.Contains(out, "values.yaml:") {
			return out
		}
		return ""
	})
	// What is not encrypted in it is planned, the Secret counts as it is, and a
	// changed or moved file is named.
	pull := func(number, want string, not ...string) {
		t.Helper()
		c.git(c.work(), "push", "-q", "-f", "origin", "HEAD:refs/pull/"+number+"/head")
		c.eventually("plan of pull request "+number, func() string {
			out, err := c.tryGit(c.bare(), "show", "headway/test:plans/main/pull-"+number+"-head.md")
			if err != nil || !strings.Contains(out, want) {
				return out
			}
			for _, text := range not {
				if strings.Contains(out, text) {
					return "it has " + text + ":\n" + out
				}
			}
			return ""
		})
	}
	c.git(c.work(), "checkout", "-q", "-b", "topic")
	c.write("values.yaml", configMap("fine", "good"))
	c.git(c.work(), "add", "-A")
	c.git(c.work(), "commit", "-q", "-m", "fine")
	pull("4", "`secret.yaml: as it is applied`", "could not be applied", "### deleted")
	pull("4", "created `configmaps default/fine`")
	c.git(c.work(), "mv", "secret.yaml", "moved.yaml")
	c.git(c.work(), "commit", "-q", "-m", "moved")
	pull("5", "`moved.yaml: changed`", "### deleted")
	c.write("dir/kustomization.yaml", "resources: [secret.yaml]\n")
	c.git(c.work(), "mv", "moved.yaml", "dir/secret.yaml")
	c.git(c.work(), "add", "-A")
	c.git(c.work(), "commit", "-q", "-m", "kustomized")
	pull("6", "`dir/secret.yaml: changed`", "### deleted", "could not be applied")
	c.write("dir/kustomization.yaml", "resources: [secret.yaml, plain.yaml]\n")
	c.write("dir/plain.yaml", configMap("plain", "told"))
	c.git(c.work(), "add", "-A")
	c.git(c.work(), "commit", "-q", "-m", "beside a Secret")
	pull("8", "created `configmaps default/plain`", "### deleted", "could not be applied", "`secrets default/db`")
	c.git(c.work(), "rm", "-q", "-r", "dir")
	c.git(c.work(), "commit", "-q", "-m", "dropped")
	pull("7", "### deleted `secrets default/db`")
	c.stop()
	notes, err := c.store.Notes(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range notes {
		hides(t, "note "+n.Key, n.Value, plain)
	}
	for _, dir := range []string{filepath.Join(c.dir, "data"), c.bare()} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			hides(t, path, content, plain)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"STATUS.md", "status.json"} {
		hides(t, file, []byte(c.git(c.bare(), "show", "headway/test:"+file)), plain)
	}
}

// TestTenantsHaveTheirKeys: a tenant's keys open his files; the source's and
// another's do not, whoever copies the file or builds with it.
func TestTenantsHaveTheirKeys(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	defer c.stop()
	read := func(name string) string {
		content, err := os.ReadFile(filepath.Join("render/testdata/sops", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	namespace := func(name string) {
		c.do(admin, txn.Change{Verb: txn.Create, Ref: ref("namespaces", name), Object: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}})
	}
	keys := func(namespace, name, content string) *v1alpha1.DecryptionSpec {
		c.do(admin, txn.Change{Verb: txn.Create, Ref: ref("secrets", namespace+"/"+name), Object: &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{"age.agekey": []byte(content)}}})
		return &v1alpha1.DecryptionSpec{SecretRef: &v1alpha1.SecretReference{Namespace: namespace, Name: name}}
	}
	namespace("a")
	namespace("b")
	good := read("age.key")
	c.follow("main", func(o *v1alpha1.GitSource) {
		o.Spec.Decryption = keys("default", "platform", good) // which opens all that there is, and yet nothing of b
		o.Spec.Tenants = []v1alpha1.Tenant{
			{Name: "a", Paths: []string{"a"}, Namespaces: []string{"a"}, Decryption: keys("a", "age", good)},
			{Name: "b", Paths: []string{"b"}, Namespaces: []string{"b"}, Decryption: keys("default", "of-b", other.String())},
		}
	})
	c.run()
	c.write("a/secret.yaml", read("secret.yaml"))
	first := c.push("first")
	c.phase("main", first, v1alpha1.ReleaseHealthy)
	if got := c.get(ref("secrets", "a/db")).(*corev1.Secret).Data["password"]; string(got) != "hunter2-plain" {
		t.Errorf("the Secret has %q", got)
	}
	refused := func(message, want string) {
		t.Helper()
		commit := c.push(message)
		c.phase("main", commit, v1alpha1.ReleaseRefused)
		if got := c.release("main", commit).Status.Message; !strings.Contains(got, want) || strings.Contains(got, "plain") {
			t.Errorf("%s: the message is %q", message, got)
		}
	}
	c.write("b/secret.yaml", read("secret.yaml"))
	refused("b copies", "b/secret.yaml:9: is encrypted with SOPS, and cannot be decrypted: none of the age keys opens it")
	c.git(c.work(), "rm", "-q", "b/secret.yaml")
	c.write("platform/kustomization.yaml", "resources: [secret.yaml]\n")
	c.write("platform/secret.yaml", strings.ReplaceAll(read("secret.yaml"), "\r", ""))
	c.write("b/kustomization.yaml", "resources: [../platform]\n")
	refused("b borrows", "reads encrypted files that are not of the tenant b")
	c.git(c.work(), "rm", "-q", "-r", "b", "platform")
	c.write("b/web.yaml", strings.Replace(configMap("web", "b"), "  name:", "  namespace: b\n  name:", 1))
	c.phase("main", c.push("fine"), v1alpha1.ReleaseHealthy)
}

func hides(t *testing.T, where string, content []byte, plain string) {
	t.Helper()
	if bytes.Contains(content, []byte(plain)) || bytes.Contains(content, []byte(base64.StdEncoding.EncodeToString([]byte(plain)))) {
		t.Errorf("%s has the plain text", where)
	}
}
