package gitsource_test

import (
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

func (s *story) override(_ *testscript.TestScript, args []string) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationSync, s.head())
	_, err := s.store.Do(s.t.Context(), txn.Identity{Name: args[0]}, txn.Change{
		Verb: txn.Patch, Ref: txn.Ref{Resource: v1alpha1.Resource("gitsources"), Name: "main"}, Patch: []byte(patch), PatchType: types.MergePatchType,
	})
	return err
}

func (s *story) overridden(_ *testscript.TestScript, args []string) error {
	o := s.release("main", s.head()).Status.Override
	if o == nil || o.By != args[0] || !strings.Contains(o.Freeze, args[1]) {
		return fmt.Errorf("the override is %+v", o)
	}
	return nil
}

func (s *story) plan(ts *testscript.TestScript, args []string) error {
	ref := txn.Ref{Resource: v1alpha1.Resource("plans"), Name: "asked"}
	of := v1alpha1.GitReference{Branch: args[0]}
	if args[0] == "HEAD" {
		of = v1alpha1.GitReference{Commit: s.head()}
	}
	s.do(admin, txn.Change{Verb: txn.Create, Ref: ref, Object: &v1alpha1.Plan{
		ObjectMeta: metav1.ObjectMeta{Name: ref.Name}, Spec: v1alpha1.PlanSpec{Source: "main", Ref: of},
	}})
	return failure(s.await(func() string {
		p := s.get(ref).(*v1alpha1.Plan)
		if len(p.Status.Conditions) == 0 {
			return "it is not answered"
		}
		fmt.Fprintln(ts.Stdout(), p.Status.Frozen)
		for _, problem := range p.Status.Problems {
			fmt.Fprintln(ts.Stdout(), problem)
		}
		return ""
	}))
}
