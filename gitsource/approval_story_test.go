package gitsource_test

import (
	"fmt"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// approve consents as the API server has it written down: the emulator knows
// nothing of who may.
func (s *story) approve(_ *testscript.TestScript, args []string) error {
	digest := ""
	last := s.await(func() string {
		if args[1] == "awaited" {
			a := s.source("main").Status.Awaits
			if a == nil || a.Commit != s.head() {
				return fmt.Sprintf("what is awaited is %+v", a)
			}
			digest = a.Digest
			return ""
		}
		v, err := s.store.View(s.t.Context())
		if err != nil {
			return err.Error()
		}
		for o := range v.Each(v1alpha1.Resource("plans"), "") {
			if p := o.(*v1alpha1.Plan); p.Spec.Ref.Name == args[1] && p.Status.Digest != "" {
				digest = p.Status.Digest
				return ""
			}
		}
		return "there is no plan of " + args[1]
	})
	if last != "" {
		return failure(last)
	}
	ref := txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: "main"}
	_, _, err := txn.Run(s.t.Context(), s.store, txn.Identity{Name: args[0]}, txn.CommitOptions{}, func(v txn.View) ([]txn.Change, error) {
		stored, _ := v.Get(ref)
		o := stored.(*v1alpha1.GitSource).DeepCopy()
		o.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind("GitSource"))
		a := v1alpha1.Approval{Digest: digest, By: args[0], Time: &metav1.Time{Time: s.clock.Now().Truncate(time.Second)}}
		if len(args) > 2 {
			a.Reason = args[2]
		}
		o.Status.Approvals = append(o.Status.Approvals, a)
		return []txn.Change{{Verb: txn.Update, Ref: ref, Subresource: v1alpha1.SubresourceApproval, Object: o}}, nil
	})
	return err
}

func (s *story) unseen(_ *testscript.TestScript, args []string) error {
	id, err := s.tryGit(s.work(), "rev-parse", args[0])
	if err == nil && s.release("main", id) != nil {
		err = fmt.Errorf("there is a release of %s", id)
	}
	return err
}
