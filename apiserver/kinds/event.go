package kinds

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

func eventKind() *kind.Kind {
	k := &kind.Kind{
		GVK:           corev1.SchemeGroupVersion.WithKind("Event"),
		Plural:        "events",
		Singular:      "event",
		ShortNames:    []string{"ev"},
		Namespaced:    true,
		StoragePrefix: "events",
		New:           func() txn.Object { return &corev1.Event{} },
		NewList:       func() runtime.Object { return &corev1.EventList{} },
		Fields:        eventFields(),
		Indexes: map[string]func(txn.Object) []string{
			IndexInvolvedUID: values(func(o *corev1.Event) []string { return []string{string(o.InvolvedObject.UID)} }),
		},
		Name:            rbacName,
		PlainFinalizers: true,
		Validate:        validate(checkEvent),
		Columns:         eventColumns(),
		Row:             row(eventRow),
	}
	serveEventsV1(k)
	return k
}

func eventColumns() []column {
	doc := corev1.Event{}.SwaggerDoc()
	far := func(c column) column { c.Priority = 1; return c }
	return []column{
		str("Last Seen", doc["lastTimestamp"]), str("Type", doc["type"]), str("Reason", doc["reason"]),
		str("Object", doc["involvedObject"]), far(str("Subobject", corev1.ObjectReference{}.SwaggerDoc()["fieldPath"])),
		far(str("Source", doc["source"])), str("Message", doc["message"]), far(str("First Seen", doc["firstTimestamp"])),
		far(str("Count", doc["count"])), far(nameColumn()),
	}
}

func eventRow(o *corev1.Event, now time.Time) []any {
	first := o.FirstTimestamp
	if first.IsZero() {
		first = metav1.Time{Time: o.EventTime.Time}
	}
	last, count := o.LastTimestamp, o.Count
	if last.IsZero() {
		last = first
	}
	if o.Series != nil {
		last, count = metav1.Time{Time: o.Series.LastObservedTime.Time}, o.Series.Count
	} else if count == 0 {
		count = 1
	}
	object := strings.ToLower(o.InvolvedObject.Kind)
	if o.InvolvedObject.Name != "" {
		object += "/" + o.InvolvedObject.Name
	}
	component, host := o.Source.Component, o.Source.Host
	if component == "" {
		component, host = o.ReportingController, o.ReportingInstance
	}
	source := component
	if host != "" {
		source += ", " + host
	}
	return []any{
		kind.Age(last, now), o.Type, o.Reason, object, o.InvolvedObject.FieldPath, source,
		strings.TrimSpace(o.Message), kind.Age(first, now), int64(count), o.Name,
	}
}

func eventFields() map[string]func(txn.Object) string {
	field := func(f func(o *corev1.Event) string) func(txn.Object) string { return text(f) }
	return map[string]func(txn.Object) string{
		"involvedObject.kind":            field(func(o *corev1.Event) string { return o.InvolvedObject.Kind }),
		"involvedObject.namespace":       field(func(o *corev1.Event) string { return o.InvolvedObject.Namespace }),
		"involvedObject.name":            field(func(o *corev1.Event) string { return o.InvolvedObject.Name }),
		"involvedObject.uid":             field(func(o *corev1.Event) string { return string(o.InvolvedObject.UID) }),
		"involvedObject.apiVersion":      field(func(o *corev1.Event) string { return o.InvolvedObject.APIVersion }),
		"involvedObject.resourceVersion": field(func(o *corev1.Event) string { return o.InvolvedObject.ResourceVersion }),
		"involvedObject.fieldPath":       field(func(o *corev1.Event) string { return o.InvolvedObject.FieldPath }),
		"reason":                         field(func(o *corev1.Event) string { return o.Reason }),
		"reportingComponent":             field(func(o *corev1.Event) string { return o.ReportingController }),
		"source": field(func(o *corev1.Event) string {
			if o.Source.Component == "" {
				return o.ReportingController
			}
			return o.Source.Component
		}),
		"type": field(func(o *corev1.Event) string { return o.Type }),
	}
}
