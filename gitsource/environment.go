package gitsource

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/failpoint"
)

var namespaces = schema.GroupResource{Resource: "namespaces"}

// environmentName is the name of an environment's namespace and source:
// readable, and unlike that of any other one.
func environmentName(prefix, source, ref string) string {
	sum := sha256.Sum256([]byte(source + "\n" + ref))
	hash := hex.EncodeToString(sum[:5])
	short := strings.TrimPrefix(strings.TrimPrefix(ref, "refs/"), "heads/")
	slug := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(prefix[:min(len(prefix), 30)])+"-"+strings.ToLower(short))
	return strings.Trim(slug[:min(len(slug), 63-1-len(hash))], "-") + "-" + hash
}

// environmentSpec is what the source of an environment does: as much as its
// parent's spec says of rendering, and nothing that reaches further.
func (s *source) environmentSpec(e *v1alpha1.EnvironmentStatus) v1alpha1.GitSourceSpec {
	own := s.object.Spec.DeepCopy()
	out := v1alpha1.GitSource{Spec: v1alpha1.GitSourceSpec{
		URL: own.URL, Fallback: own.Fallback, Ref: v1alpha1.GitReference{Name: e.Ref}, Paths: own.Paths, Ignore: own.Ignore, Interval: own.Interval,
		SecretRef: own.SecretRef, CABundle: own.CABundle, Verification: own.Verification, Render: own.Render, Helm: own.Helm,
		TargetNamespace: e.Namespace, ServiceAccountName: v1alpha1.EnvironmentAccount,
		Timeout: own.Timeout, Drift: own.Drift,
		// Who looks for a mistake wants to see it.
		Health:      v1alpha1.HealthSpec{OnFailure: v1alpha1.FailureHold, Checks: own.Health.Checks},
		Guards:      v1alpha1.GuardsSpec{MaxDeletePercent: ptr.To[int32](100)},
		Reports:     v1alpha1.ReportsSpec{Disabled: true},
		Environment: &v1alpha1.EnvironmentSource{Source: s.name, Namespaces: own.Previews.Environments.Namespaces},
	}}
	special := []v1alpha1.Variable{{Name: "PREVIEW_NAMESPACE", Value: e.Namespace}, {Name: "PREVIEW_REF", Value: e.Ref}}
	out.Spec.Variables = slices.DeleteFunc(own.Variables, func(v v1alpha1.Variable) bool {
		return slices.ContainsFunc(special, func(o v1alpha1.Variable) bool { return o.Name == v.Name })
	})
	out.Spec.Variables = append(out.Spec.Variables, special...)
	v1alpha1.SetDefaultsGitSource(&out)
	return out.Spec
}

// keepEnvironment makes an environment or brings it up to date, and says how it
// is.
func (s *source) keepEnvironment(ctx context.Context, view txn.View, e *v1alpha1.EnvironmentStatus, child *v1alpha1.GitSource) error {
	e.Phase = v1alpha1.EnvironmentPending
	if child == nil || child.DeletionTimestamp == nil {
		made, err := s.makeEnvironment(ctx, e)
		if err != nil {
			return err
		}
		if made {
			s.engine.cfg.Events(s.object, corev1.EventTypeNormal, "EnvironmentMade", e.Namespace+" for "+e.Ref)
		}
	} else {
		e.Message = "the one before is still going"
	}
	if child == nil || e.Message != "" {
		return nil
	}
	e.LeftOut = int32(len(child.Status.LeftOut))
	st := &child.Status
	if st.ObservedCommit != e.Commit {
		e.Phase = v1alpha1.EnvironmentProgressing
		return nil
	}
	o, _ := view.Get(txn.Ref{Resource: releases, Name: v1alpha1.ReleaseName(child.Name, e.Commit)})
	r, ok := o.(*v1alpha1.Release)
	switch {
	case ok && r.Status.Phase == v1alpha1.ReleaseHealthy && st.Health == v1alpha1.HealthHealthy:
		e.Phase = v1alpha1.EnvironmentHealthy
	case ok && unfinished(r), ok && r.Status.Phase == v1alpha1.ReleaseHealthy:
		e.Phase = v1alpha1.EnvironmentProgressing
	default:
		e.Phase = v1alpha1.EnvironmentFailed
	}
	if ready := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionReady); len(st.Problems) > 0 {
		e.Message = st.Problems[0].String()
	} else if ready != nil && ready.Status != metav1.ConditionTrue {
		e.Message = ready.Message
	} else if e.Phase == v1alpha1.EnvironmentFailed && ok {
		e.Message = r.Status.Message
	}
	return nil
}

