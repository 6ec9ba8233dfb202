package kinds

import (
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// serveEventsV1 adds the events of events.k8s.io, which are the core group's
// under other field names and with stricter rules.
func serveEventsV1(k *kind.Kind) {
	row := k.Serve(kind.Version{
		GVK:     eventsv1.SchemeGroupVersion.WithKind("Event"),
		New:     func() txn.Object { return &eventsv1.Event{} },
		NewList: func() runtime.Object { return &eventsv1.EventList{} },
		From:    convert(eventToV1), To: convert(eventFromV1),
	})
	row.Fields = eventV1Fields(k.Fields)
	row.Validate, row.Name, row.PlainFinalizers = validate(checkEventV1), nil, false
}

// convert lets a conversion take and give objects.
func convert[F, T txn.Object](f func(F) (T, error)) func(txn.Object) (txn.Object, error) {
	return func(o txn.Object) (txn.Object, error) {
		from, ok := o.(F)
		if !ok {
			return nil, fmt.Errorf("a %T is not of the version", o)
		}
		return f(from)
	}
}

func eventToV1(o *corev1.Event) (*eventsv1.Event, error) {
	out := &eventsv1.Event{
		ObjectMeta: o.ObjectMeta, EventTime: o.EventTime, ReportingController: o.ReportingController, ReportingInstance: o.ReportingInstance,
		Action: o.Action, Reason: o.Reason, Regarding: o.InvolvedObject, Related: o.Related, Note: o.Message, Type: o.Type,
		DeprecatedSource: o.Source, DeprecatedFirstTimestamp: o.FirstTimestamp, DeprecatedLastTimestamp: o.LastTimestamp, DeprecatedCount: o.Count,
	}
	if o.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: o.Series.Count, LastObservedTime: o.Series.LastObservedTime}
	}
	return out, nil
}

func eventFromV1(o *eventsv1.Event) (*corev1.Event, error) {
	out := &corev1.Event{
		ObjectMeta: o.ObjectMeta, EventTime: o.EventTime, ReportingController: o.ReportingController, ReportingInstance: o.ReportingInstance,
		Action: o.Action, Reason: o.Reason, InvolvedObject: o.Regarding, Related: o.Related, Message: o.Note, Type: o.Type,
		Source: o.DeprecatedSource, FirstTimestamp: o.DeprecatedFirstTimestamp, LastTimestamp: o.DeprecatedLastTimestamp, Count: o.DeprecatedCount,
	}
	if o.Series != nil {
		out.Series = &corev1.EventSeries{Count: o.Series.Count, LastObservedTime: o.Series.LastObservedTime}
	}
	return out, nil
}

// eventV1Fields are the core group's under the names of the newer group.
func eventV1Fields(core map[string]func(txn.Object) string) map[string]func(txn.Object) string {
	fields := maps.Clone(core)
	for name, value := range core {
		if part, ok := strings.CutPrefix(name, "involvedObject."); ok {
			delete(fields, name)
			fields["regarding."+part] = value
		}
	}
	delete(fields, "source")
	delete(fields, "reportingComponent")
	fields["reportingController"] = core["reportingComponent"]
	return fields
}

const mustBeUnset = "needs to be unset"

// checkEventV1 has the rules for events that are written in the newer group.
func checkEventV1(o, old *corev1.Event) fieldErrors {
	c := &checker{}
	c.event(o, "reportingController")
	if old != nil {
		c.unchangedEvent(o, old)
	} else {
		c.newEvent(o)
	}
	if s := o.Series; s != nil && (old == nil || !equality.Semantic.DeepEqual(s, old.Series)) {
		at := field.NewPath("series")
		if s.Count < 2 {
			c.invalid(at.Child("count"), "", "should be at least 2")
		}
		if s.LastObservedTime.IsZero() {
			c.required(at.Child("lastObservedTime"), "")
		}
	}
	return c.errs
}

func (c *checker) newEvent(o *corev1.Event) {
	if o.EventTime.IsZero() {
		c.required(field.NewPath("eventTime"), "")
	}
	if o.Type != corev1.EventTypeNormal && o.Type != corev1.EventTypeWarning {
		c.invalid(field.NewPath("type"), "", "has invalid value: "+o.Type)
	}
	if !o.FirstTimestamp.IsZero() {
		c.invalid(field.NewPath("firstTimestamp"), "", mustBeUnset)
	}
	if !o.LastTimestamp.IsZero() {
		c.invalid(field.NewPath("lastTimestamp"), "", mustBeUnset)
	}
	if o.Count != 0 {
		c.invalid(field.NewPath("count"), "", mustBeUnset)
	}
	if o.Source != (corev1.EventSource{}) {
		c.invalid(field.NewPath("source"), "", mustBeUnset)
	}
}

// unchangedEvent refuses changes of all but the series and the metadata.
func (c *checker) unchangedEvent(o, old *corev1.Event) {
	for _, f := range [...]struct {
		name      string
		now, then any
	}{
		{"involvedObject", o.InvolvedObject, old.InvolvedObject}, {"reason", o.Reason, old.Reason}, {"message", o.Message, old.Message},
		{"source", o.Source, old.Source}, {"firstTimestamp", o.FirstTimestamp, old.FirstTimestamp}, {"lastTimestamp", o.LastTimestamp, old.LastTimestamp},
		{"count", o.Count, old.Count}, {"type", o.Type, old.Type}, {"action", o.Action, old.Action}, {"related", o.Related, old.Related},
		{"reportingController", o.ReportingController, old.ReportingController}, {"reportingInstance", o.ReportingInstance, old.ReportingInstance},
	} {
		if !equality.Semantic.DeepEqual(f.now, f.then) {
			c.invalid(field.NewPath(f.name), f.now, "field is immutable")
		}
	}
	if !o.EventTime.Time.Truncate(1000).Equal(old.EventTime.Time.Truncate(1000)) {
		c.invalid(field.NewPath("eventTime"), o.EventTime, "field is immutable")
	}
}
