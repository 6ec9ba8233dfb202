package main

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// TestSyncToAnotherRef takes a source to another branch's commit, and back.
func TestSyncToAnotherRef(t *testing.T) {
	t.Parallel()
	f := follow(t, map[string]string{"settled.yaml": settled}, reporting)
	f.git.run("checkout", "-q", "-b", "topic")
	f.git.write("two.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n")
	f.git.commit("two")
	topic := f.git.run("rev-parse", "HEAD")
	two := func() error {
		return f.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "two"}, &corev1.ConfigMap{})
	}
	_, told := f.say(exitOK, "sync", "--ref", "topic", "--reason", "a trial", "--wait")
	contains(t, told, "goes to "+topic[:12]+" (1 created", topic[:12]+" is applied and healthy", `headway resume main`)
	ok(t, two())
	var o v1alpha1.GitSource
	ok(t, f.client.Get(t.Context(), client.ObjectKey{Name: mainSourceName}, &o))
	if p := o.Spec.Pin; p == nil || p.Commit != topic || !p.AsNew || p.Reason != "a trial" || p.By == "" || o.Spec.Ref.Branch != "main" {
		t.Errorf("the spec is %+v of %+v", o.Spec.Pin, o.Spec.Ref)
	}

	// What cannot be applied is refused before the source goes anywhere.
	f.git.write("bad.yaml", "kind: [")
	f.git.commit("bad")
	_, told = f.say(exitRejected, "sync", "--ref", "topic")
	contains(t, told, "stays where it is", "bad.yaml")
	_, told = f.say(exitRejected, "sync", "--ref", "nothing")
	contains(t, told, "refs/heads/nothing")
	_, told = f.say(exitRejected, "sync", "--ref", "0123456789012345678901234567890123456789")
	contains(t, told, "stays where it is")
	ok(t, f.client.Get(t.Context(), client.ObjectKey{Name: mainSourceName}, &o))
	if o.Spec.Pin == nil || o.Spec.Pin.Commit != topic {
		t.Errorf("the pin is %+v", o.Spec.Pin)
	}

	f.say(exitOK, "resume")
	_, told = f.say(exitOK, "sync", "--wait=1m")
	contains(t, told, "is applied and healthy")
	if err := two(); !apierrors.IsNotFound(err) {
		t.Errorf("after resume the object of the other branch: %v", err)
	}
}
