package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
	"github.com/headway-sh/headway/apiserver/store"
)

// partialGVK is the metadata alone, as tables carry it.
var partialGVK = metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata")

// defaultColumns are shown for kinds that declare none.
var defaultColumns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: "The name, unique within a namespace."},
	{Name: "Age", Type: "string", Description: "How long ago the object was created."},
}

func tableOptions(query url.Values) (*metav1.TableOptions, error) {
	o := &metav1.TableOptions{}
	if err := metav1.Convert_url_Values_To_v1_TableOptions(&query, o, nil); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if errs := metav1validation.ValidateTableOptions(o); len(errs) > 0 {
		return nil, invalidOptions("TableOptions", errs)
	}
	return o, nil
}

func columns(k *kind.Kind) []metav1.TableColumnDefinition {
	if k.Row == nil {
		return defaultColumns
	}
	return k.Columns
}

// row makes an object's row, with as much of the object as is asked for.
func row(k *kind.Kind, o txn.Object, include metav1.IncludeObjectPolicy, now time.Time) (metav1.TableRow, error) {
	out := metav1.TableRow{}
	if k.Row == nil {
		out.Cells = []any{o.GetName(), kind.Age(o.GetCreationTimestamp(), now)}
	} else {
		out.Cells = k.Row(o, now)
	}
	var raw []byte
	var err error
	switch include {
	case metav1.IncludeNone:
		return out, nil
	case metav1.IncludeObject:
		raw, err = encodeVersion(k, o)
	default:
		raw, err = json.Marshal(partial(o))
	}
	if err != nil {
		return out, fmt.Errorf("encode row of %s: %w", o.GetName(), err)
	}
	out.Object = runtime.RawExtension{Raw: raw}
	return out, nil
}

// encodeVersion encodes a stored object in the row's version.
func encodeVersion(k *kind.Kind, o txn.Object) ([]byte, error) {
	converted, err := k.FromStored(o)
	if err != nil {
		return nil, err
	}
	bare, err := bareJSON(converted)
	if err != nil {
		return nil, err
	}
	return appendTyped(nil, k.GVK, bare), nil
}

// partial is the metadata alone.
func partial(o txn.Object) *metav1.PartialObjectMetadata {
	p := meta.AsPartialObjectMetadata(o)
	p.TypeMeta = metav1.TypeMeta{Kind: partialGVK.Kind, APIVersion: partialGVK.GroupVersion().String()}
	return p
}

// table makes a table of entries.
func table(k *kind.Kind, entries []*store.Entry, o *metav1.TableOptions, now time.Time) (*metav1.Table, error) {
	t := &metav1.Table{Rows: make([]metav1.TableRow, 0, len(entries))}
	if !o.NoHeaders {
		t.ColumnDefinitions = columns(k)
	}
	for _, e := range entries {
		r, err := row(k, e.Object, o.IncludeObject, now)
		if err != nil {
			return nil, err
		}
		t.Rows = append(t.Rows, r)
	}
	return t, nil
}

func (h *Handler) answerTable(w http.ResponseWriter, r *http.Request, a accepted, k *kind.Kind, part *chunk) error {
	o, err := tableOptions(r.URL.Query())
	if err != nil {
		return err
	}
	t, err := table(k, part.entries, o, h.clock.Now())
	if err != nil {
		return err
	}
	t.ListMeta = part.meta
	h.answerObject(w, r, http.StatusOK, a, a.meta("Table"), t)
	return nil
}

func (h *Handler) answerPartialList(w http.ResponseWriter, r *http.Request, a accepted, k *kind.Kind, part *chunk) error {
	l := &metav1.PartialObjectMetadataList{ListMeta: part.meta, Items: make([]metav1.PartialObjectMetadata, 0, len(part.entries))}
	for _, e := range part.entries {
		p := partial(e.Object)
		l.Items = append(l.Items, *p)
	}
	h.answerObject(w, r, http.StatusOK, a, a.meta("PartialObjectMetadataList"), l)
	return nil
}
