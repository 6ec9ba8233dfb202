package rest

import (
	"encoding/binary"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
)

// eventType is a watch event's type as it is on the wire.
type eventType string

const (
	added         eventType = "ADDED"
	modified      eventType = "MODIFIED"
	deletedEvent  eventType = "DELETED"
	bookmarkEvent eventType = "BOOKMARK"
	errorEvent    eventType = "ERROR"
)

// wireTypes are the store's event types on the wire.
var wireTypes = map[store.EventType]eventType{store.Added: added, store.Modified: modified, store.Deleted: deletedEvent}

// frames turns events into what goes over the wire:
//
//	JSON      {"type":"ADDED","object":{...}}\n
//	protobuf  4 bytes of length, then a WatchEvent message
type frames struct {
	kind     *kind.Kind
	accepted accepted
	table    *metav1.TableOptions
	clock    clock.PassiveClock
	headed   bool // the table's columns have been sent
}

// media is the answer's content type.
func (f *frames) media() string {
	if f.accepted.media == mediaProtobuf {
		return mediaProtobuf + ";stream=watch"
	}
	return mediaJSON
}

// event is the frame of one entry.
func (f *frames) event(t eventType, e *store.Entry) ([]byte, error) {
	switch f.accepted.shape {
	case shapeTable:
		one, err := table(f.kind, []*store.Entry{e}, f.options(), f.clock.Now())
		if err != nil {
			return nil, err
		}
		one.ListMeta.ResourceVersion = e.Object.GetResourceVersion()
		return f.object(t, f.accepted.meta("Table"), one)
	case shapePartial:
		return f.object(t, f.accepted.meta("PartialObjectMetadata"), partial(e.Object))
	}
	if f.accepted.media == mediaProtobuf {
		bare, err := bareEntry(f.kind, e, formProtobuf)
		if err != nil {
			return nil, err
		}
		return protobufFrame(t, f.kind.GVK, bare), nil
	}
	bare, err := bareEntry(f.kind, e, formJSON)
	if err != nil {
		return nil, err
	}
	return jsonFrame(t, f.kind.GVK, bare), nil
}

// options are the table's, with the columns only once.
func (f *frames) options() *metav1.TableOptions {
	o := *f.table
	o.NoHeaders = o.NoHeaders || f.headed
	f.headed = true
	return &o
}

// object is the frame of something that is encoded for this watch alone.
func (f *frames) object(t eventType, gvk schema.GroupVersionKind, o any) ([]byte, error) {
	if f.accepted.media == mediaProtobuf {
		bare, err := bareProtobuf(o)
		if err != nil {
			return nil, err
		}
		return protobufFrame(t, gvk, bare), nil
	}
	bare, err := bareJSON(o)
	if err != nil {
		return nil, err
	}
	return jsonFrame(t, gvk, bare), nil
}

// bookmark is a frame that carries nothing but a revision.
func (f *frames) bookmark(revision int64, initialEnd bool) ([]byte, error) {
	text := strconv.FormatInt(revision, 10)
	var annotations map[string]string
	if initialEnd {
		annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	}
	switch f.accepted.shape {
	case shapeTable:
		empty := &metav1.Table{ListMeta: metav1.ListMeta{ResourceVersion: text}, Rows: []metav1.TableRow{}}
		if initialEnd {
			o := f.kind.New()
			o.SetResourceVersion(text)
			o.SetAnnotations(annotations)
			r, err := row(f.kind, o, metav1.IncludeMetadata, f.clock.Now())
			if err != nil {
				return nil, err
			}
			empty.Rows = append(empty.Rows, r)
		}
		return f.object(bookmarkEvent, f.accepted.meta("Table"), empty)
	case shapePartial:
		return f.object(bookmarkEvent, f.accepted.meta("PartialObjectMetadata"), &metav1.PartialObjectMetadata{
			ObjectMeta: metav1.ObjectMeta{ResourceVersion: text, Annotations: annotations}})
	}
	o := f.kind.New()
	o.SetResourceVersion(text)
	o.SetAnnotations(annotations)
	return f.object(bookmarkEvent, f.kind.GVK, o)
}

// failure is the frame of an error after which nothing follows.
func (f *frames) failure(status *metav1.Status) []byte {
	gvk := schema.GroupVersionKind{Version: "v1", Kind: "Status"}
	if f.accepted.media == mediaProtobuf {
		if bare, err := status.Marshal(); err == nil {
			return protobufFrame(errorEvent, gvk, bare)
		}
	}
	return jsonFrame(errorEvent, gvk, stripType(statusJSON(status)))
}

func jsonFrame(t eventType, gvk schema.GroupVersionKind, bare []byte) []byte {
	b := make([]byte, 0, len(bare)+len(gvk.Group)+len(gvk.Version)+len(gvk.Kind)+80)
	b = append(append(append(b, `{"type":"`...), t...), `","object":`...)
	return append(appendTyped(b, gvk, bare), "}\n"...)
}

// protobufFrame writes WatchEvent{type: 1, object: 2 RawExtension{raw: 1}}.
func protobufFrame(t eventType, gvk schema.GroupVersionKind, bare []byte) []byte {
	envelope := appendEnvelope(nil, gvk, len(bare))
	raw := len(envelope) + len(bare)
	size := fieldSize(len(t)) + fieldSize(fieldSize(raw))
	b := make([]byte, 4, 4+size)
	binary.BigEndian.PutUint32(b, uint32(size))
	b = append(appendField(b, 1, len(t)), t...)
	b = appendField(b, 2, fieldSize(raw))
	b = appendField(b, 1, raw)
	return append(append(b, envelope...), bare...)
}