// makeEnvironment makes what is missing of an environment, or says in its
// message why that cannot be.
func (s *source) makeEnvironment(ctx context.Context, e *v1alpha1.EnvironmentStatus) (made bool, err error) {
	spec := s.environmentSpec(e)
	if err := failpoint.Hit(ctx, "gitsource.environment.before"); err != nil {
		return false, err
	}
	_, _, err = txn.Run(ctx, s.engine.cfg.Txn, s.engine.cfg.Identity, txn.CommitOptions{Epoch: s.engine.applier.Epoch}, func(view txn.View) ([]txn.Change, error) {
		made, e.Message = false, ""
		if o, ok := view.Get(txn.Ref{Resource: namespaces, Name: e.Namespace}); ok {
			switch {
			case o.GetLabels()[v1alpha1.LabelEnvironmentOf] != s.name:
				e.Message = "somebody else has a namespace of that name"
				return nil, nil
			case o.GetDeletionTimestamp() != nil:
				e.Message = "the namespace of the one before is still going"
				return nil, nil
			}
		}
		ref := txn.Ref{Resource: gitSources, Name: e.Namespace}
		o, ok := view.Get(ref)
		if ok && !s.isEnvironment(o) {
			e.Message = "somebody else has a GitSource of that name"
			return nil, nil
		}
		var pause string
		changes := s.environmentObjects(view, e, &pause)
		e.Message = pause
		if !ok {
			made = true
			return append(changes, s.write(txn.Create, ref, "", s.environmentSource(e, spec))), nil
		}
		stored := o.(*v1alpha1.GitSource).DeepCopy()
		current := stored.DeepCopy()
		v1alpha1.SetDefaultsGitSource(current)
		if stored.DeletionTimestamp != nil || equality.Semantic.DeepEqual(current.Spec, spec) {
			return changes, nil
		}
		stored.TypeMeta, stored.Spec = metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "GitSource"}, spec
		return append(changes, s.write(txn.Update, ref, "", stored)), nil
	})
	var refused apierrors.APIStatus
	switch {
	case errors.As(err, &refused) && !txn.IsConflict(err): // the source itself goes on, and the other environments
		e.Message = err.Error()
		return false, nil
	case err != nil:
		return false, fmt.Errorf("make the environment %s: %w", e.Namespace, err)
	}
	return made, nil
}

// isEnvironment tells whether an object is the source of one of the
// environments.
func (s *source) isEnvironment(o txn.Object) bool {
	c, ok := o.(*v1alpha1.GitSource)
	return ok && c.Spec.Environment != nil && c.Spec.Environment.Source == s.name
}

func (s *source) environmentSource(e *v1alpha1.EnvironmentStatus, spec v1alpha1.GitSourceSpec) *v1alpha1.GitSource {
	return &v1alpha1.GitSource{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "GitSource"},
		ObjectMeta: metav1.ObjectMeta{
			Name: e.Namespace, Labels: map[string]string{v1alpha1.LabelEnvironmentOf: s.name}, Finalizers: []string{v1alpha1.FinalizerEnvironment},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "GitSource", Name: s.name, UID: s.object.UID}},
		},
		Spec: spec,
	}
}
