package gitsource

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/drift"
	"github.com/headway-sh/headway/gitsource/notify"
	"github.com/headway-sh/headway/gitsource/plan"
)

// What a status keeps of who has written to a source's objects.
const (
	maxLiveWriters      = 100
	maxLiveWriterFields = 20
)

// sign notes which fields of an object a person has written, whether git says
// them or not: managed fields tell the program and not who used it. It costs a
// comparison of the object, and nothing for what the cluster's own parts write.
func (s *source) sign(e *plan.Entry, w *txn.Write) {
	if w.Before == nil || w.After == nil || w.Identity.Name == "" || drift.Component(w.Identity.Name) {
		return
	}
	object, fields := e.Ref().String(), []string{}
	for _, f := range drift.Diff(e, w.Before, w.After) {
		if len(fields) < maxLiveWriterFields && f.Path != "metadata.uid" && f.Path != "metadata.creationTimestamp" {
			fields = append(fields, f.Path)
		}
	}
	if len(fields) == 0 {
		return
	}
	kept := make([]v1alpha1.LiveWriter, 0, len(s.status.LiveWriters)+1)
	for _, old := range s.status.LiveWriters {
		if ref, ok := notify.ParseObject(old.Object); !ok || s.inventory.Entries[ref].Name == "" {
			continue // no longer ours
		}
		if old.Object == object {
			old.Fields = slices.DeleteFunc(slices.Clone(old.Fields), func(f string) bool { return slices.Contains(fields, f) })
		}
		if len(old.Fields) > 0 {
			kept = append(kept, old)
		}
	}
	kept = append(kept, v1alpha1.LiveWriter{Object: object, User: w.Identity.Name, Impersonator: w.Identity.Impersonator, Manager: w.FieldManager,
		Time: metav1.Time{Time: w.Time.UTC()}.Rfc3339Copy(), Fields: fields})
	s.status.LiveWriters = kept[max(0, len(kept)-maxLiveWriters):]
}
