package hello_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Each stage has the application in a namespace of its own.
func TestOverlays(t *testing.T) {
	t.Parallel()
	for stage, replicas := range map[string]string{"dev": "1", "prod": "3"} {
		set, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "overlays/"+stage)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, r := range set.Resources() {
			got[r.GetKind()] = r.GetNamespace() + "/" + r.GetName()
			if r.GetKind() != "Deployment" {
				continue
			}
			if n, err := r.GetFieldValue("spec.replicas"); err != nil || fmt.Sprint(n) != replicas {
				t.Errorf("%s: %v replicas, %v; want %s", stage, n, err, replicas)
			}
		}
		want := map[string]string{"Namespace": "/" + stage, "Deployment": stage + "/hello", "Service": stage + "/hello"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", stage, diff)
		}
	}
}
