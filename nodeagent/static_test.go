package nodeagent_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/nodeagent/static"
)

const webFile = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {app: web}}\nspec: {containers: [{name: app, image: web:v1, imagePullPolicy: IfNotPresent}]}\n"

// withFiles makes the node's directory of pods before its agent starts.
func withFiles(t *testing.T, n *node, texts map[string]string) (dir string, broken chan string) {
	t.Helper()
	dir, broken = filepath.Join(n.dir, "manifests"), make(chan string, 100)
	for name, text := range texts {
		writeFile(t, dir, name, text)
	}
	n.stop()
	n.config.Static = &static.Config{
		Dir: dir, NodeName: "n1", Clock: clock.RealClock{}, Logger: n.config.Logger,
		Prepare: func(p *corev1.Pod) error {
			if len(p.Spec.Containers) == 0 {
				return errors.New("spec.containers: Required value")
			}
			p.Spec.RestartPolicy = corev1.RestartPolicyAlways
			return nil
		},
		Broken: func(file string, err error) { broken <- file + ": " + err.Error() },
	}
	n.start()
	return dir, broken
}

func writeFile(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func nodeObject() *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "uid-n1"}}
}

// TestPodOfAFile runs one, shows it, shows it again when somebody deletes what
// is shown, follows a change of the file, and ends with the file.
func TestPodOfAFile(t *testing.T) {
	t.Parallel()
	n := newNode(t, nodeObject())
	dir, _ := withFiles(t, n, map[string]string{"web.yaml": webFile, ".web.yaml.swp": "junk"})
	mirror := n.awaitPod("web-n1", "ready", ready)
	uid := mirror.Annotations[static.HashAnnotation]
	if uid == "" || mirror.Annotations[corev1.MirrorPodAnnotationKey] != uid || mirror.Annotations[static.SourceAnnotation] != "file" {
		t.Errorf("annotations %v", mirror.Annotations)
	}
	if o := mirror.OwnerReferences; len(o) != 1 || o[0].Kind != "Node" || o[0].UID != "uid-n1" {
		t.Errorf("owners %v", o)
	}
	if found, ok := n.agent.Find("default", "web-n1", ""); !ok || found.UID != types.UID(uid) {
		t.Errorf("found %+v", found)
	}
	if _, ok := n.agent.Find("default", "web-n1", mirror.UID); !ok {
		t.Error("not found by its mirror's UID")
	}
	first := mirror.Status.ContainerStatuses[0].ContainerID

	n.remove("web-n1")
	again := n.awaitPod("web-n1", "ready again", func(p *corev1.Pod) bool {
		return p.UID != mirror.UID && ready(p)
	})
	if id := again.Status.ContainerStatuses[0].ContainerID; id != first {
		t.Errorf("the container was %s and is %s", first, id)
	}

	writeFile(t, dir, "web.yaml", strings.Replace(webFile, "app: web", "app: other", 1))
	n.awaitPod("web-n1", "the changed one", func(p *corev1.Pod) bool {
		return p.Labels["app"] == "other" && ready(p) && p.Status.ContainerStatuses[0].ContainerID != first
	})
	if err := os.Remove(filepath.Join(dir, "web.yaml")); err != nil {
		t.Fatal(err)
	}
	n.await("the mirror to be gone", func() bool { return n.pod("web-n1") == nil })
	n.empty()
}

// TestPodOfAFileWithoutAServer runs without the API, over a restart of the
// agent, and is shown when the API is there.
func TestPodOfAFileWithoutAServer(t *testing.T) {
	t.Parallel()
	n := newNode(t, nodeObject())
	n.setDown(errors.New("connection refused"))
	withFiles(t, n, map[string]string{"web.yaml": webFile})
	running := func() []string {
		_, containers, err := n.runtime.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, c := range containers {
			ids = append(ids, c.ID)
		}
		return ids
	}
	n.await("a container", func() bool { return len(running()) == 1 && n.called("Start") == 1 })
	before := running()
	n.await("a checkpoint", func() bool {
		return len(n.saved()) == 1
	})
	n.stop()
	n.start()
	n.setDown(nil)
	n.stepUntil(time.Second, "ready", func() bool { p := n.pod("web-n1"); return p != nil && ready(p) })
	if after := running(); !slices.Equal(before, after) || n.called("Start") != 1 {
		t.Errorf("containers %v, then %v", before, after)
	}
}

// TestBrokenFiles are told of by name; what ran from one goes on, and nothing
// else is touched.
func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	n := newNode(t, nodeObject())
	dir, broken := withFiles(t, n, map[string]string{
		"a.yaml": webFile,
		"b.yaml": strings.Replace(webFile, "name: web,", "name: other,", 1),
		"c.yaml": webFile,
		"d.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n",
		"e.yaml": strings.Replace(webFile, "containers:", "serviceAccountName: robot, containers:", 1),
		"f.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: empty}\n",
	})
	want := map[string]string{"c.yaml": "a.yaml", "d.yaml": "Deployment", "e.yaml": "robot", "f.yaml": "Required"}
	await := func(want map[string]string) {
		t.Helper()
		for len(want) > 0 {
			text := <-broken
			file, _, _ := strings.Cut(text, ":")
			if word := want[file]; word == "" || !strings.Contains(text, word) {
				t.Errorf("told of %q, want %v", text, want)
			}
			delete(want, file)
		}
	}
	await(maps.Clone(want))
	first := n.awaitPod("web-n1", "ready", ready)
	n.awaitPod("other-n1", "ready", ready)
	writeFile(t, dir, "a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: web")
	writeFile(t, dir, "c.yaml", "also broken")
	await(map[string]string{"a.yaml": "a.yaml", "c.yaml": "c.yaml"})
	n.stop()
	n.start() // nor does a restart forget it
	await(map[string]string{"a.yaml": "a.yaml", "c.yaml": "c.yaml", "d.yaml": "Deployment", "e.yaml": "robot", "f.yaml": "Required"})
	second := n.awaitPod("web-n1", "ready", ready)
	if a, b := first.Status.ContainerStatuses[0].ContainerID, second.Status.ContainerStatuses[0].ContainerID; a != b {
		t.Errorf("the container was %s and is %s", a, b)
	}
}

// TestMirrorOfNobody goes when the node has no such file.
func TestMirrorOfNobody(t *testing.T) {
	t.Parallel()
	left := newPod("left-n1", "web:v1", func(p *corev1.Pod) {
		p.Finalizers, p.Annotations = nil, map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	})
	n := newNode(t, nodeObject(), left)
	withFiles(t, n, nil)
	n.await("the mirror to be gone", func() bool { return n.pod("left-n1") == nil })
	if n.called("StartSandbox") != 0 {
		t.Error("it was run")
	}
}
