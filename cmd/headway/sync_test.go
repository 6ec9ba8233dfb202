package main

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// TestSyncWait asks a source for its newest commit and waits for what becomes
// of it.
func TestSyncWait(t *testing.T) {
	t.Parallel()
	f := follow(t, map[string]string{"settled.yaml": settled}, reporting)
	head := func() string { return f.git.run("rev-parse", "HEAD")[:12] }
	_, told := f.say(exitOK, "sync", "--wait")
	contains(t, told, head()+" is applied and healthy")
	var o v1alpha1.GitSource
	ok(t, f.client.Get(t.Context(), client.ObjectKey{Name: mainSourceName}, &o))
	if asked := o.Annotations[v1alpha1.AnnotationFetch]; asked == "" || o.Status.LastHandledFetch != asked {
		t.Errorf("asked at %q, handled %q", asked, o.Status.LastHandledFetch)
	}

	f.git.write("bad.yaml", "kind: Nothing\n")
	f.git.commit("bad")
	_, told = f.say(exitRejected, "sync", "--wait=1m")
	contains(t, told, "commit "+head()+" was refused", "bad.yaml")

	f.git.remove("bad.yaml")
	f.git.commit("good")
	f.say(exitOK, "sync", "--wait=1m")

	f.say(exitOK, "suspend", "--reason", "a break")
	f.git.write("more.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n")
	f.git.commit("more")
	_, told = f.say(exitDiffers, "sync", "--wait=1m")
	contains(t, told, "commit "+head()+" is held back: suspended", "a break", "headway resume main")
	f.say(exitOK, "resume")
	_, told = f.say(exitOK, "sync", "--wait=1m")
	contains(t, told, head()+" is applied and healthy")

	f.git.run("checkout", "-q", "-b", "other")
	f.git.run("branch", "-q", "-D", "main")
	_, told = f.say(exitError, "sync", "--wait=1m")
	contains(t, told, "main cannot read its repository")
}
