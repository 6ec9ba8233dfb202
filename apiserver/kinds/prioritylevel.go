package kinds

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/util/shufflesharding"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// What a limited level gets when it does not say.
const (
	defaultShares           = 30
	defaultQueues           = 64
	defaultHandSize         = 8
	defaultQueueLengthLimit = 50
)

func priorityLevelConfigurationKind() *kind.Kind {
	p := partsOf(func(o *flowcontrolv1.PriorityLevelConfiguration) *flowcontrolv1.PriorityLevelConfigurationSpec {
		return &o.Spec
	}, func(o *flowcontrolv1.PriorityLevelConfiguration) *flowcontrolv1.PriorityLevelConfigurationStatus {
		return &o.Status
	})
	limited, queuing := flowcontrolv1.LimitedPriorityLevelConfiguration{}.SwaggerDoc(), flowcontrolv1.QueuingConfiguration{}.SwaggerDoc()
	return &kind.Kind{
		GVK:           flowcontrolv1.SchemeGroupVersion.WithKind("PriorityLevelConfiguration"),
		Plural:        "prioritylevelconfigurations",
		Singular:      "prioritylevelconfiguration",
		StoragePrefix: "prioritylevelconfigurations",
		New:           func() txn.Object { return &flowcontrolv1.PriorityLevelConfiguration{} },
		NewList:       func() runtime.Object { return &flowcontrolv1.PriorityLevelConfigurationList{} },
		Default:       defaults(defaultPriorityLevel),
		Prepare:       p.main,
		Subresources:  map[string]kind.Subresource{"status": p.bareStatusSubresource(checkPriorityLevelStatus)},
		Validate:      validate(checkPriorityLevel),
		Columns: []column{
			nameColumn(), str("Type", flowcontrolv1.PriorityLevelConfigurationSpec{}.SwaggerDoc()["type"]),
			str("NominalConcurrencyShares", limited["nominalConcurrencyShares"]), str("Queues", queuing["queues"]),
			str("HandSize", queuing["handSize"]), str("QueueLengthLimit", queuing["queueLengthLimit"]), ageColumn(),
		},
		Row: row(priorityLevelRow),
	}
}

func defaultPriorityLevel(o *flowcontrolv1.PriorityLevelConfiguration) {
	if l := o.Spec.Limited; l != nil {
		setDefaultPtr(&l.NominalConcurrencyShares, defaultShares)
		setDefaultPtr(&l.LendablePercent, 0)
		if q := l.LimitResponse.Queuing; q != nil {
			q.Queues, q.HandSize = cmp.Or(q.Queues, defaultQueues), cmp.Or(q.HandSize, defaultHandSize)
			q.QueueLengthLimit = cmp.Or(q.QueueLengthLimit, defaultQueueLengthLimit)
		}
	}
	if e := o.Spec.Exempt; e != nil {
		setDefaultPtr(&e.NominalConcurrencyShares, 0)
		setDefaultPtr(&e.LendablePercent, 0)
	}
}

func priorityLevelRow(o *flowcontrolv1.PriorityLevelConfiguration, now time.Time) []any {
	var shares, queues, hand, length any = none, none, none, none
	if l := o.Spec.Limited; l != nil {
		shares = deref(l.NominalConcurrencyShares, 0)
		if q := l.LimitResponse.Queuing; q != nil {
			queues, hand, length = q.Queues, q.HandSize, q.QueueLengthLimit
		}
	}
	return []any{o.Name, string(o.Spec.Type), shares, queues, hand, length, age(o, now)}
}

func number(n int32) string { return strconv.Itoa(int(n)) }

func checkPriorityLevel(o, _ *flowcontrolv1.PriorityLevelConfiguration) fieldErrors {
	c := &checker{}
	p, s := field.NewPath("spec"), &o.Spec
	if (o.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt) != (s.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		c.invalid(p.Child("type"), s.Type, "must be 'Exempt' if and only if `name` is 'exempt'")
	}
	oneOf(c, p, "type", s.Type, flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)
	switch {
	case s.Type != flowcontrolv1.PriorityLevelEnablementLimited && s.Limited != nil:
		c.forbidden(p.Child("limited"), "")
	case s.Type == flowcontrolv1.PriorityLevelEnablementLimited && s.Limited == nil:
		c.required(p.Child("limited"), "")
	case s.Limited != nil:
		c.limited(p.Child("limited"), s.Limited)
	}
	if s.Type == flowcontrolv1.PriorityLevelEnablementLimited && s.Exempt != nil {
		c.forbidden(p.Child("exempt"), "")
	}
	return c.errs
}

func (c *checker) limited(p *path, l *flowcontrolv1.LimitedPriorityLevelConfiguration) {
	if n := deref(l.NominalConcurrencyShares, 0); n < 0 {
		c.invalid(p.Child("nominalConcurrencyShares"), n, "must be a non-negative integer")
	}
	if n := deref(l.LendablePercent, 0); n < 0 || n > 100 {
		c.invalid(p.Child("lendablePercent"), n, "must be between 0 and 100, inclusive")
	}
	if n := deref(l.BorrowingLimitPercent, 0); n < 0 {
		c.invalid(p.Child("borrowingLimitPercent"), n, "if specified, must be a non-negative integer")
	}
	at, r := p.Child("limitResponse"), &l.LimitResponse
	oneOf(c, at, "type", r.Type, flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)
	switch q := r.Queuing; {
	case r.Type != flowcontrolv1.LimitResponseTypeQueue && q != nil:
		c.forbidden(at.Child("queuing"), "")
	case r.Type == flowcontrolv1.LimitResponseTypeQueue && q == nil:
		c.required(at.Child("queuing"), "")
	case q != nil:
		c.queuing(at.Child("queuing"), q)
	}
}

// maxQueues is as many as a level may have: every one takes memory.
const maxQueues = 10_000_000

func (c *checker) queuing(p *path, q *flowcontrolv1.QueuingConfiguration) {
	if q.QueueLengthLimit <= 0 {
		c.invalid(p.Child("queueLengthLimit"), q.QueueLengthLimit, "must be positive")
	}
	switch {
	case q.Queues <= 0:
		c.invalid(p.Child("queues"), q.Queues, "must be positive")
	case q.Queues > maxQueues:
		c.invalid(p.Child("queues"), q.Queues, "must not be greater than "+number(maxQueues))
	}
	switch at := p.Child("handSize"); {
	case q.HandSize <= 0:
		c.invalid(at, q.HandSize, "must be positive")
	case q.HandSize > q.Queues:
		c.invalid(at, q.HandSize, "should not be greater than queues ("+number(q.Queues)+")")
	case shufflesharding.RequiredEntropyBits(int(q.Queues), int(q.HandSize)) > shufflesharding.MaxHashBits:
		c.invalid(at, q.HandSize, fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than %d", q.Queues, q.HandSize, shufflesharding.MaxHashBits))
	}
}
