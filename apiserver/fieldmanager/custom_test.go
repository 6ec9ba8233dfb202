package fieldmanager_test

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	gitops "github.com/headway-sh/headway/api/gitops/v1alpha1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/fieldmanager"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
)

// TestTypesWithoutSchema applies and updates a kind of our own, whose shape is
// deduced.
func TestTypesWithoutSchema(t *testing.T) {
	t.Parallel()
	scheme, err := kinds.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	if err := gitops.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	k := &kind.Kind{GVK: gitops.SchemeGroupVersion.WithKind("GitSource"), New: func() txn.Object { return &gitops.GitSource{} }}
	fields := fieldmanager.New(scheme)
	writer := func(name string) fieldmanager.Writer {
		return fieldmanager.Writer{Manager: name, Version: k.GVK.GroupVersion(), Now: time.Unix(1, 0)}
	}
	config := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": k.GVK.GroupVersion().String(), "kind": "GitSource", "metadata": map[string]any{"name": "main"},
		"spec": map[string]any{"url": "/srv/repo.git"},
	}}
	applied, err := fields.Apply(k, nil, config, writer("alice"), false)
	if err != nil {
		t.Fatal(err)
	}
	source := applied.(*gitops.GitSource)
	if source.Spec.URL != "/srv/repo.git" {
		t.Fatalf("applied %+v", source.Spec)
	}
	source.UID = "u"
	next := source.DeepCopy()
	next.Spec.URL = "/srv/other.git"
	if err := fields.Update(k, source, next, writer("bob")); err != nil {
		t.Fatal(err)
	}
	// Without a schema the map itself is owned too.
	if got, want := fmt.Sprint(lines(next)), `[alice Apply gitops.headway.sh/v1alpha1 "" 00:00:01 {"f:spec":{}} bob Update gitops.headway.sh/v1alpha1 "" 00:00:01 {"f:spec":{"f:url":{}}}]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := fields.Apply(k, next, config, writer("alice"), false); err == nil {
		t.Error("no conflict with bob")
	}
}
