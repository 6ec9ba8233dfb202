package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	registrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission/match"
	"github.com/headway-sh/headway/apiserver/write"
)

const stepState = "MutatingAdmissionWebhook"

// rounds is what the step remembers from its first run to its second.
type rounds struct {
	asked map[string]bool // IfNeeded webhooks that were asked so far
	again map[string]bool // those of them after which the object was changed
	left  txn.Object      // the object as the first run left it
}

// changed notes that the object is another one than those asked so far saw.
func (s *rounds) changed() {
	for key := range s.asked {
		s.again[key] = true
	}
}

// mutate asks the webhooks one after the other. The first run asks all that
// want to be; when one of them has changed the object, the steps run again, and
// the second run asks those that are to be asked if needed and have not seen
// the last state.
func (w *Webhooks) mutate(ctx context.Context, view txn.View, r *write.Request) error {
	if !match.Any(view, mutatingResource) || match.Exempt(r) {
		return nil
	}
	return w.mutating(ctx, view, r)
}

func (w *Webhooks) mutating(ctx context.Context, view txn.View, r *write.Request) error {
	s, _ := r.Kept(stepState).(*rounds)
	if r.Again && s != nil && !equality.Semantic.DeepEqual(s.left, r.Object) {
		s.changed()
	}
	index := -1
	for o := range view.Each(mutatingResource, "") {
		c := o.(*registrationv1.MutatingWebhookConfiguration)
		matched := false
		for i := range c.Webhooks {
			index++
			h := mutatingHook(c, i, index)
			key := c.Name + "/" + h.name
			if r.Again && (s == nil || !s.again[key]) {
				continue
			}
			as, err := w.wants(ctx, view, r, &h)
			if err != nil {
				return err
			}
			if as == nil {
				continue
			}
			if s == nil {
				s = &rounds{asked: map[string]bool{}, again: map[string]bool{}}
				r.Keep(stepState, s)
			}
			matched = true
			changed, err := w.mutateBy(ctx, view, r, call{hook: h, as: as})
			if err != nil {
				return err
			}
			if changed {
				s.changed()
				r.RunAgain()
			}
			if h.ifNeeded {
				s.asked[key] = true
			}
		}
		if matched {
			r.Decide(txn.Ref{Resource: mutatingResource, Name: c.Name})
		}
	}
	if s != nil {
		s.left = copyOf(r.Object)
	}
	return nil
}

func copyOf(o txn.Object) txn.Object {
	if o == nil {
		return nil
	}
	return o.DeepCopyObject().(txn.Object)
}

// mutateBy asks one webhook and applies its patch.
func (w *Webhooks) mutateBy(ctx context.Context, view txn.View, r *write.Request, c call) (changed bool, err error) {
	begun := time.Now()
	answer, err := w.ask(ctx, view, r, &c.hook, c.as, true)
	took := time.Since(begun)
	r.Waited(took)
	if err != nil {
		refused := w.failure(ctx, &c.hook, err)
		if w.measure(r, &c.hook, false, took, err, refused); refused == nil {
			annotate(r, &c.hook, "failed-open.mutation.webhook.admission.k8s.io", c.name)
		}
		return false, refused
	}
	tell(r, &c.hook, answer)
	var refused error
	if !answer.Allowed {
		refused = refusal(c.name, answer.Result)
	}
	if w.measure(r, &c.hook, false, took, nil, refused); refused != nil {
		return false, refused
	}
	if len(answer.Patch) > 0 {
		if !r.Replaceable() {
			return false, apierrors.NewInternalError(fmt.Errorf("admission webhook %q attempted to modify the object, which is not supported for this operation", c.name))
		}
		if changed, err = r.Patch(c.as, answer.Patch); err != nil {
			return false, err
		}
	}
	value, err := json.Marshal(mutation{c.configuration.GetName(), c.name, changed})
	if err != nil {
		return false, err
	}
	annotate(r, &c.hook, "mutation.webhook.admission.k8s.io", string(value))
	return changed, nil
}

// mutation is the value of the audit annotation about a mutating webhook.
type mutation struct {
	Configuration string `json:"configuration"`
	Webhook       string `json:"webhook"`
	Mutated       bool   `json:"mutated"`
}

func annotate(r *write.Request, h *hook, prefix, value string) {
	round := 0
	if r.Again {
		round = 1
	}
	r.Annotate(fmt.Sprintf("%s/round_%d_index_%d", prefix, round, h.index), value)
}
