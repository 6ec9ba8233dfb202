package main

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const settled = `apiVersion: v1
kind: ConfigMap
metadata: {name: settled}
`

// TestTraceTreeUnmanaged goes from an object to git, and from git to all that
// is in the cluster, and lists what is in neither.
func TestTraceTreeUnmanaged(t *testing.T) {
	t.Parallel()
	f := follow(t, map[string]string{"settled.yaml": settled}, reporting)
	ctx, head := t.Context(), f.git.run("rev-parse", "HEAD")
	mine := client.FieldOwner("kubectl-create")
	var top corev1.ConfigMap
	ok(t, f.client.Get(ctx, client.ObjectKey{Namespace: "default", Name: "settled"}, &top))
	child := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "child",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: top.Name, UID: top.UID, Controller: new(true)}}}}
	ok(t, f.client.Create(ctx, child, mine))
	ok(t, f.client.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "loose"}, Data: map[string]string{"a": "b"}}, mine))

	out, _ := f.say(exitOK, "trace", "cm/child")
	contains(t, out, "Object:   configmaps default/child\n", "---\nObject:   configmaps default/settled\n", "Source:   main\n",
		"File:     settled.yaml:1\n", "Author:   Jane <jane@example.org>\n", "Subject:  begin\n", "Revision: main@sha1:"+head[:8])
	out, _ = f.say(exitDiffers, "trace", "cm/loose")
	contains(t, out, "no source has it in git")
	out, _ = f.say(exitOK, "trace", "cm/child", "-o", "json")
	var way traced
	ok(t, json.Unmarshal([]byte(out), &way))
	if len(way.Objects) != 2 || way.Git == nil || way.Git.Commit != head || way.Git.Origin != "settled.yaml:1" {
		t.Errorf("%s", out)
	}

	out, _ = f.say(exitOK, "tree", "-o", "json")
	var tree sourceTree
	ok(t, json.Unmarshal([]byte(out), &tree))
	if len(tree.Objects) != 1 || tree.Objects[0].Origin != "settled.yaml:1" || len(tree.Objects[0].Children) != 1 || tree.Objects[0].Children[0].Object != "configmaps default/child" {
		t.Errorf("%s", out)
	}
	out, _ = f.say(exitOK, "tree")
	contains(t, out, "configmaps default/settled  (settled.yaml:1)\n", " configmaps default/child\n")

	out, _ = f.say(exitOK, "get", "sources")
	contains(t, out, "NAME   REVISION             SUSPENDED   READY   SYNC     HEALTH    DRIFT   AGE", "main   main@sha1:"+head[:8]+"   -           True    Synced   Healthy   0 ")
	out, _ = f.say(exitOK, "get", "unmanaged", "-o", "name")
	if out != "configmaps default/loose\n" {
		t.Errorf("unmanaged is\n%s", out)
	}
	out, _ = f.say(exitOK, "get", "unmanaged", "-n", "default")
	contains(t, out, "configmaps default/loose   kubectl-create")

	ok(t, f.client.Delete(ctx, &top))
	out, _ = f.say(exitDiffers, "tree")
	contains(t, out, "Missing")
}
