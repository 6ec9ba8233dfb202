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
//	CBOR      the same as JSON, one document after the other
type frames struct {
	kind     *kind.Kind
	accepted accepted
	table    *metav1.TableOptions
	clock    clock.PassiveClock
	headed   bool // the table's columns have been sent
}

// media is the answer's content type.
func (f *frames) media() string {
	switch f.accepted.media {
	case mediaProtobuf:
		return mediaProtobuf + ";stream=watch"
	case mediaCBOR:
		return mediaCBORSequence
	}
	return mediaJSON
}

// event begins the frame of one entry.
func (f *frames) event(dst []byte, t eventType, e *store.Entry) ([]byte, frame, error) {
	switch f.accepted.shape {
	case shapeTable:
		one, err := table(f.kind, []*store.Entry{e}, f.options(), f.clock.Now())
		if err != nil {
			return dst, frame{}, err
		}
		one.ListMeta.ResourceVersion = e.Object.GetResourceVersion()
		dst, err = f.object(dst, t, f.accepted.meta("Table"), one)
		return dst, frame{}, err
	case shapePartial:
		dst, err := f.object(dst, t, f.accepted.meta("PartialObjectMetadata"), partial(e.Object))
		return dst, frame{}, err
	}
	form := formJSON
	if f.accepted.media == mediaProtobuf {
		form = formProtobuf
	}
	bare, err := bareEntry(f.kind, e, form)
	if err != nil {
		return dst, frame{}, err
	}
	return f.begin(dst, t, f.kind.GVK, bare)
}

// begin appends the frame of a bare form as far as it is this stream's own.
func (f *frames) begin(dst []byte, t eventType, gvk schema.GroupVersionKind, bare []byte) ([]byte, frame, error) {
	switch f.accepted.media {
	case mediaProtobuf:
		return protobufHead(dst, t, gvk, len(bare)), frame{shared: bare}, nil
	case mediaCBOR:
		dst, err := cborFrame(dst, jsonFrame(nil, t, gvk, bare))
		return dst, frame{}, err
	}
	dst, shared := jsonHead(dst, t, gvk, bare)
	return dst, frame{shared, jsonTail}, nil
}

// bare appends the whole frame of a bare form.
func (f *frames) bare(dst []byte, t eventType, gvk schema.GroupVersionKind, bare []byte) ([]byte, error) {
	dst, rest, err := f.begin(dst, t, gvk, bare)
	return append(append(dst, rest.shared...), rest.tail...), err
}

// options are the table's, with the columns only once.
func (f *frames) options() *metav1.TableOptions {
	o := *f.table
	o.NoHeaders = o.NoHeaders || f.headed
	f.headed = true
	return &o
}

// object appends the frame of something that is encoded for this watch alone.
func (f *frames) object(dst []byte, t eventType, gvk schema.GroupVersionKind, o any) ([]byte, error) {
	encode := bareJSON
	if f.accepted.media == mediaProtobuf {
		encode = bareProtobuf
	}
	bare, err := encode(o)
	if err != nil {
		return dst, err
	}
	return f.bare(dst, t, gvk, bare)
}

// bookmark appends a frame that carries nothing but a revision.
func (f *frames) bookmark(dst []byte, revision int64, initialEnd bool) ([]byte, error) {
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
				return dst, err
			}
			empty.Rows = append(empty.Rows, r)
		}
		return f.object(dst, bookmarkEvent, f.accepted.meta("Table"), empty)
	case shapePartial:
		return f.object(dst, bookmarkEvent, f.accepted.meta("PartialObjectMetadata"), &metav1.PartialObjectMetadata{
			ObjectMeta: metav1.ObjectMeta{ResourceVersion: text, Annotations: annotations}})
	}
	o := f.kind.New()
	o.SetResourceVersion(text)
	o.SetAnnotations(annotations)
	return f.object(dst, bookmarkEvent, f.kind.GVK, o)
}

// failure appends the frame of an error after which nothing follows.
func (f *frames) failure(dst []byte, status *metav1.Status) []byte {
	gvk := schema.GroupVersionKind{Version: "v1", Kind: "Status"}
	if f.accepted.media == mediaProtobuf {
		if bare, err := status.Marshal(); err == nil {
			return append(protobufHead(dst, errorEvent, gvk, len(bare)), bare...)
		}
	}
	framed, err := f.bare(dst, errorEvent, gvk, stripType(statusJSON(status)))
	if err != nil {
		return dst // the stream ends, and with nothing said
	}
	return framed
}

// jsonTail ends what jsonHead begins.
const jsonTail = "}\n"

// jsonHead appends a frame up to the rest of the bare form that it returns.
func jsonHead(dst []byte, t eventType, gvk schema.GroupVersionKind, bare []byte) (head, rest []byte) {
	dst = append(append(append(dst, `{"type":"`...), t...), `","object":`...)
	return appendType(dst, gvk, bare)
}

func jsonFrame(dst []byte, t eventType, gvk schema.GroupVersionKind, bare []byte) []byte {
	head, rest := jsonHead(dst, t, gvk, bare)
	return append(append(head, rest...), jsonTail...)
}

// protobufHead begins WatchEvent{type: 1, object: 2 RawExtension{raw: 1}}, which
// the bare form ends.
func protobufHead(dst []byte, t eventType, gvk schema.GroupVersionKind, bare int) []byte {
	raw := envelopeSize(gvk, bare) + bare
	size := fieldSize(len(t)) + fieldSize(fieldSize(raw))
	dst = binary.BigEndian.AppendUint32(dst, uint32(size))
	dst = append(appendField(dst, 1, len(t)), t...)
	dst = appendField(dst, 2, fieldSize(raw))
	dst = appendField(dst, 1, raw)
	return appendEnvelope(dst, gvk, bare)
}
