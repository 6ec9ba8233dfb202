package webhook

import (
	"context"
	"fmt"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/admission/match"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/write"
)

// call is one webhook that is asked.
type call struct {
	hook
	as     *kind.Kind
	answer *admissionv1.AdmissionResponse
	err    error
}

func (w *Webhooks) validate(ctx context.Context, view txn.View, r *write.Request) error {
	if !match.Any(view, validatingResource) || match.Exempt(r) {
		return nil
	}
	calls, err := w.validating(ctx, view, r)
	if err != nil || len(calls) == 0 {
		return err
	}
	var asked sync.WaitGroup
	for _, c := range calls[1:] {
		asked.Go(func() { c.answer, c.err = w.ask(ctx, view, r, &c.hook, c.as, false) })
	}
	first := calls[0]
	first.answer, first.err = w.ask(ctx, view, r, &first.hook, first.as, false)
	asked.Wait()
	// In the order of the webhooks, whoever was quicker.
	var refused error
	for _, c := range calls {
		if c.err != nil {
			if err := w.failure(ctx, &c.hook, c.err); err != nil {
				refused = earliest(refused, err)
				continue
			}
			r.Annotate(fmt.Sprintf("failed-open.validating.webhook.admission.k8s.io/round_0_index_%d", c.index), c.name)
			continue
		}
		tell(r, &c.hook, c.answer)
		if !c.answer.Allowed {
			refused = earliest(refused, refusal(c.name, c.answer.Result))
		}
	}
	return refused
}

func earliest(have, err error) error {
	if have != nil {
		return have
	}
	return err
}

// validating are the webhooks to be asked.
func (w *Webhooks) validating(ctx context.Context, view txn.View, r *write.Request) ([]*call, error) {
	var calls []*call
	index := -1
	for o := range view.Each(validatingResource, "") {
		c := o.(*registrationv1.ValidatingWebhookConfiguration)
		matched := false
		for i := range c.Webhooks {
			index++
			h := validatingHook(c, i, index)
			as, err := w.wants(ctx, view, r, &h)
			if err != nil {
				return nil, err
			}
			if as != nil {
				calls, matched = append(calls, &call{hook: h, as: as}), true
			}
		}
		if matched {
			r.Decide(txn.Ref{Resource: validatingResource, Name: c.Name})
		}
	}
	return calls, nil
}
