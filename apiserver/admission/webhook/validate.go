package webhook

import (
	"context"
	"fmt"
	"sync"
	"time"

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
	took   time.Duration
}

func (w *Webhooks) validate(ctx context.Context, view txn.View, r *write.Request) error {
	if !match.Any(view, validatingResource) || match.Exempt(r) {
		return nil
	}
	calls, err := w.validating(ctx, view, r)
	if err != nil || len(calls) == 0 {
		return err
	}
	ask := func(c *call) {
		begun := time.Now()
		c.answer, c.err = w.ask(ctx, view, r, &c.hook, c.as, false)
		c.took = time.Since(begun)
	}
	var asked sync.WaitGroup
	for _, c := range calls[1:] {
		asked.Go(func() { ask(c) })
	}
	ask(calls[0])
	asked.Wait()
	return w.verdict(ctx, r, calls)
}

// verdict puts the answers together.
func (w *Webhooks) verdict(ctx context.Context, r *write.Request, calls []*call) error {
	var longest time.Duration
	defer func() { r.Waited(longest) }()
	// In the order of the webhooks, whoever was quicker.
	var refused error
	for _, c := range calls {
		longest = max(longest, c.took)
		if c.err != nil {
			err := w.failure(ctx, &c.hook, c.err)
			if w.measure(r, &c.hook, true, c.took, c.err, err); err != nil {
				refused = earliest(refused, err)
				continue
			}
			r.Annotate(fmt.Sprintf("failed-open.validating.webhook.admission.k8s.io/round_0_index_%d", c.index), c.name)
			continue
		}
		tell(r, &c.hook, c.answer)
		var no error
		if !c.answer.Allowed {
			no = refusal(c.name, c.answer.Result)
			refused = earliest(refused, no)
		}
		w.measure(r, &c.hook, true, c.took, nil, no)
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
