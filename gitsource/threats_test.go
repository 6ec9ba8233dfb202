package gitsource_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/gittest"
)

// hostileTree is a directory that somebody pushes who means no good, and what
// is said of it.
type hostileTree struct {
	name string
	make func(w *treeWriter)
	want []string // regular expressions, a problem each
}

var hostileTrees = []hostileTree{
	{"a link to a file of the machine", func(w *treeWriter) { w.link("passwd.yaml", "/etc/passwd") },
		[]string{`^mine/passwd\.yaml: symbolic link to "/etc/passwd" leads out of the repository`}},
	{"a link above the repository", func(w *treeWriter) { w.link("x.yaml", "../../outside.yaml") },
		[]string{`^mine/x\.yaml: symbolic link to "\.\./\.\./outside\.yaml" leads out of the repository`}},
	{"links in a circle", func(w *treeWriter) { w.link("a.yaml", "b.yaml"); w.link("b.yaml", "a.yaml") },
		[]string{`^mine/a\.yaml: .*more than 8 symbolic links`}},
	{"a chain of links", func(w *treeWriter) {
		for i := range 12 {
			w.link(fmt.Sprintf("l%02d.yaml", i), fmt.Sprintf("l%02d.yaml", i+1))
		}
		w.file("l12.yaml", configMap("chained", "x"))
	}, []string{`^mine/l00\.yaml: .*more than 8 symbolic links`}},
	{"a file below a linked parent", func(w *treeWriter) {
		w.link("dir", "/etc")
		w.file("kustomization.yaml", "resources: [dir/passwd]\n")
	}, []string{`^mine/kustomization\.yaml:1: .*leads out of the repository`}},
	{"a directory and a link of one name", func(w *treeWriter) {
		w.link("dir", "/etc")
		w.dir("dir", func(w *treeWriter) { w.file("x.yaml", configMap("below", "x")) })
	}, []string{`^mine: the name "dir" in it is there twice`}},
	{"names that mean something else", func(w *treeWriter) {
		for _, name := range []string{"..", ".", ".git", ".GIT", "a/b.yaml", "/etc/x.yaml", strings.Repeat("n", 4096) + ".yaml"} {
			w.file(name, configMap("evil", "x"))
		}
		w.dir(".git", func(w *treeWriter) { w.file("config", "[core]\n") })
	}, []string{`^mine: the name "\.\." in it leads out`, `^mine: the name "\." in it`, `^mine: the name "\.git" in it means a git directory`, `"\.GIT" in it`, `"a/b\.yaml" in it contains a slash`, `"/etc/x\.yaml" in it contains a slash`, `"n{57}\.\.\." in it is longer than`}},
	{"kustomize beyond the root and remote", func(w *treeWriter) {
		w.file("kustomization.yaml", "resources:\n- ../../../../etc/passwd\n- https://example.org/x?ref=main\n- github.com/example/x\nhelmCharts: [{name: x, repo: https://example.org}]\n")
	}, []string{`:2: resources: "\.\./\.\./\.\./\.\./etc/passwd" leads out`, `:3: resources: "https://example\.org/x\?ref=main" is remote: remote bases are off`,
		`:4: resources: "github\.com/example/x" is remote`, `:5: helmCharts: Helm inside a kustomization is off`}},
	{"kustomize with a program", func(w *treeWriter) {
		w.file("kustomization.yaml", "resources: [web.yaml]\ntransformers: [exec.yaml]\n")
		w.file("exec.yaml", "apiVersion: v1\nkind: X\nmetadata:\n  name: x\n  annotations:\n    config.kubernetes.io/function: \"exec: {path: /bin/touch}\"\n")
	}, []string{`^mine/kustomization\.yaml:1: kustomize: .*plugin`}},
}

// treeWriter makes a tree object as no git client does.
type treeWriter struct {
	c       *cluster
	content bytes.Buffer
}

func (w *treeWriter) add(mode, name, id string) {
	raw, err := hex.DecodeString(id)
	if err != nil {
		w.c.t.Fatal(err)
	}
	w.content.WriteString(mode + " " + name + "\x00")
	w.content.Write(raw)
}

func (w *treeWriter) object(kind string, content []byte) string {
	path := filepath.Join(w.c.dir, "object")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		w.c.t.Fatal(err)
	}
	return w.c.git(w.c.work(), "hash-object", "-w", "-t", kind, "--literally", path)
}

func (w *treeWriter) file(name, content string) {
	w.add("100644", name, w.object("blob", []byte(content)))
}
func (w *treeWriter) link(name, target string) {
	w.add("120000", name, w.object("blob", []byte(target)))
}

func (w *treeWriter) dir(name string, make func(*treeWriter)) {
	below := &treeWriter{c: w.c}
	make(below)
	w.add("40000", name, below.object("tree", below.content.Bytes()))
}

