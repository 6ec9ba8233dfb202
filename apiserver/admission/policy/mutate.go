package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission/match"
	"github.com/headway-sh/headway/apiserver/expression"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
	"github.com/headway-sh/headway/apiserver/write"
)

const mutatingStep = "MutatingAdmissionPolicy"

// Mutating is the step that has policies change what is written; a nil Policies
// has none.
func (p *Policies) Mutating() write.Step {
	s := write.Step{Name: mutatingStep, Everything: true}
	if p != nil {
		s.Mutate = p.mutate
	}
	return s
}

// compileMutations is compile for the other kind.
func (p *Policies) compileMutations(o *admissionv1.MutatingAdmissionPolicy) *expression.Mutations {
	return kept(p.mutating, o, func() *expression.Mutations { return expression.CompileMutations(&o.Spec) })
}

func (p *Policies) mutate(ctx context.Context, view txn.View, r *write.Request) error {
	if !match.Any(view, mutatingPolicies) || match.Exempt(r) || r.Operation == write.OperationDelete {
		return nil
	}
	m := &mutation{inquiry: p.inquire(view, r)}
	m.rounds, _ = r.Kept(mutatingStep).(*rounds)
	if m.rounds == nil {
		m.rounds = &rounds{asked: map[string]bool{}, again: map[string]bool{}}
		r.Keep(mutatingStep, m.rounds)
	}
	if r.Again && !equality.Semantic.DeepEqual(m.rounds.left, r.Object) {
		m.rounds.changed()
	}
	for o := range view.Each(mutatingPolicies, "") {
		if err := m.policy(ctx, o.(*admissionv1.MutatingAdmissionPolicy)); err != nil {
			return err
		}
	}
	if r.Object != nil {
		m.rounds.left = r.Object.DeepCopyObject().(txn.Object)
	}
	return m.answer()
}

// rounds is what the step remembers from one run to the next.
type rounds struct {
	asked map[string]bool // IfNeeded policies with their bindings and params that ran so far
	again map[string]bool // those of them after which the object was changed
	left  txn.Object      // the object as the last run left it
}

// changed notes that the object is another one than those so far saw.
func (s *rounds) changed() {
	for key := range s.asked {
		s.again[key] = true
	}
}

// mutation is one request on its way through the policies.
type mutation struct {
	inquiry
	rounds *rounds
	failed []string
}

// fail notes what went wrong with a policy, unless that ignores failures.
func (m *mutation) fail(policy *admissionv1.MutatingAdmissionPolicy, binding string, err error) {
	if policy.Spec.FailurePolicy != nil && *policy.Spec.FailurePolicy == admissionv1.Ignore {
		return
	}
	if binding == "" {
		m.failed = append(m.failed, fmt.Sprintf("policy %q denied request: %v", policy.Name, err))
		return
	}
	m.failed = append(m.failed, fmt.Sprintf("policy '%s' with binding '%s' denied request: %v", policy.Name, binding, err))
}

// answer refuses the request when a policy failed.
func (m *mutation) answer() error {
	if len(m.failed) == 0 {
		return nil
	}
	err := apierrors.NewForbidden(m.request.Served.Served(), m.request.Ref.Name, errors.New(m.failed[0]))
	err.ErrStatus.Message, err.ErrStatus.Reason = m.failed[0], metav1.StatusReasonInvalid
	for _, text := range m.failed {
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: text})
	}
	return err
}

