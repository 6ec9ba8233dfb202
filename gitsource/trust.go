package gitsource

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/apply"
	"github.com/headway-sh/headway/gitsource/repo"
	"github.com/headway-sh/headway/gitsource/verify"
)

var configMaps = schema.GroupResource{Resource: "configmaps"}

// verified tells whether the commit that is aimed at is signed as the source
// asks for. What the cluster is at already stays, whatever comes out.
func (s *source) verified(ctx context.Context, at aim, current bool) (*verify.Refusal, error) {
	spec := s.object.Spec.Verification
	if spec == nil {
		meta.RemoveStatusCondition(&s.status.Conditions, v1alpha1.ConditionVerified)
		s.status.VerifiedCommit, s.status.VerifiedBy = "", ""
		return nil, nil
	}
	if current && s.status.VerifiedCommit == at.id.String() || at.pinned && s.release != nil && s.release.Status.AppliedTime != nil {
		return nil, nil // found good when it was applied
	}
	signer, err := s.checkSignature(ctx, spec, at)
	if refusal := verify.AsRefusal(err); refusal != nil {
		s.condition(v1alpha1.ConditionVerified, false, "NotVerified", refusal.Error())
		return refusal, nil
	}
	if err != nil {
		return nil, err
	}
	s.condition(v1alpha1.ConditionVerified, true, "Verified", fmt.Sprintf("%.12s is signed by %s", at.id, signer))
	if !at.pinned {
		s.status.VerifiedCommit = at.id.String()
	}
	s.status.VerifiedBy = signer
	return nil, nil
}

func (s *source) checkSignature(ctx context.Context, spec *v1alpha1.VerificationSpec, at aim) (signer string, err error) {
	policy, err := s.policy(ctx, spec)
	if err != nil {
		return "", err
	}
	var last repo.ID
	if believed := s.status.VerifiedCommit; believed != "" && !at.pinned {
		if last, err = repo.ParseID(believed); err != nil {
			return "", err
		}
		if _, err := s.follower.repo.Commit(last); err != nil {
			last = repo.ID{} // the mirror was lost, and history rewritten with consent
		}
	}
	return policy.Verify(ctx, s.follower.repo, s.status.ObservedRef, at.id, last, s.now())
}

// policy gathers the keys as they are now. Keys that cannot be read are a
// refusal: without them nobody can be believed.
func (s *source) policy(ctx context.Context, spec *v1alpha1.VerificationSpec) (*verify.Policy, error) {
	view, err := s.engine.cfg.Txn.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	p := &verify.Policy{Mode: spec.Mode}
	for _, set := range spec.Signers {
		where, entries := keysOf(view, &set)
		if entries == nil {
			return nil, &verify.Refusal{What: "the keys", Reason: "cannot be read: there is no " + where}
		}
		keys := &verify.Keys{}
		for name, content := range entries {
			if err := keys.Add(content); err != nil {
				return nil, &verify.Refusal{What: "the keys", Reason: fmt.Sprintf("cannot be read: %s, entry %s: %v", where, name, err)}
			}
		}
		p.Sets = append(p.Sets, verify.Set{Path: set.Path, Keys: keys, Names: set.Names})
	}
	return p, nil
}

// keysOf gives the entries of a set's Secret or ConfigMap, nil when it is not
// there.
func keysOf(view txn.View, set *v1alpha1.SignerSet) (where string, entries map[string][]byte) {
	if r := set.SecretRef; r != nil {
		where = fmt.Sprintf("Secret %s/%s", r.Namespace, r.Name)
		if o, ok := view.Get(txn.Ref{Resource: secrets, Namespace: r.Namespace, Name: r.Name}); ok {
			entries = map[string][]byte{}
			for name, content := range o.(*corev1.Secret).Data {
				entries[name] = content
			}
		}
		return where, entries
	}
	r := set.ConfigMapRef
	where = fmt.Sprintf("ConfigMap %s/%s", r.Namespace, r.Name)
	if o, ok := view.Get(txn.Ref{Resource: configMaps, Namespace: r.Namespace, Name: r.Name}); ok {
		entries = map[string][]byte{}
		for name, content := range o.(*corev1.ConfigMap).Data {
			entries[name] = []byte(content)
		}
		for name, content := range o.(*corev1.ConfigMap).BinaryData {
			entries[name] = content
		}
	}
	return where, entries
}

// unverified refuses a commit that is not signed as it must be. It is tried
// again: a key may be added without a change of the source.
func (s *source) unverified(this trial, r *verify.Refusal) {
	refused := &apply.Refused{Problems: []v1alpha1.Problem{{Message: r.Error()}}, Again: true}
	s.tried = this
	s.tried.again = true
	s.refuse(refused, false)
	s.failed(refused)
}
