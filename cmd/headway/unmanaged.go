package main

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/internal/printer"
)

// unmanagedCommand lists what is in no repository.
func unmanagedCommand() *cobra.Command {
	var namespace string
	var all bool
	cmd := listing("unmanaged", "List the objects that no source has in git, with who made them", func(ctx context.Context, c *cluster) (printer.Result, error) {
		if all {
			namespace = ""
		}
		found, err := unmanaged(ctx, c, namespace)
		return unmanagedResult(found), err
	})
	cmd.Long = `List the objects that no source has in git, with who made them. What another
object owns and what the cluster makes for itself are left out. "headway adopt
--new" writes one down.`
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace (default: all, and what is in none)")
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "all namespaces, which is the default")
	return cmd
}

// unmanagedObject is an object that is in no repository.
type unmanagedObject struct {
	Object   string     `json:"object"`
	Created  time.Time  `json:"created"`
	By       string     `json:"by"` // the field manager that wrote first
	Last     string     `json:"last,omitempty"`
	LastTime *time.Time `json:"lastTime,omitempty"`
}

// unmanagedList is what `headway get unmanaged` shows.
type unmanagedList struct {
	Items []unmanagedObject `json:"items"`
}

func unmanaged(ctx context.Context, c *cluster, namespace string) ([]unmanagedObject, error) {
	all, err := inventoriesOf(ctx, c)
	if err != nil {
		return nil, err
	}
	s, err := scan(ctx, c, namespace)
	if err != nil {
		return nil, err
	}
	out := []unmanagedObject{}
	for _, ref := range s.refs() {
		o := s.objects[ref]
		if ownerOf(all, ref) == nil && len(o.GetOwnerReferences()) == 0 && !byCluster(ref, o) {
			out = append(out, describeUnmanaged(ref, o))
		}
	}
	return out, nil
}

// byCluster tells whether the cluster has made an object for itself: with no
// field of anybody else's, or under a name that every cluster has.
func byCluster(ref txn.Ref, o *unstructured.Unstructured) bool {
	switch {
	case o.GetAnnotations()[v1alpha1.AnnotationHookOf] != "":
		return true // comes and goes with a commit
	case o.GetLabels()[v1alpha1.LabelEnvironmentOf] != "":
		return true // of an environment, and gone with it
	case o.GetLabels()["kubernetes.io/bootstrapping"] != "" || o.GetAnnotations()["apf.kubernetes.io/autoupdate-spec"] != "":
		return true
	case ref.Resource.Resource == "namespaces" && (ref.Name == "default" || strings.HasPrefix(ref.Name, "kube-")):
		return true
	case ref.Resource.Resource == "serviceaccounts" && ref.Name == "default":
		return true
	case ref.Resource.Resource == "configmaps" && ref.Name == "kube-root-ca.crt":
		return true
	case ref.Resource.Resource == "services" && ref.Namespace == metav1.NamespaceDefault && ref.Name == "kubernetes":
		return true
	}
	if len(o.GetManagedFields()) == 0 {
		return false // without a field there is no writer
	}
	return !slices.ContainsFunc(o.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool {
		return e.Subresource != "status" && byPeople(e.Manager)
	})
}

func describeUnmanaged(ref txn.Ref, o *unstructured.Unstructured) unmanagedObject {
	out := unmanagedObject{Object: ref.String(), Created: o.GetCreationTimestamp().Time}
	var first, last *metav1.ManagedFieldsEntry
	for _, e := range o.GetManagedFields() {
		if e.Subresource == "status" || e.Time == nil || !byPeople(e.Manager) {
			continue
		}
		if first == nil || e.Time.Before(first.Time) {
			first = &e
		}
		if last == nil || last.Time.Before(e.Time) {
			last = &e
		}
	}
	if first != nil {
		out.By = first.Manager
		out.Last, out.LastTime = last.Manager, &last.Time.Time
	}
	return out
}

func unmanagedResult(found []unmanagedObject) printer.Result {
	r := printer.Result{Object: unmanagedList{found}}
	for _, o := range found {
		r.Names = append(r.Names, o.Object)
	}
	r.Text = func(w io.Writer, _ bool) error {
		rows := [][]string{{"OBJECT", "MADE BY", "AGE", "LAST WRITER", "CHANGED"}}
		for _, o := range found {
			rows = append(rows, []string{o.Object, o.By, age(&o.Created), o.Last, age(o.LastTime)})
		}
		return printer.Rows(w, rows)
	}
	return r
}
