package static_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/nodeagent/static"
)

// FuzzFile reads anything as a pod's file: it is refused by name, or is a pod of
// this node that refers to nothing of the API.
func FuzzFile(f *testing.F) {
	f.Add("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: app, image: web}]}\n")
	f.Add(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","annotations":{"kubernetes.io/config.mirror":"x"}},"spec":{"nodeName":"n2"}}`)
	f.Add("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{envFrom: [{secretRef: {name: s}}]}]}\n")
	f.Add("&a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "pod.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := static.Config{Dir: dir, NodeName: "n1", Prepare: func(*corev1.Pod) error { return nil }}
		set, err := c.Read()
		if err != nil || len(set.Pods)+len(set.Broken) != 1 {
			t.Fatalf("%d pods, broken %v, %v", len(set.Pods), set.Broken, err)
		}
		for _, p := range set.Pods {
			if p.Spec.NodeName != "n1" || !strings.HasSuffix(p.Name, "-n1") || !static.Is(p) || p.UID == "" || p.Spec.ServiceAccountName != "" {
				t.Errorf("pod %+v", p)
			}
			if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
				t.Error("it says that it is a mirror")
			}
		}
	})
}
