package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/internal/imagebuild"
)

// nightly runs an image, and is healthy without a controller.
const nightly = `apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 3 * * *"
  suspend: true
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: run, image: example.org/nightly:1}]
`

// imageArchives is a directory with an archive of an image.
func imageArchives(t *testing.T, content string) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "nightly.tar"))
	ok(t, err)
	ok(t, imagebuild.WriteArchive(f, imagebuild.Image{Reference: "example.org/nightly:1", Architecture: "amd64",
		Files: []imagebuild.File{{Path: "/data", Content: []byte(content)}}, Config: v1.Config{Entrypoint: []string{"/data"}}}))
	ok(t, f.Close())
	return dir
}

// emptyNode is the data directory of a node with a containerd and no images.
func emptyNode(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("containers need root")
	}
	if _, err := exec.LookPath("containerd"); err != nil {
		t.Skip("containerd is not installed")
	}
	dir, err := os.MkdirTemp("", "hw") // a short one, for sockets
	ok(t, err)
	t.Cleanup(func() { ok(t, os.RemoveAll(dir)) })
	tools := nodeTools(dir, "", "/headway-test-"+filepath.Base(dir))
	r, err := tools.openRuntime(t.Context(), true)
	ok(t, err)
	process, err := newContainerd(tools.dirs, tools.cgroup, tools.log)
	ok(t, err)
	t.Cleanup(func() { ok(t, process.Stop(context.WithoutCancel(t.Context()))) })
	ok(t, r.Close())
	return dir
}

// TestBundle brings commits to a cluster that reaches nothing, with the images
// that they run, and what came since with little more than the difference.
func TestBundle(t *testing.T) {
	t.Parallel()
	node := emptyNode(t)
	git := cloneOf(t, map[string]string{"apps/nightly.yaml": nightly, "apps/settled.yaml": settled, "other/bad.yaml": "kind: ["})
	there := island(t)
	dir := t.TempDir()
	key, one, two := filepath.Join(dir, "key"), filepath.Join(dir, "one"), filepath.Join(dir, "two")
	archives := imageArchives(t, strings.Repeat("much ", 1000))
	say := func(want int, args ...string) string {
		t.Helper()
		stdout, stderr := there.say(want, args...)
		return stdout + stderr
	}
	apply := func(want int, args ...string) string {
		t.Helper()
		return say(want, append([]string{"bundle", "apply", "--data-dir", dir, "--node-dir", node, "--trusted-keys", key + ".pub"}, args...)...)
	}
	create := func(want int, args ...string) string {
		t.Helper()
		return say(want, append([]string{"bundle", "create", "HEAD", "-C", git.dir, "--path", "apps", "--key", key, "--image-dir", archives}, args...)...)
	}
	contains(t, say(exitOK, "bundle", "keygen", key, "--comment", "jane@example.org"), "ssh-ed25519 ", "jane@example.org")
	say(exitError, "bundle", "keygen", key) // which would be lost
	contains(t, create(exitOK, "-o", one), "2 objects", "1 images")
	first := git.run("rev-parse", "HEAD")

	git.write("apps/settled.yaml", strings.Replace(settled, "settled", "moved", 1))
	git.commit("two")
	create(exitOK, "-o", two, "--since", first)
	size := func(path string) int64 {
		info, err := os.Stat(path)
		ok(t, err)
		return info.Size()
	}
	var shown bundleInfo
	ok(t, json.Unmarshal([]byte(say(exitOK, "bundle", "inspect", two, "-o", "json")), &shown))
	if shown.Since != first || len(shown.Images) != 1 || shown.Images[0].Name != "example.org/nightly:1" || len(shown.Objects) != 2 || shown.Needs != 2 || size(two) >= size(one) {
		t.Errorf("the second bundle has %d bytes (the first %d) and %+v", size(two), size(one), shown)
	}

	// What does not fit changes nothing.
	contains(t, apply(exitError, two), "builds on commit "+first)
	contains(t, say(exitRejected, "bundle", "apply", one, "--data-dir", dir, "--node-dir", node, "--trusted-keys", otherKey(t)), "nobody is known to have")
	content, err := os.ReadFile(one)
	ok(t, err)
	ok(t, os.WriteFile(one+".cut", content[:len(content)*2/3], 0o600))
	contains(t, apply(exitError, one+".cut"), "cut off")
	var sources v1alpha1.GitSourceList
	ok(t, there.client.List(t.Context(), &sources))
	if len(sources.Items) > 0 || strings.Contains(say(exitOK, "image", "list", "--data-dir", node), "nightly") {
		t.Fatal("a bundle that was refused has left something")
	}

	contains(t, apply(exitOK, one), "signed by jane@example.org", "loaded image example.org/nightly:1", "made the repository", "healthy")
	contains(t, say(exitOK, "image", "list", "--data-dir", node), "example.org/nightly:1")
	var job batchv1.CronJob
	ok(t, there.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "nightly"}, &job))
	contains(t, apply(exitOK, two), "is at commit "+git.run("rev-parse", "HEAD")[:12], "healthy")
	ok(t, there.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "moved"}, &corev1.ConfigMap{}))
	contains(t, apply(exitOK, two), "already")
	contains(t, apply(exitOK, one), "already") // it is beyond that

	// History that leaves the other one is not taken.
	git.run("checkout", "-q", "-b", "aside", first)
	git.write("apps/aside.yaml", strings.Replace(settled, "settled", "aside", 1))
	git.commit("aside")
	create(exitOK, "-o", two, "--branch", "main")
	contains(t, apply(exitError, two), "would lose commits")
	create(exitOK, "-o", two, "--branch", "aside")
	contains(t, apply(exitError, two), "follows branch main")
	contains(t, create(exitError, "-o", two, "--since", "main"), "does not come before")
	contains(t, create(exitDiffers, "-o", two, "--image", "example.org/absent:1"), "example.org/absent:1")
	contains(t, create(exitRejected, "-o", two, "--path", "other"), "does not render")
}

// TestBundleNeedsImages: layers that were left out are asked for before
// anything changes.
func TestBundleNeedsImages(t *testing.T) {
	t.Parallel()
	node := emptyNode(t)
	git := cloneOf(t, map[string]string{"nightly.yaml": nightly})
	there := island(t)
	dir := t.TempDir()
	archives := imageArchives(t, "x")
	file := filepath.Join(dir, "b")
	apply := []string{"bundle", "apply", file, "--data-dir", dir, "--node-dir", node, "--insecure-unsigned"}
	there.say(exitOK, "bundle", "create", "HEAD", "-C", git.dir, "-o", file) // without images
	_, said := there.say(exitOK, apply...)
	contains(t, said, "0 images", "healthy")
	git.write("settled.yaml", settled)
	git.commit("two")
	there.say(exitOK, "bundle", "create", "HEAD", "-C", git.dir, "--since", "HEAD~1", "--image-dir", archives, "-o", file)
	_, said = there.say(exitError, apply...)
	contains(t, said, "of which this node lacks sha256:")
	if tip := strings.TrimSpace(say(t, "git", "-C", filepath.Join(dir, "repos", "main.git"), "rev-parse", "main")); tip != git.run("rev-parse", "HEAD~1") {
		t.Errorf("the branch has moved to %s", tip)
	}
}

func say(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	ok(t, err)
	return string(out)
}

func otherKey(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	root := newRoot()
	root.SetOut(&strings.Builder{})
	root.SetArgs([]string{"bundle", "keygen", path})
	ok(t, root.ExecuteContext(t.Context()))
	return path + ".pub"
}
