package policy

import (
	"context"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/utils/lru"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission/match"
	"github.com/headway-sh/headway/apiserver/expression"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/kinds"
	"github.com/headway-sh/headway/apiserver/write"
)

// compiledPolicies is how many policies are kept compiled.
const compiledPolicies = 256

var (
	policies = schema.GroupResource{Group: admissionv1.GroupName, Resource: "validatingadmissionpolicies"}
	bindings = schema.GroupResource{Group: admissionv1.GroupName, Resource: "validatingadmissionpolicybindings"}

	mutatingPolicies = schema.GroupResource{Group: admissionv1.GroupName, Resource: "mutatingadmissionpolicies"}
	mutatingBindings = schema.GroupResource{Group: admissionv1.GroupName, Resource: "mutatingadmissionpolicybindings"}
)

// Config is what Policies is made of.
type Config struct {
	// Authorizer answers what expressions ask about rights.
	Authorizer write.Authorizer
	// Meter is told about every evaluation; nil: nobody is.
	Meter Meter
	// ByGVK finds the row of a kind that may be used for params.
	ByGVK func(view txn.View, gvk schema.GroupVersionKind) (*kind.Kind, bool)
	// Types is what knows how the lists and maps of a kind are merged, and
	// Scheme the kinds' types: for mutations.
	Types  func(k *kind.Kind) (managedfields.TypeConverter, error)
	Scheme *runtime.Scheme
}

// Meter is told how a policy was evaluated for a binding: once for each
// failed validation and action, and once as "allow" when none fails. Failure is
// in the words of Kubernetes' metrics. It must be quick and may be called
// concurrently.
type Meter interface {
	Checked(policy, binding, failure, action string, took time.Duration)
	// Mutated is one mutation; a failure is one that refuses the request, unless
	// the policy ignores failures.
	Mutated(policy, binding, failure string, took time.Duration)
}

// Policies judges writes. It is safe for concurrent use.
type Policies struct {
	Config
	compiled *lru.Cache // *admissionv1.ValidatingAdmissionPolicy → *expression.Policy
	mutating *lru.Cache // *admissionv1.MutatingAdmissionPolicy → *expression.Mutations
}

// New returns a Policies.
func New(c Config) *Policies {
	return &Policies{Config: c, compiled: lru.New(compiledPolicies), mutating: lru.New(compiledPolicies)}
}

// Step is the step that judges writes; a nil Policies judges none.
func (p *Policies) Step() write.Step {
	s := write.Step{Name: "ValidatingAdmissionPolicy", Everything: true}
	if p != nil {
		s.Validate = p.validate
	}
	return s
}

// compile gives the compiled policy.
func (p *Policies) compile(o *admissionv1.ValidatingAdmissionPolicy) *expression.Policy {
	return kept(p.compiled, o, func() *expression.Policy { return expression.CompilePolicy(&o.Spec) })
}

// kept gives what was compiled of a policy. It is kept by the object itself,
// which is shared and never changes: a UID and generation are not enough, for
// two plans may each have another next generation of one policy.
func kept[T any](cache *lru.Cache, policy any, compile func() T) T {
	if known, ok := cache.Get(policy); ok {
		return known.(T)
	}
	made := compile()
	cache.Add(policy, made)
	return made
}

func (p *Policies) validate(ctx context.Context, view txn.View, r *write.Request) error {
	if !match.Any(view, policies) || match.Exempt(r) {
		return nil
	}
	return p.all(ctx, view, r)
}

// all holds the request to every policy that is about it.
func (p *Policies) all(ctx context.Context, view txn.View, r *write.Request) error {
	var j *judgement
	for o := range view.Each(policies, "") {
		policy := o.(*admissionv1.ValidatingAdmissionPolicy)
		as, err := matches(view, r, policy.Spec.MatchConstraints)
		if err == nil && as == nil {
			continue
		}
		if j == nil {
			j = p.begin(view, r)
		}
		if err != nil {
			j.misconfigured(policy, nil, err)
			continue
		}
		if err := j.judge(ctx, policy, as); err != nil {
			return err
		}
	}
	if j == nil {
		return nil
	}
	return j.answer()
}

// matches tells in which version of its kind a request is matched; nil: it is
// not.
func matches(view txn.View, r *write.Request, m *admissionv1.MatchResources) (*kind.Kind, error) {
	if m == nil {
		return r.Served, nil
	}
	as := r.Served
	if len(m.ResourceRules) > 0 {
		var ok bool
		if as, ok = match.NamedRules(m.ResourceRules, m.MatchPolicy, r); !ok {
			return nil, nil
		}
	}
	if _, excluded := match.NamedRules(m.ExcludeResourceRules, m.MatchPolicy, r); excluded || !match.Object(r, m.ObjectSelector) {
		return nil, nil
	}
	selected, err := match.Namespace(view, r, m.NamespaceSelector)
	if err != nil || !selected {
		return nil, err
	}
	return as, nil
}

// judgement is one request before all policies.
type judgement struct {
	inquiry
	versions map[*kind.Kind]*admission.VersionedAttributes

	denied   *denial
	failures []failure
}

func (p *Policies) begin(view txn.View, r *write.Request) *judgement {
	return &judgement{inquiry: p.inquire(view, r), versions: map[*kind.Kind]*admission.VersionedAttributes{}}
}

func (j *judgement) attributes(as *kind.Kind) (*admission.VersionedAttributes, error) {
	if a, ok := j.versions[as]; ok {
		return a, nil
	}
	a, err := match.Attributes(j.request, as)
	if err == nil {
		j.versions[as] = a
	}
	return a, err
}

// judge holds the request to one policy that is about it.
func (j *judgement) judge(ctx context.Context, policy *admissionv1.ValidatingAdmissionPolicy, as *kind.Kind) error {
	j.request.Decide(txn.Ref{Resource: policies, Name: policy.Name})
	param, err := j.paramRow(policy.Spec.ParamKind)
	if err != nil {
		j.misconfigured(policy, nil, err)
		return nil
	}
	notes := annotations{}
	for o := range j.view.EachIndexed(bindings, kinds.IndexPolicy, policy.Name) {
		binding := o.(*admissionv1.ValidatingAdmissionPolicyBinding)
		matched, err := matches(j.view, j.request, binding.Spec.MatchResources)
		if err == nil && matched == nil {
			continue
		}
		j.request.Decide(txn.Ref{Resource: bindings, Name: binding.Name})
		if err != nil {
			j.misconfigured(policy, binding, err)
			continue
		}
		params, err := j.params(param, binding.Spec.ParamRef)
		if err != nil {
			j.misconfigured(policy, binding, err)
			continue
		}
		if len(params) == 0 {
			continue
		}
		a, err := j.attributes(as)
		if err != nil {
			j.misconfigured(policy, binding, err)
			continue
		}
		namespace, err := match.NamespaceObject(j.view, j.request)
		if err != nil {
			return err
		}
		for _, one := range params {
			begun := time.Now()
			denials, made := j.compile(policy).Evaluate(ctx, expression.Input{
				Attributes: a, Resource: as.GVR(), Params: one, Namespace: namespace, Authorizer: j.authorizer})
			j.sentence(policy, binding, denials, time.Since(begun))
			notes.add(made)
		}
	}
	notes.publish(policy.Name, j.request)
	return nil
}
