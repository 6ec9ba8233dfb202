package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/apiserver"
)

// followed is a cluster that follows a repository.
type followed struct {
	administered
	git    clone
	client client.WithWatch
}

// island is a cluster that follows nothing yet and reaches no network.
func island(t *testing.T) *followed {
	t.Helper()
	f := &followed{administered: newAdministered(t)}
	f.client = f.api.Peer(apiserver.Masters).Client()
	engine := engineOf(t, f.api)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- engine.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		ok(t, <-done)
	})
	return f
}

// follow starts a cluster whose GitSource "main" has the files.
func follow(t *testing.T, files map[string]string, spec v1alpha1.GitSourceSpec) *followed {
	t.Helper()
	f := island(t)
	f.git = cloneOf(t, files)
	spec.URL, spec.Ref, spec.Reports.Disabled = f.git.dir, v1alpha1.GitReference{Branch: "main"}, true
	ok(t, f.client.Create(t.Context(), &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Name: mainSourceName}, Spec: spec}))
	f.arrive()
	return f
}

// arrive waits until the newest commit is applied.
func (f *followed) arrive() {
	f.t.Helper()
	head := f.git.run("rev-parse", "HEAD")
	w, err := f.client.Watch(f.t.Context(), &v1alpha1.GitSourceList{})
	ok(f.t, err)
	defer w.Stop()
	until(f.t, w, func(e watch.Event) bool {
		o, is := e.Object.(*v1alpha1.GitSource)
		if is && o.Status.ObservedCommit == head && len(o.Status.Problems) > 0 {
			f.t.Fatalf("commit %s: %v", head, o.Status.Problems)
		}
		return is && o.Status.AppliedCommit == head
	})
}

// say runs a verb in the clone and wants an exit status.
func (f *followed) say(want int, args ...string) (stdout, stderr string) {
	f.t.Helper()
	root := newRoot()
	var out, progress bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&progress)
	root.SetArgs(append(args, "--kubeconfig", f.config))
	err := root.ExecuteContext(f.t.Context())
	code := exitCode{code: exitError}
	if err == nil {
		code.code = exitOK
	} else if !errors.As(err, &code) {
		code.code = exitError
	}
	if code.code != want {
		f.t.Fatalf("headway %s: %v, want exit status %d\n%s", strings.Join(args, " "), err, want, out.String())
	}
	if err != nil {
		progress.WriteString(err.Error())
	}
	return out.String(), progress.String()
}

// contains wants all of the texts in an output.
func contains(t *testing.T, output string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(output, text) {
			t.Errorf("no %q in\n%s", text, output)
		}
	}
}