// policy has one policy change the request, for each of its bindings.
func (m *mutation) policy(ctx context.Context, policy *admissionv1.MutatingAdmissionPolicy) error {
	as, err := matches(m.view, m.request, policy.Spec.MatchConstraints)
	if err != nil {
		m.fail(policy, "", fmt.Errorf("failed to configure policy: %w", err))
		return nil
	}
	if as == nil {
		return nil
	}
	m.request.Decide(txn.Ref{Resource: mutatingPolicies, Name: policy.Name})
	row, err := m.paramRow(policy.Spec.ParamKind)
	if err != nil {
		m.fail(policy, "", fmt.Errorf("failed to configure policy: %w", err))
		return nil
	}
	for o := range m.view.EachIndexed(mutatingBindings, kinds.IndexPolicy, policy.Name) {
		binding := o.(*admissionv1.MutatingAdmissionPolicyBinding)
		matched, err := matches(m.view, m.request, binding.Spec.MatchResources)
		if err == nil && matched == nil {
			continue
		}
		m.request.Decide(txn.Ref{Resource: mutatingBindings, Name: binding.Name})
		var params []runtime.Object
		if err == nil {
			params, err = m.params(row, binding.Spec.ParamRef)
		}
		if err != nil {
			m.fail(policy, binding.Name, fmt.Errorf("failed to configure binding: %w", err))
			continue
		}
		for _, param := range params {
			if err := m.run(ctx, policy, binding.Name, as, param); err != nil {
				return err
			}
		}
	}
	return nil
}

// run makes the mutations of a policy for one binding and param. In a further
// run only those come that are to see what others changed.
func (m *mutation) run(ctx context.Context, policy *admissionv1.MutatingAdmissionPolicy, binding string, as *kind.Kind, param runtime.Object) error {
	key := policy.Name + "/" + binding
	if o, ok := param.(metav1.Object); ok {
		key += "/" + o.GetNamespace() + "/" + o.GetName()
	}
	if m.request.Again && !m.rounds.again[key] {
		return nil
	}
	delete(m.rounds.again, key)
	namespace, err := match.NamespaceObject(m.view, m.request)
	if err != nil {
		return err
	}
	compiled := m.compileMutations(policy)
	in := expression.Input{Resource: as.GVR(), Params: param, Namespace: namespace, Authorizer: m.authorizer}
	if in.Attributes, err = match.Attributes(m.request, as); err != nil {
		m.fail(policy, binding, err)
		return nil
	}
	if met, err := compiled.Matches(ctx, in); err != nil || !met {
		if err != nil {
			m.fail(policy, binding, err)
		}
		return nil
	}
	before := m.request.Object
	for i := range compiled.Len() {
		begun := time.Now()
		err := m.one(ctx, compiled, i, as, in)
		m.measure(policy.Name, binding, err, time.Since(begun))
		if err != nil {
			m.fail(policy, binding, err)
		}
	}
	if before != m.request.Object && !equality.Semantic.DeepEqual(before, m.request.Object) {
		m.rounds.changed()
		m.request.RunAgain()
	}
	if policy.Spec.ReinvocationPolicy == admissionv1.IfNeededReinvocationPolicy {
		m.rounds.asked[key] = true
	}
	return nil
}

// one makes one mutation of the object as it is now.
func (m *mutation) one(ctx context.Context, compiled *expression.Mutations, number int, as *kind.Kind, in expression.Input) error {
	if !m.request.Replaceable() {
		return nil // a stream or an eviction has no object that could be changed
	}
	var err error
	if in.Attributes, err = match.Attributes(m.request, as); err != nil {
		return err
	}
	if in.Attributes.VersionedObject.Object() == nil {
		return nil
	}
	types, err := m.Types(as)
	if err != nil {
		return err
	}
	o, err := compiled.Mutate(ctx, number, in, types, admission.NewObjectInterfacesFromScheme(m.Scheme))
	if err != nil {
		return err
	}
	state, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return fmt.Errorf("read what a mutation leaves: %w", err)
	}
	return m.request.Replace(as, state)
}

func (m *mutation) measure(policy, binding string, err error, took time.Duration) {
	if m.Meter == nil {
		return
	}
	failure := expression.NoFailure
	if err != nil {
		failure = expression.FailureOf(err)
	}
	m.Meter.Mutated(policy, binding, failure, took)
}
