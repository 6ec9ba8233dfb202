package checkpoint_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/nodeagent/checkpoint"
)

func newPod(uid string) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.UID, pod.Name = types.UID(uid), "web"
	pod.Spec.Containers = []corev1.Container{{Name: "app", Env: []corev1.EnvVar{{Name: "PASSWORD", Value: "hunter2"}}}}
	pod.Status.Phase = corev1.PodRunning
	return pod
}

func open(t *testing.T, dir string) *checkpoint.Store {
	t.Helper()
	s, err := checkpoint.Open(filepath.Join(dir, "pods"), filepath.Join(dir, "checkpoint.key"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func save(t *testing.T, s *checkpoint.Store, pods ...*corev1.Pod) {
	t.Helper()
	for _, p := range pods {
		if err := s.Save(p); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPodsComeBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := []*corev1.Pod{newPod("a"), newPod("b")}
	save(t, open(t, dir), append(want, newPod("c"))...)
	s := open(t, dir)
	if err := s.Remove("c"); err != nil {
		t.Fatal(err)
	}
	pods, refused, err := s.Load()
	if err != nil || len(refused) > 0 {
		t.Fatal(refused, err)
	}
	if diff := cmp.Diff(want, pods); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	text, err := os.ReadFile(filepath.Join(dir, "pods", "a", "pod.sealed"))
	if err != nil || bytes.Contains(text, []byte("hunter2")) {
		t.Errorf("it can be read without the key: %v", err)
	}
}

// TestChangedOnesAreRefused flips each byte in turn, moves a file to another pod,
// and takes the key away; what is whole is still believed.
func TestChangedOnesAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	save(t, open(t, dir), newPod("a"), newPod("b"))
	path := filepath.Join(dir, "pods", "a", "pod.sealed")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, text []byte, believed int) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		pods, refused, err := open(t, dir).Load()
		if err != nil || len(pods) != believed || len(refused) != 2-believed {
			t.Fatalf("%s: %d believed, refused %v, %v", what, len(pods), refused, err)
		}
		if text := refused[0].Error(); !strings.Contains(text, path) || !strings.Contains(text, "headway down") {
			t.Errorf("%s: it says %q", what, text)
		}
	}
	for i := range good {
		flipped := bytes.Clone(good)
		flipped[i] ^= 1
		check("a flipped byte", flipped, 1)
	}
	check("nothing", nil, 1)
	check("half of it", good[:len(good)/2], 1)
	check("plain", []byte(`{"metadata":{"uid":"a"}}`), 1)
	other, err := os.ReadFile(filepath.Join(dir, "pods", "b", "pod.sealed"))
	if err != nil {
		t.Fatal(err)
	}
	check("another pod's", other, 1)
	if err := os.Remove(filepath.Join(dir, "checkpoint.key")); err != nil {
		t.Fatal(err)
	}
	check("another key", good, 0)
}

// TestPlainOnesAreReadOnce takes over what agents wrote before there was a key,
// and nothing plain once there is one.
func TestPlainOnesAreReadOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plain := func(uid string) string {
		path := filepath.Join(dir, "pods", uid, "pod.json")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(`{"metadata":{"uid":"`+uid+`"}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := plain("a")
	s := open(t, dir)
	pods, _, err := s.Load()
	if err != nil || len(pods) != 1 {
		t.Fatal(pods, err)
	}
	save(t, s, pods...)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	plain("b")
	if pods, refused, err := open(t, dir).Load(); err != nil || len(pods) != 1 || pods[0].UID != "a" || len(refused) != 0 {
		t.Errorf("believed %v, refused %v, %v", pods, refused, err)
	}
}
