package gitsource_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/plan"
)

func (s *story) hooks(ts *testscript.TestScript, _ []string) error {
	for _, r := range s.release("main", s.head()).Status.Hooks {
		fmt.Fprintln(ts.Stdout(), r.Stage, r.Weight, r.Object, r.Phase)
	}
	return nil
}

func (s *story) begun(_ *testscript.TestScript, args []string) error {
	return s.begunAt(nil, append([]string{"HEAD"}, args...))
}

func (s *story) begunAt(_ *testscript.TestScript, args []string) error {
	head, err := s.tryGit(s.work(), "rev-parse", args[0])
	if err != nil {
		return err
	}
	args = args[1:]
	return failure(s.await(func() string {
		last := "there are none"
		for _, r := range s.release("main", head).Status.Hooks {
			if string(r.Stage) != args[0] {
				continue
			}
			if last = ""; r.Phase == v1alpha1.HookPending {
				return fmt.Sprintf("%+v", r)
			}
		}
		return last
	}))
}

func (s *story) wantRuns(_ *testscript.TestScript, args []string) error {
	head := s.head()
	return failure(s.await(func() string {
		n := 0
		for _, r := range s.release("main", head).Status.Hooks {
			if string(r.Stage) == args[0] {
				if n++; string(r.Phase) != args[1] {
					return fmt.Sprintf("%+v", r)
				}
			}
		}
		if n == 0 {
			return "there are none"
		}
		return ""
	}))
}

func (s *story) replaced(ts *testscript.TestScript, _ []string) error {
	for _, o := range s.release("main", s.head()).Status.Outcomes {
		if o.Operation == "replaced" {
			fmt.Fprintln(ts.Stdout(), o.Object)
		}
	}
	return nil
}

func (s *story) planned(ts *testscript.TestScript, args []string) error {
	asked := ref("plans.gitops.headway.sh", args[0])
	if _, err := s.store.Do(s.t.Context(), admin, txn.Change{Verb: txn.Create, Ref: asked, Object: &v1alpha1.Plan{
		ObjectMeta: metav1.ObjectMeta{Name: args[0]}, Spec: v1alpha1.PlanSpec{Source: "main", Ref: v1alpha1.GitReference{Branch: args[0]}},
	}}); err != nil {
		return err
	}
	var status v1alpha1.PlanStatus
	if last := s.await(func() string {
		if status = s.get(asked).(*v1alpha1.Plan).Status; status.Commit == "" {
			return "the plan is not answered"
		}
		return ""
	}); last != "" {
		return failure(last)
	}
	fmt.Fprintln(ts.Stdout(), status.Summary)
	for _, o := range status.Outcomes {
		fmt.Fprintln(ts.Stdout(), o.Operation, o.Object, o.Origin)
		for _, f := range o.Fields {
			fmt.Fprintln(ts.Stdout(), " ", f.Path, f.Before, f.After)
		}
	}
	for _, h := range status.Hooks {
		fmt.Fprintln(ts.Stdout(), "hook", h.Stage, h.Weight, h.Object, h.Origin)
	}
	if i := status.Impact; i != nil {
		for _, l := range i.Irreversible {
			fmt.Fprintln(ts.Stdout(), "irreversible", l)
		}
		for _, r := range i.Rollouts {
			fmt.Fprintln(ts.Stdout(), "rollout", r.Object, r.Pods)
		}
		for _, q := range i.Quotas {
			fmt.Fprintln(ts.Stdout(), "quota", q, q.Exceeded)
		}
	}
	for _, p := range status.Problems {
		fmt.Fprintln(ts.Stdout(), "problem", p)
	}
	return nil
}

func (s *story) keeps(_ *testscript.TestScript, args []string) error {
	r := ref(args[0], args[1])
	o := s.get(r)
	switch {
	case o == nil:
		return fmt.Errorf("there is no %s", r)
	case s.uids[r] != "" && s.uids[r] != o.GetUID() && len(args) < 3:
		return fmt.Errorf("%s was deleted and created anew", r)
	}
	s.uids[r] = o.GetUID()
	return nil
}

func (s *story) owned(_ *testscript.TestScript, args []string) error {
	r := ref(args[0], args[1])
	return failure(s.await(func() string {
		notes, err := s.store.Notes(s.t.Context(), plan.Prefix)
		if err != nil {
			return err.Error()
		}
		all, err := plan.Load(notes)
		if err != nil {
			return err.Error()
		}
		var got []string
		for source, i := range all {
			if _, ok := i.Entries[r]; ok {
				got = append(got, source)
			}
		}
		if o := s.get(r); o != nil && args[2] != "nobody" {
			for _, f := range o.GetManagedFields() {
				got = append(got, strings.TrimPrefix(f.Manager, "headway:"))
			}
		}
		slices.Sort(got)
		got = slices.Compact(got)
		if want := args[2]; want != "nobody" && !slices.Equal(got, []string{want}) || want == "nobody" && len(got) > 0 {
			return fmt.Sprintf("it is %v's", got)
		}
		return ""
	}))
}

func (s *story) told(_ *testscript.TestScript, args []string) error {
	return failure(s.await(func() string {
		problems := s.source(args[0]).Status.Problems
		for _, p := range problems {
			if strings.Contains(p.String(), args[1]) {
				return ""
			}
		}
		return fmt.Sprintf("problems are %v", problems)
	}))
}

func (s *story) quiet(_ *testscript.TestScript, args []string) error {
	return failure(s.await(func() string {
		if problems := s.source(args[0]).Status.Problems; len(problems) > 0 {
			return fmt.Sprintf("problems are %v", problems)
		}
		return ""
	}))
}
