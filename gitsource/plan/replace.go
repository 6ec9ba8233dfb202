package plan

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
)

// argoOptions is Argo CD's annotation that may say the same as
// v1alpha1.AnnotationReplace.
const argoOptions = "argocd.argoproj.io/sync-options"

var jobs = schema.GroupResource{Group: "batch", Resource: "jobs"}

// precious are the resources that take more with them than themselves. Only
// the project's own annotation consents to their being replaced.
var precious = []schema.GroupResource{namespaces, definitions, claims, volumes}

// Replaced is the operation of an object that is deleted and created anew.
const Replaced txn.Operation = "replaced"

// MayReplace tells whether an object may be deleted and created anew, where a
// change cannot be made otherwise: Jobs may, and what says so itself. On the
// way back to an earlier commit everything may but what holds data, unless the
// object says so, as it is now or as it was.
func (p *Plan) MayReplace(ref txn.Ref, live txn.Object) bool {
	annotations := map[string]string{}
	if o := p.Desired[ref]; o != nil {
		annotations = o.Body.GetAnnotations()
	}
	if annotations[v1alpha1.AnnotationReplace] == v1alpha1.ReplaceAllowed {
		return true
	}
	if p.back && live != nil && live.GetAnnotations()[v1alpha1.AnnotationReplace] == v1alpha1.ReplaceAllowed {
		return true
	}
	if slices.Contains(precious, ref.Resource) {
		return false
	}
	for _, option := range strings.Split(annotations[argoOptions], ",") {
		if option = strings.TrimSpace(option); option == "Replace=true" || option == "Force=true" {
			return true
		}
	}
	return ref.Resource == jobs || p.back
}

// Replace notes that an object is to be deleted and created anew.
func (p *Plan) Replace(ref txn.Ref) {
	if p.Replaced == nil {
		p.Replaced = map[txn.Ref]bool{}
	}
	if !p.Replaced[ref] {
		p.Replaced[ref] = true
		p.Counts.Replaced++
		p.Counts.Changed--
	}
}

// Leaving is the stage before the others of a plan that replaces objects: it
// deletes them. In the inventory they stay the source's, without a digest, so
// that whoever goes on knows that they are to be created.
func (p *Plan) Leaving(in *Input) Stage {
	next := &Inventory{Head: Head{Commit: in.Set.Commit.String(), Ref: in.Ref}, Entries: map[txn.Ref]Entry{}}
	for ref, e := range in.Inventory.Entries {
		next.Entries[ref] = e
	}
	var gone []Entry
	for ref := range p.Replaced {
		e := p.Next.Entries[ref]
		e.Digest = ""
		next.Entries[ref] = e
		gone = append(gone, e)
	}
	as := map[txn.Ref]*txn.Identity{}
	for _, stage := range p.Stages {
		for _, c := range stage.Changes {
			as[c.Ref] = c.As
		}
	}
	stage := Stage{Inventory: next}
	for _, e := range sortDeletes(in.View, gone) {
		policy := metav1.DeletePropagationBackground
		if path, ok := podSpecs[schema.GroupKind{Group: e.Group, Kind: e.Kind}]; ok && path != "spec" {
			policy = metav1.DeletePropagationForeground // its pods go first
		}
		stage.Changes = append(stage.Changes, txn.Change{Verb: txn.Delete, Ref: e.Ref(), Propagation: &policy, FieldManager: Manager(in.Source), Origin: e.Origin, As: as[e.Ref()]})
	}
	return stage
}

// Going tells whether an object of the inventory is on its way out, to be
// created anew.
func (e *Entry) Going() bool { return e.Digest == "" }