// TestHostileTreesArePushed: over https, by git itself, come trees that lead out
// of the repository or run something (threats 1, 2, 3). Nothing of such a commit
// is applied, all of it is told, another source goes on, and the next good
// commit is applied.
func TestHostileTreesArePushed(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	defer c.stop()
	c.git(c.bare(), "config", "http.receivepack", "true")
	server := gittest.New(t, c.dir)
	c.do(admin, txn.Change{Verb: txn.Create, Ref: ref("secrets", "default/git"), Object: &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "git"}, Data: map[string][]byte{"token": []byte(gittest.Token), "ca.crt": server.CA}}})
	ca := filepath.Join(c.dir, "ca.crt")
	if err := os.WriteFile(ca, server.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	url := server.HTTPS("cluster.git")
	for _, name := range []string{"mine", "other"} {
		c.follow(name, func(o *v1alpha1.GitSource) {
			o.Spec.URL, o.Spec.Paths, o.Spec.SecretRef = url, []string{name}, &v1alpha1.SecretReference{Namespace: "default", Name: "git"}
			o.Spec.Ref.Branch = "main"
		})
	}
	parent := ""
	push := func(message string, mine func(*treeWriter)) string {
		t.Helper()
		root := &treeWriter{c: c}
		root.dir("mine", mine)
		root.dir("other", func(w *treeWriter) { w.file("x.yaml", configMap("x", fmt.Sprintf("%q", message))) })
		args := []string{"commit-tree", "-m", message, root.object("tree", root.content.Bytes())}
		if parent != "" {
			args = append(args, "-p", parent)
		}
		parent = c.git(c.work(), args...)
		c.git(c.work(), "-c", "http.sslCAInfo="+ca, "-c", "http.proxy=", "-c", "http.extraHeader=Authorization: Bearer "+gittest.Token, "push", "-q", url, parent+":refs/heads/main")
		return parent
	}
	good := func(w *treeWriter) { w.file("web.yaml", configMap("web", "good")) }
	phase := func(source, commit string, want v1alpha1.ReleasePhase) {
		t.Helper()
		c.eventually("release "+commit, func() string {
			c.clock.Step(time.Minute)
			return c.phaseIs(source, commit, want)
		})
	}
	c.run()
	phase("mine", push("first", good), v1alpha1.ReleaseHealthy)
	for _, h := range hostileTrees {
		commit := push(h.name, func(w *treeWriter) {
			h.make(w)
			w.file("web.yaml", configMap("web", "evil"))
		})
		phase("other", commit, v1alpha1.ReleaseHealthy)
		phase("mine", commit, v1alpha1.ReleaseRefused)
		var told []string
		for _, p := range c.release("mine", commit).Status.Problems {
			told = append(told, p.String())
		}
		for _, want := range h.want {
			if !regexp.MustCompile("(?m)" + want).MatchString(strings.Join(told, "\n")) {
				t.Errorf("%s: nothing like %q is told, but\n%s", h.name, want, strings.Join(told, "\n"))
			}
		}
		if strings.Contains(strings.Join(told, "\n"), "root:") {
			t.Errorf("%s: a file of the machine is told", h.name)
		}
		if got := dataOf(c.get(ref("configmaps", "default/web")))["key"]; got != "good" {
			t.Errorf("%s: web is %q", h.name, got)
		}
		if got := dataOf(c.get(ref("configmaps", "default/x")))["key"]; got != h.name {
			t.Errorf("%s: the other source is at %q", h.name, got)
		}
	}
	phase("mine", push("good again", good), v1alpha1.ReleaseHealthy)
}

// TestReportsNeitherLoopNorForce: the cluster's own commits are no news to any
// source, and when somebody else has moved its branch meanwhile it goes on from
// there (threat 9).
func TestReportsNeitherLoopNorForce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t.TempDir())
	defer c.stop()
	c.git(c.bare(), "config", "http.receivepack", "true")
	server := gittest.New(t, c.dir)
	c.do(admin, txn.Change{Verb: txn.Create, Ref: ref("secrets", "default/git"), Object: &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "git"}, Data: map[string][]byte{"token": []byte(gittest.Token), "ca.crt": server.CA}}})
	c.follow("main", func(o *v1alpha1.GitSource) {
		o.Spec.URL, o.Spec.SecretRef = server.HTTPS("cluster.git"), &v1alpha1.SecretReference{Namespace: "default", Name: "git"}
		o.Spec.Ref.Branch = "main"
	})
	reported := func(commit string) {
		t.Helper()
		c.eventually("the report of "+commit, func() string {
			c.clock.Step(time.Minute)
			out, err := c.tryGit(c.bare(), "show", "headway/test:status.json")
			if err != nil || !regexp.MustCompile(`"applied": \{\s+"id": "`+commit).MatchString(out) {
				return out
			}
			return ""
		})
	}
	c.run()
	c.write("a.yaml", configMap("a", "one"))
	reported(c.push("first"))

	moved := make(chan string, 1)
	var races atomic.Int32
	server.Break(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/git-receive-pack") && races.Add(1) == 1 {
			tip, err := c.tryGit(c.bare(), "rev-parse", "headway/test")
			if err == nil {
				tip, err = c.tryGit(c.bare(), "commit-tree", "-p", tip, "-m", "somebody else", tip+"^{tree}")
			}
			if err == nil {
				_, err = c.tryGit(c.bare(), "update-ref", "refs/heads/headway/test", tip)
			}
			if err != nil {
				t.Error(err)
			}
			moved <- tip
		}
		next.ServeHTTP(w, r)
	})
	c.write("a.yaml", configMap("a", "two"))
	second := c.push("second")
	reported(second)
	c.git(c.bare(), "merge-base", "--is-ancestor", <-moved, "headway/test")
	if races.Load() < 2 {
		t.Error("the report was not pushed again")
	}
	// Then all is said: however often the remote is asked, nothing new comes.
	tip := c.git(c.bare(), "rev-parse", "headway/test")
	for range 5 {
		server.Requests()
		c.eventually("the remote is asked", func() string {
			c.clock.Step(time.Minute)
			if len(server.Requests()) == 0 {
				return "not yet"
			}
			return ""
		})
	}
	if now := c.git(c.bare(), "rev-parse", "headway/test"); now != tip {
		t.Errorf("the report goes on by itself: %s", c.git(c.bare(), "log", "--oneline", tip+".."+now))
	}
	if got := c.source("main").Status.ObservedCommit; got != second {
		t.Errorf("the source follows %s", got)
	}
}
